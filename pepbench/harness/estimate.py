"""How long a plan will take: from finished records, and from a short calibration on this machine.

A run of a method takes its search, at most as many steps as the method says, and one or two
trainings. How many epochs a training takes until it stops early is seen from records of the same
data set and backbone, or from a pilot: one training of the full table, with a limit of time. How
long a step takes is measured for each method.
"""

from __future__ import annotations

import os
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import mean
from typing import Any, TypeVar

import torch
from pydantic import ValidationError
from torch import Tensor

from pepbench.errors import PepbenchError
from pepbench.harness.cells import (
    DEFAULT_L2,
    DEFAULT_LEARNING_RATE,
    Cell,
    CellName,
    family,
    training_spec,
)
from pepbench.harness.environment import calibration_seconds
from pepbench.harness.pruning import ShouldStop, should_stop
from pepbench.harness.tuning import STARTUP_TRIALS
from pepbench.method import Batch, EpochScore, Fitted, Model, PlainTable
from pepbench.records import Record, parse_record
from pepbench.training.task import LAST_PHASE, Pruned, TrialTask

WARM_UP_STEPS = 3
TIMED_STEPS = 20
PILOT_SECONDS = 15.0
"""After which a pilot is stopped; its plan is then taken to use all epochs."""

START_SECONDS = 5.0
"""For workers to start and for the report to be written."""


@dataclass(frozen=True)
class CellEstimate:
    """What is left to do for a cell.

    Attributes
    ----------
    cell
        Its name.
    runs
        Trials and final runs without a record; with a tuning time, as many as fit into it.
    seconds
        Wall time of all of them, one after the other.
    chain
        Wall time of the cell by itself, with as many workers as it can use.
    basis
        ``records``: of this cell; ``neighbours``: of the method at other budgets; ``calibration``.
    """

    cell: CellName
    runs: int
    seconds: float
    chain: float
    basis: str


@dataclass(frozen=True)
class Estimate:
    """What is left to do for a plan."""

    cells: tuple[CellEstimate, ...]
    seconds: float
    """Wall time with the workers at hand."""


@dataclass(frozen=True)
class Pace:
    """How fast a method works on a data set with a backbone."""

    search: float
    """Seconds of what comes before the last training, such as a search; 0 if nothing does."""
    train: float
    """Seconds of the last training."""


@dataclass(frozen=True)
class _Pilot:
    """A training of the full table, or the records that stand for it."""

    epochs: float
    step: float
    """Seconds."""
    validation: float
    """Seconds of a pass over the validation rows."""


def estimate(cells: Sequence[Cell], records: Iterable[Record], jobs: int) -> Estimate:
    """Predict the wall time of what is missing of ``cells`` with ``jobs`` workers.

    Parameters
    ----------
    cells
        Of a plan.
    records
        Of the run's folder so far.
    jobs
        Worker processes; more than there are cores do not help.
    """
    by_cell: dict[CellName, list[Record]] = defaultdict(list)
    for record in records:
        if record.status != "failed":
            by_cell[record.spec.cell].append(record)
    by_block: dict[tuple[str, str], list[Record]] = defaultdict(list)
    by_family: dict[tuple[str, str, str], list[Record]] = defaultdict(list)
    for name, members in by_cell.items():
        by_block[name[:2]] += members
        by_family[name[:3]] += members
    members_of: dict[tuple[str, str, str], int] = defaultdict(int)
    for cell in cells:
        members_of[family(cell)] += 1
    pilots: dict[tuple[str, str], _Pilot] = {}
    paces: dict[tuple[str, str, str], Pace] = {}
    overhead = _overhead()
    estimates = []
    for cell in cells:
        own, near = by_cell[cell.name], by_family[family(cell)]
        seen = own or near
        if seen:
            pace = _recorded_pace(seen)
        else:
            if cell.name[:2] not in pilots:
                pilots[cell.name[:2]] = _pilot(cell, by_block[cell.name[:2]])
            if family(cell) not in paces:
                paces[family(cell)] = _rehearsed_pace(cell, pilots[cell.name[:2]])
            pace = paces[family(cell)]
        basis = "records" if own else "neighbours" if near else "calibration"
        estimates.append(_of_cell(cell, own, pace, overhead, members_of[family(cell)], basis))
    workers = max(1, min(jobs, len(os.sched_getaffinity(0))))
    total = sum(one.seconds for one in estimates)
    longest = max((one.chain for one in estimates), default=0.0)
    start = START_SECONDS if total else 0.0
    return Estimate(tuple(estimates), max(total / workers, longest) + start)


def readable_records(folder: Path) -> list[Record]:
    """The records in a run's folder; what cannot be read is left where it is."""
    found = []
    for path in sorted((folder / "records").glob("*.json")):
        with suppress(ValidationError, PepbenchError, OSError):
            found.append(parse_record(path.read_bytes(), path))
    return found


