"""Time a few steps of a method on this machine, to estimate how long its trials take."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from statistics import mean
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from pepbench.harness.cells import Cell, training_spec
from pepbench.method import Batch, EpochScore, Fitted, Model, PlainTable
from pepbench.records import DEFAULT_L2, DEFAULT_LEARNING_RATE
from pepbench.training.task import LAST_PHASE, Pruned, TrialTask
from pepbench.training.uncompiled import Adam

WARM_UP_STEPS = 3
TIMED_STEPS = 20
PILOT_SECONDS = 15.0
"""Longest training of a pilot; one that is cut short is taken to use all epochs of the plan."""


@dataclass(frozen=True)
class Pace:
    """How long a trial of a method takes on a data set with a backbone."""

    search: float
    """Seconds before the last training, such as those of a search."""
    train: float
    """Seconds of the last training."""


@dataclass(frozen=True)
class Pilot:
    """How long a training of the full table takes."""

    epochs: float
    step: float
    """Seconds."""
    validation: float
    """Seconds of a pass over the validation rows."""


def yardstick_seconds() -> float:
    """Wall time of a fixed workload: three hundred steps of a small dense model on drawn rows."""
    with _one_thread(), torch.random.fork_rng(devices=[]):
        layer, rows = nn.Linear(64, 64), torch.randn(256, 64)
        optimizer = Adam(layer.parameters())
        for n_steps in (100, 300):  # The first steps in a process take longer.
            start = time.perf_counter()
            for _ in range(n_steps):
                optimizer.zero_grad()
                layer(rows).square().mean().backward()
                optimizer.step()
        return time.perf_counter() - start


def pilot_of(cell: Cell, lengths: Sequence[int]) -> Pilot:
    """Train the full table once, or for a few steps where the number of epochs is known.

    Parameters
    ----------
    cell
        Any of the data set and backbone.
    lengths
        Epochs of finished trainings on them, if there are any.
    """
    with _one_thread():
        task = calibration_task(PilotTask, cell)
        table = PlainTable(cell.splits.fields.n_features, cell.plan.dim)
        task.train(task.model(table))
        step, validation = task.measured[LAST_PHASE]
        if lengths:
            return Pilot(mean(lengths), step, validation)
        deadline = time.perf_counter() + PILOT_SECONDS
        full_task = calibration_task(
            TrialTask, cell, should_stop=lambda _epoch, _auc: time.perf_counter() > deadline
        )
        try:
            epochs = len(full_task.train(full_task.model(table)).curve)
        except Pruned:
            epochs = cell.plan.epochs
    return Pilot(epochs, step, validation)


def pilot_pace(cell: Cell, pilot: Pilot) -> Pace:
    """Time a few steps of each of the method's phases, at the cell's budget."""
    method, task = cell.default().method, calibration_task(PilotTask, cell)
    # Phases that a failing method does not reach are counted like those of the full table.
    with _one_thread(), suppress(PilotDone, Exception):
        method.fit(task, cell.budget_parameters)
    per_epoch = task.steps_per_epoch
    search_steps = method.most_steps(per_epoch, 0)
    trainings = max(1, (method.most_steps(per_epoch, 1) - search_steps) // per_epoch)
    step = task.search_step or pilot.step
    usual = (pilot.step, pilot.validation)
    timed = [*task.measured.values(), *[usual] * trainings][:trainings]
    *before, last = [pilot.epochs * (s * per_epoch + validation) for s, validation in timed]
    return Pace(search=search_steps * step + sum(before), train=last)


class PilotDone(Exception):
    """A search has made enough steps to be timed."""


class PilotTask(TrialTask):
    """A task on which every training and search ends after a few timed steps."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.measured: dict[str, tuple[float, float]] = {}
        """Of each training: seconds of a step, and of what follows an epoch."""
        self.search_step: float | None = None
        """Seconds of a step of the search."""
        self._steps_made = 0
        self._began = 0.0
        self._training = False

    def train(
        self,
        model: Model,
        *,
        phase: str = LAST_PHASE,
        after_epoch: Callable[[int], None] | None = None,
        epochs: int | None = None,  # noqa: ARG002
    ) -> Fitted:
        """Make a few steps and validate once."""
        self._training = True
        optimizer = self.optimizer(model)
        steps = self.steps(model, optimizer)
        for _ in islice(steps, WARM_UP_STEPS):
            pass
        began = time.perf_counter()
        for _ in islice(steps, TIMED_STEPS):
            pass
        step = (time.perf_counter() - began) / TIMED_STEPS
        began = time.perf_counter()
        self.flush(optimizer)
        if after_epoch is not None:
            after_epoch(1)
        scores = self.validate(model)
        self.measured[phase] = (step, time.perf_counter() - began)
        self._training = False
        return Fitted(model, scores, (EpochScore(1, 0.0, **vars(scores)),))

    def _update(self, model: Model, batch: Batch, optimizer: torch.optim.Optimizer) -> Tensor:
        if not self._training:
            self._steps_made += 1
            if self._steps_made == WARM_UP_STEPS + 1:
                self._began = time.perf_counter()
            if self._steps_made > WARM_UP_STEPS + TIMED_STEPS:
                self.search_step = (time.perf_counter() - self._began) / TIMED_STEPS
                raise PilotDone
        return super()._update(model, batch, optimizer)


Kind = TypeVar("Kind", bound=TrialTask)


def calibration_task(kind: type[Kind], cell: Cell, **options: Any) -> Kind:
    """A task of a class on a cell's rows, at the cell's default settings, with AUC as objective."""
    plan = cell.plan.model_copy(update={"objective": "auc"})
    return kind(
        cell.splits.fields,
        cell.plan.dim,
        cell.splits.train,
        cell.splits.validation,
        cell.default().backbone,
        training_spec(plan, DEFAULT_LEARNING_RATE, DEFAULT_L2),
        seed=0,
        device=torch.device(cell.plan.device),
        **options,
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Use one torch thread, as a worker does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
