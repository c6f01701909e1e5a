"""Counts of a run's trials and cells, updated as trials begin and end."""

from __future__ import annotations

import os
import socket
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from pepbench.harness.cells import Cell
from pepbench.plan import Plan
from pepbench.records import Record, Role, TrialSpec, validation_goal

State = Literal["running", "finished", "interrupted"]

FAILURES_KEPT = 20


@dataclass(frozen=True)
class RunningTrial:
    """A trial that a worker is running."""

    key: str
    cell: str
    trial: str
    """Such as ``tuning 3/20`` or ``fold 3/10 final 1/1``."""
    since: float
    """Seconds since the epoch."""


@dataclass
class Snapshot:
    """The state of a run at one moment, ready for JSON."""

    pid: int
    host: str
    state: State = "running"
    began: float = 0.0
    """Seconds since the epoch."""
    updated: float = 0.0
    """Likewise."""
    cells: int = 0
    cells_done: int = 0
    trials: int = 0
    done: int = 0
    """Trials with a record, including reused ones."""
    reused: int = 0
    failed: int = 0
    seconds_left: float | None = None
    """By the mean time of the trials so far; None before the first has ended."""
    running: list[RunningTrial] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """The latest ones, one line each."""


def most_runs(plan: Plan) -> dict[Role, int]:
    """The most runs of each role that a cell with this plan needs, if no trial is infeasible."""
    finalists = plan.finalists * plan.finalist_seeds if plan.finalists > 1 else 0
    return {"tuning": plan.trials, "finalist": finalists, "final": plan.seeds}


class CellCount:
    """Counts of one cell."""

    def __init__(self, cell: Cell) -> None:
        self.totals = most_runs(cell.plan)
        self.begun: Counter[Role] = Counter()
        self.done = 0
        self.made = 0
        self.best: float | None = None
        self.reasons: list[str] = []
        self.started = time.monotonic()

    @property
    def total(self) -> int:
        """Runs that the cell needs at most, as far as is known."""
        return sum(self.totals.values())

    def add(self, record: Record, reused: bool) -> None:
        """Count a trial's record; another trial takes the place of an infeasible one."""
        if record.spec.role == "tuning" and record.status == "infeasible":
            self.totals["tuning"] += 1
        self.done += 1
        self.made += not reused
        if reused:
            self.begun[record.spec.role] += 1
        if record.validation is not None:
            score = validation_goal(record)
            self.best = score if self.best is None else max(self.best, score)
        if record.reason is not None:
            self.reasons.append(record.reason)


class RunCounts:
    """Counts of a whole run; ``now`` is its current state."""

    def __init__(self) -> None:
        self.now = Snapshot(os.getpid(), socket.gethostname(), began=time.time())
        self._counts: dict[Cell, CellCount] = {}
        self._running: dict[str, RunningTrial] = {}
        self._clock = time.monotonic()

    def start(self, cells: Sequence[Cell]) -> None:
        """Count the cells, and the trials that they need at most."""
        self.now.cells = len(cells)
        self.now.trials = sum(sum(most_runs(cell.plan).values()) for cell in cells)

    def trial_started(self, cell: Cell, spec: TrialSpec) -> None:
        """Add a running trial."""
        count = self.count(cell)
        count.begun[spec.role] += 1
        number = count.begun[spec.role]
        trial = f"{spec.role} {number}/{max(number, count.totals[spec.role])}"
        if cell.fold.of > 1:
            trial = f"{cell.fold} {trial}"
        key = spec.key()
        self._running[key] = RunningTrial(key, str(cell.name), trial, time.time())

    def trial_done(self, cell: Cell, record: Record, reused: bool) -> None:
        """Count a record."""
        self._running.pop(record.key, None)
        count = self.count(cell)
        self.now.trials -= count.total
        count.add(record, reused)
        self.now.trials += count.total
        self.now.done += 1
        self.now.reused += reused
        if record.status == "failed":
            self.now.failed += 1
            failure = f"{cell}: failed: {record.reason}"
            self.now.failures = [*self.now.failures[1 - FAILURES_KEPT :], failure]

    def cell_done(self, cell: Cell) -> CellCount:
        """Count a cell, and drop its details."""
        count = self.count(cell)
        self.now.cells_done += 1
        # Fewer runs where a cell has no usable trial, is given up or has fewer finalists.
        self.now.trials -= count.total - count.done
        return self._counts.pop(cell)

    def stop(self) -> None:
        """Work ended, or was interrupted."""
        done = self.now.cells_done == self.now.cells
        self.now.state = "finished" if done else "interrupted"
        self._running.clear()

    def count(self, cell: Cell) -> CellCount:
        """Counts of a cell in progress."""
        if cell not in self._counts:
            self._counts[cell] = CellCount(cell)
        return self._counts[cell]

    def snapshot(self) -> Snapshot:
        """A copy of the current state."""
        now = self.now
        made = now.done - now.reused
        seconds = (time.monotonic() - self._clock) / made if made else None
        left = None if seconds is None else max(0, now.trials - now.done) * seconds
        running = list(self._running.values())
        return replace(now, updated=time.time(), seconds_left=left, running=running)
