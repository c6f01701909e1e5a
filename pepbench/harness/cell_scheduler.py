"""Cells under way: which trials each of them needs next, and which of those are there already."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import optuna

from pepbench.harness.cells import Cell
from pepbench.harness.status.events import Progress
from pepbench.harness.trial import describe_failure, failed_record
from pepbench.harness.tuning.journal import Journal
from pepbench.harness.tuning.study import CellProgram, new_study, sharing_key, stand_in, work_off
from pepbench.records import CellName, Record, RecordStore, TrialSpec, best_trial


@dataclass(frozen=True)
class Tally:
    """What a run did."""

    made: int
    """Trials run now."""
    reused: int
    """Trials whose records were there."""


@dataclass(eq=False)
class Running:
    """A cell under way: its program, and the batch that the program waits for."""

    cell: Cell
    program: CellProgram
    study: optuna.Study
    batch: list[TrialSpec] = field(default_factory=list)
    records: dict[str, Record] = field(default_factory=dict)
    copied: int = 0


@dataclass(eq=False)
class Job:
    """A trial that has to run."""

    running: Running
    spec: TrialSpec
    sharing: str | None
    """What it has in common with trials that the same search serves."""

    @property
    def key(self) -> str:
        """Of its record."""
        return self.spec.key()


class CellScheduler:
    """Sends the programs of cells their records, and hands out the trials that have none.

    Parameters
    ----------
    store, progress
        Where records are, and who is told of them.
    threads
        Torch threads of a worker, as failed records tell them.
    retry_failed
        Whether trials that failed in an earlier run are run again.
    journal
        Where finished studies are copied to, if anywhere.
    """

    def __init__(
        self,
        store: RecordStore,
        progress: Progress,
        *,
        threads: int,
        retry_failed: bool,
        journal: Journal | None,
    ) -> None:
        self._store = store
        self._progress = progress
        self._threads = threads
        self._retry_failed = retry_failed
        self._journal = journal
        self._best: dict[CellName, Record | None] = {}
        self._made = self._reused = 0

    def tally(self) -> Tally:
        """What was done so far."""
        return Tally(self._made, self._reused)

    def ready(self, cell: Cell) -> bool:
        """Whether a cell need not wait for its neighbour's end."""
        return cell.neighbour is None or cell.neighbour in self._best

    def begin(self, cell: Cell) -> list[Job]:
        """Start a cell; returns the trials that it needs first."""
        study = new_study(cell)
        neighbour_best = None if cell.neighbour is None else self._best[cell.neighbour]
        running = Running(cell, work_off(cell, study, neighbour_best), study)
        return list(self._advance(running, first=True))

    def go_on(self, running: Running) -> list[Job]:
        """Advance a cell of whose batch nothing is missing any more; returns what it needs next."""
        if all(spec.key() in running.records for spec in running.batch):
            return list(self._advance(running))
        return []

    def reuse(
        self, running: Running, spec: TrialSpec, failed_since: datetime | None = None
    ) -> bool:
        """Take a finished record; one that failed only if it did so by another's hand, just now."""
        record = self._store.get(spec.key())
        if record is None:
            return False
        fresh = failed_since is not None and record.created >= failed_since
        if record.status == "failed" and self._retry_failed and not fresh:
            return False
        self._reused += 1
        running.records[record.key] = record
        self._progress.trial_done(running.cell, record, reused=True)
        return True

    def count(self, running: Running, record: Record) -> None:
        """Take a record that was made now."""
        self._made += 1
        running.records[record.key] = record
        self._progress.trial_done(running.cell, record, reused=False)

    def _advance(self, running: Running, first: bool = False) -> Iterator[Job]:
        """Send a cell's program its records until it asks for a trial that has to run."""
        while True:
            try:
                if first:
                    running.batch = next(running.program)
                    first = False
                else:
                    answers = [running.records[spec.key()] for spec in running.batch]
                    running.batch = running.program.send(answers)
            except StopIteration:
                self._copy_trials(running)
                self._done(running)
                return
            except Exception as error:
                # The method's own suggest() raised: its cell fails, the others go on.
                self._give_up(running, describe_failure(error))
                return
            self._copy_trials(running)
            missing = [spec for spec in running.batch if not self.reuse(running, spec)]
            if missing:
                for spec in missing:
                    yield Job(running, spec, sharing_key(running.cell, spec))
                return

    def _give_up(self, running: Running, reason: str) -> None:
        spec = stand_in(running.cell, running.records.values())
        record = failed_record(spec, reason, self._threads)
        self._store.put(record)
        self.count(running, record)
        self._done(running)

    def _done(self, running: Running) -> None:
        self._best[running.cell.name] = best_trial(running.records.values())
        self._progress.cell_done(running.cell)

    def _copy_trials(self, running: Running) -> None:
        if self._journal is None:
            return
        known = running.study.get_trials(deepcopy=False)
        trials = [trial for trial in known if trial.state.is_finished()]
        self._journal.copy(running.cell, trials[running.copied :])
        running.copied = len(trials)