def _of_cell(
    cell: Cell, own: list[Record], pace: Pace, overhead: float, relatives: int, basis: str
) -> CellEstimate:
    plan = cell.plan
    tuning = [record for record in own if record.spec.role == "tuning"]
    finals = max(0, plan.seeds - (len(own) - len(tuning)))
    alone = pace.search + pace.train + overhead
    trials = max(0, plan.trials - len(tuning))
    if plan.tuning_seconds is not None:
        left = plan.tuning_seconds - sum(record.cpu_seconds() for record in tuning)
        # The trial during which the time ends is half over then, on average.
        trials = round(left / (pace.search + pace.train) + 0.5) if left > 0 else 0
    tuned = trials * alone
    if _shares(cell):
        served = min(trials, STARTUP_TRIALS if plan.sampler in ("tpe", "gp") else trials)
        tuned -= served * pace.search * (1 - 1 / relatives)
    side_by_side = min(plan.batch, trials) or 1
    return CellEstimate(
        cell=cell.name,
        runs=trials + finals,
        seconds=tuned + finals * alone,
        chain=tuned / side_by_side + (alone if finals else 0.0),
        basis=basis,
    )


def _shares(cell: Cell) -> bool:
    plan = cell.plan
    shares = cell.default().method.shares_search
    return shares and plan.pruner == "none" and not plan.warm_start


def _recorded_pace(records: list[Record]) -> Pace:
    return Pace(
        search=mean(record.search_seconds() for record in records),
        train=mean(record.train_seconds() for record in records),
    )


def _overhead() -> float:
    """Seconds of a trial outside its phases: most of it goes to the yardstick."""
    with _one_thread():
        calibration_seconds()  # The first in a process takes longer.
        start = time.perf_counter()
        calibration_seconds()
        return time.perf_counter() - start


def _pilot(cell: Cell, records: list[Record]) -> _Pilot:
    """Train the full table once, or but a little where records tell how long that takes."""
    curves = [len(record.curve) for record in records if record.status == "ok"]
    with _one_thread():
        task = _task(_Rehearsal, cell)
        table = PlainTable(cell.splits.fields.n_features, cell.plan.dim)
        task.train(task.model(table))
        step, validation = task.measured[LAST_PHASE]
        if curves:
            return _Pilot(mean(curves), step, validation)
        deadline = time.perf_counter() + PILOT_SECONDS
        whole = _task(TrialTask, cell, lambda _epoch, _auc: time.perf_counter() > deadline)
        try:
            epochs = len(whole.train(whole.model(table)).curve)
        except Pruned:
            epochs = cell.plan.epochs
    return _Pilot(epochs, step, validation)


def _rehearsed_pace(cell: Cell, pilot: _Pilot) -> Pace:
    """Time a few steps of each of the method's phases, at the cell's budget."""
    method, task = cell.default().method, _task(_Rehearsal, cell)
    # A method that fails here fails later, too, and then takes no time.
    with _one_thread(), suppress(_Enough, Exception):
        method.fit(task, cell.budget_parameters)
    per_epoch = task.steps_per_epoch
    search_steps = method.most_steps(per_epoch, 0)
    trainings = max(1, (method.most_steps(per_epoch, 1) - search_steps) // per_epoch)
    step = task.search_step or pilot.step
    usual = (pilot.step, pilot.validation)
    timed = [*task.measured.values(), *[usual] * trainings][:trainings]
    *before, last = [pilot.epochs * (s * per_epoch + validation) for s, validation in timed]
    return Pace(search=search_steps * step + sum(before), train=last)


class _Enough(Exception):
    """A search has made the steps that are timed."""


class _Rehearsal(TrialTask):
    """A task on which every training and search is broken off after a few timed steps."""

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
    ) -> Fitted:
        """Make a few steps and validate once."""
        self._training = True
        optimiser = self.optimiser(model)
        steps = self.steps(model, optimiser)
        for _ in islice(steps, WARM_UP_STEPS):
            pass
        began = time.perf_counter()
        for _ in islice(steps, TIMED_STEPS):
            pass
        step = (time.perf_counter() - began) / TIMED_STEPS
        began = time.perf_counter()
        self.flush(optimiser)
        if after_epoch is not None:
            after_epoch(1)
        scores = self.validate(model)
        self.measured[phase] = (step, time.perf_counter() - began)
        self._training = False
        return Fitted(model, scores, (EpochScore(1, 0.0, scores.auc, scores.log_loss),))

    def _update(self, model: Model, batch: Batch, optimiser: torch.optim.Optimizer) -> Tensor:
        if not self._training:
            self._steps_made += 1
            if self._steps_made == WARM_UP_STEPS + 1:
                self._began = time.perf_counter()
            if self._steps_made > WARM_UP_STEPS + TIMED_STEPS:
                self.search_step = (time.perf_counter() - self._began) / TIMED_STEPS
                raise _Enough
        return super()._update(model, batch, optimiser)


NEVER = should_stop(None)
Kind = TypeVar("Kind", bound=TrialTask)


def _task(kind: type[Kind], cell: Cell, should_stop: ShouldStop = NEVER) -> Kind:
    """A task on a cell's rows, at its default settings."""
    return kind(
        cell.splits.fields,
        cell.plan.dim,
        cell.splits.train,
        cell.splits.validation,
        cell.default().backbone,
        training_spec(cell.plan, DEFAULT_LEARNING_RATE, DEFAULT_L2),
        seed=0,
        device=torch.device(cell.plan.device),
        should_stop=should_stop,
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """As in a worker."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)
