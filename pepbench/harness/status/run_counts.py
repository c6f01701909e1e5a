"""Counts of a run's trials and cells, updated as trials begin and end."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from pepbench.harness.cells import Cell
from pepbench.records import Record, TrialSpec

State = Literal["running", "finished", "interrupted"]

FAILURES_KEPT = 20


@dataclass(frozen=True)
class RunningTrial:
    """A trial that a worker is running."""

    key: str
    cell: str
    trial: str
    """Such as ``tuning 3/20``."""
    since: float
    """Seconds since the epoch."""


@dataclass(frozen=True)
class Snapshot:
    """The state of a run at one moment, ready for JSON."""

    pid: int
    host: str
    state: State
    began: float
    """Seconds since the epoch."""
    updated: float
    """Likewise."""
    cells: int
    cells_done: int
    trials: int
    done: int
    """Trials with a record, including reused ones."""
    reused: int
    failed: int
    seconds_left: float | None
    """By the mean time of the trials so far; None before the first has ended."""
    running: list[RunningTrial] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    """The latest ones, one line each."""


class CellCount:
    """Counts of one cell."""

    def __init__(self, cell: Cell) -> None:
        self.totals = {"tuning": cell.plan.trials, "final": cell.plan.seeds}
        self.total = sum(self.totals.values())
        self.begun = {"tuning": 0, "final": 0}
        self.done = 0
        self.made = 0
        self.best: float | None = None
        self.reasons: list[str] = []
        self.started = time.monotonic()

    def add(self, record: Record, reused: bool) -> None:
        """Count a trial's record."""
        self.done += 1
        self.made += not reused
        if reused:
            self.begun[record.spec.role] += 1
        if record.validation is not None:
            self.best = max(self.best or 0.0, record.validation.auc)
        if record.reason is not None:
            self.reasons.append(record.reason)


class RunCounts:
    """Counts of a whole run."""

    def __init__(self) -> None:
        self.state: State = "running"
        self.began = time.time()
        self.cells = self.cells_done = self.trials = self.done = self.reused = self.failed = 0
        self.running: dict[str, RunningTrial] = {}
        self.failures: list[str] = []
        self._counts: dict[Cell, CellCount] = {}
        self._clock = time.monotonic()

    def start(self, cells: Sequence[Cell]) -> None:
        """Count the cells, and the trials that they need at most."""
        self.cells = len(cells)
        self.trials = sum(cell.plan.trials + cell.plan.seeds for cell in cells)

    def trial_started(self, cell: Cell, spec: TrialSpec) -> None:
        """Add a running trial."""
        count = self.count(cell)
        count.begun[spec.role] += 1
        number = f"{spec.role} {count.begun[spec.role]}/{count.totals[spec.role]}"
        trial = RunningTrial(spec.key(), str(cell.name), number, time.time())
        self.running[trial.key] = trial

    def trial_done(self, cell: Cell, record: Record, reused: bool) -> None:
        """Count a record."""
        self.running.pop(record.key, None)
        self.count(cell).add(record, reused)
        self.done += 1
        self.reused += reused
        if record.status == "failed":
            self.failed += 1
            self.failures = [
                *self.failures[1 - FAILURES_KEPT :],
                f"{cell.name!s}: failed: {record.reason}",
            ]

    def cell_done(self, cell: Cell) -> CellCount:
        """Count a cell, and drop its details."""
        count = self.count(cell)
        self.cells_done += 1
        # Cells without a usable trial have no final runs.
        self.trials -= max(0, count.total - count.done)
        return self._counts.pop(cell)

    def count(self, cell: Cell) -> CellCount:
        """Counts of a cell in progress."""
        if cell not in self._counts:
            self._counts[cell] = CellCount(cell)
        return self._counts[cell]

    def _seconds_left(self) -> float | None:
        made = self.done - self.reused
        if not made:
            return None
        return (self.trials - self.done) * (time.monotonic() - self._clock) / made

    def snapshot(self) -> Snapshot:
        """The counts as they are now."""
        return Snapshot(
            pid=os.getpid(),
            host=socket.gethostname(),
            state=self.state,
            began=self.began,
            updated=time.time(),
            cells=self.cells,
            cells_done=self.cells_done,
            trials=self.trials,
            done=self.done,
            reused=self.reused,
            failed=self.failed,
            seconds_left=self._seconds_left(),
            running=list(self.running.values()),
            failures=self.failures,
        )
