"""The suite's own steps: with a full table, under a mask, in PEP's search, and validation."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice
from typing import get_args

import torch

from benchmarks.problem import Problem
from pepbench.backbones.backbone import Backbone
from pepbench.backbones.fm import FM
from pepbench.component import OptimizerKind
from pepbench.data.splits import Rows
from pepbench.harness.cells import training_spec
from pepbench.method import Embedding, MaskedTable, PlainTable, xavier_uniform
from pepbench.pep import PEP, ThresholdedTable, Thresholds
from pepbench.plan import Plan
from pepbench.records import DEFAULT_L2, DEFAULT_LEARNING_RATE
from pepbench.training.row_optimizers import RowAdam
from pepbench.training.task import TrialTask

INIT = -15.0
MASKED_SHARE = 0.1
"""Share of the entries that a mask keeps."""

UNIFORM, ROW_ADAGRAD, MASK = "uniform", "uniform row-adagrad", "mask"
PEP_DENSE, PEP_BY_ROW = "pep dense", "pep by row"
VALIDATION = "validation"

MOST = 1_000_000
"""Features up to which everything is timed; above, full table, search by row and validation."""

BEGINNING = 1000
"""Steps that an optimizer by the row is taken to have made before it is timed. In its first 128 it
applies the decay of untouched rows one step at a time, which does not last in a real training."""
AGEING_STEPS, AGEING_ROWS = 220, 64
"""Steps on a few rows that follow, in which every row of the table is swept once, so that rows are
as stale as they stay."""


def new_task(problem: Problem, backbone: str, n_rows: int | None = None) -> TrialTask:
    """A task on all rows in batches of the problem's size, or on a few in one batch."""
    size = problem.size
    plan = Plan(dim=size.dim, batch_size=n_rows or size.batch)
    module: Backbone = FM() if backbone == "fm" else problem.deepfm
    settings = training_spec(plan, DEFAULT_LEARNING_RATE, DEFAULT_L2)
    rows, validation = problem.rows, problem.validation
    rows = Rows(rows.ids[:n_rows], rows.labels[:n_rows])
    return TrialTask(problem.fields, size.dim, rows, validation, module, settings, seed=0)


def trains_by_row(problem: Problem) -> bool:
    """Whether the suite's choice for a full table of this size is an optimizer by the row."""
    task = new_task(problem, "fm")
    model = task.model(PlainTable(problem.fields.n_features, problem.size.dim))
    return not isinstance(task.optimizer(model), torch.optim.Adam)


def training_steps(
    problem: Problem,
    backbone: str,
    table: Embedding,
    kind: OptimizerKind | None = None,
) -> Iterator[int]:
    """Train ``table`` without end; yields the samples of each step.

    An optimizer by the row is brought to its lasting state first.
    """
    task = new_task(problem, backbone)
    model = task.model(table)
    if isinstance(table, ThresholdedTable):
        optimizer = PEP().optimizer(task, model, table.thresholds, kind or "auto")
    else:
        optimizer = task.optimizer(model, kind=kind)
    if not isinstance(optimizer, torch.optim.Adam):
        _skip_beginning(optimizer)
        ageing = new_task(problem, backbone, AGEING_ROWS)
        for _ in islice(ageing.steps(model, optimizer), AGEING_STEPS):
            pass
    before = task.samples
    for _ in task.steps(model, optimizer):
        yield task.samples - before
        before = task.samples


def validation_steps(problem: Problem, backbone: str) -> Iterator[int]:
    """Score the validation rows without end, AUC and log loss included."""
    task = new_task(problem, backbone)
    model = task.model(PlainTable(problem.fields.n_features, problem.size.dim))
    while True:
        task.validate(model)
        yield len(problem.validation.labels)


def contenders(problem: Problem, backbone: str) -> dict[str, Iterator[int]]:
    """All that is timed of ours, by name."""
    n_features, dim = problem.fields.n_features, problem.size.dim

    def plain() -> PlainTable:
        return PlainTable(n_features, dim)

    def masked() -> MaskedTable:
        mask = torch.rand(n_features, dim) < MASKED_SHARE
        return MaskedTable(xavier_uniform(n_features, dim), mask)

    def thresholded() -> ThresholdedTable:
        thresholds = Thresholds("feature_dim", problem.fields, dim, INIT)
        return ThresholdedTable(xavier_uniform(n_features, dim), thresholds)

    steps = {UNIFORM: training_steps(problem, backbone, plain())}
    for kind in get_args(OptimizerKind):
        if "adagrad" in kind:
            steps[f"{UNIFORM} {kind}"] = training_steps(problem, backbone, plain(), kind)
    if backbone == "fm" and n_features <= MOST:
        steps[MASK] = training_steps(problem, backbone, masked())
        # Its step counts the non-zeros itself.
        steps[PEP_DENSE] = training_steps(problem, backbone, thresholded(), "adam")
    if backbone == "fm" or n_features <= MOST:
        steps[PEP_BY_ROW] = training_steps(problem, backbone, thresholded(), "lazy-adam")
    steps[VALIDATION] = validation_steps(problem, backbone)
    return steps


def _skip_beginning(optimizer: torch.optim.Optimizer) -> None:
    for state in getattr(optimizer, "rows", {}).values():
        if isinstance(state, RowAdam):
            state.step_number = BEGINNING
            state._last.fill(BEGINNING)
