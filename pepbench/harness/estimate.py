"""How long a plan may take, from a few steps of the full table."""

from __future__ import annotations

import time
from itertools import islice
from typing import cast

import torch

from pepbench.backbones.backbone import Backbone
from pepbench.harness.cells import DEFAULT_L2, DEFAULT_LEARNING_RATE, Cell, training_spec
from pepbench.method import PlainTable
from pepbench.training.task import TrialTask

WARM_UP_STEPS = 3
TIMED_STEPS = 20


def estimated_seconds(cells: list[Cell], jobs: int) -> float:
    """An upper bound on the wall time of ``cells`` with ``jobs`` workers.

    Every trial is taken to use all of its epochs and search steps, each step at the speed of
    training the full table, which is measured.
    """
    speeds: dict[tuple[str, str], float] = {}
    total = 0.0
    for cell in cells:
        key = cell.name[:2]
        if key not in speeds:
            speeds[key] = seconds_per_step(cell)
        total += cell.most_steps() * speeds[key]
    return total / jobs


def seconds_per_step(cell: Cell) -> float:
    """Wall seconds of one training step of the full table, on one thread."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        settings = training_spec(cell.plan, DEFAULT_LEARNING_RATE, DEFAULT_L2)
        fields, train = cell.splits.fields, cell.splits.train
        backbone = cast(Backbone, cell.backbone.default())
        task = TrialTask(
            fields, cell.plan.dim, train, cell.splits.validation, backbone, settings, seed=0
        )
        steps = task.steps(task.model(PlainTable(fields.n_features, cell.plan.dim)))
        for _ in islice(steps, WARM_UP_STEPS):
            pass
        start = time.perf_counter()
        for _ in islice(steps, TIMED_STEPS):
            pass
        return (time.perf_counter() - start) / TIMED_STEPS
    finally:
        torch.set_num_threads(threads)
