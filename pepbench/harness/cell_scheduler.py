"""Cells in progress: which trials each of them needs next, and which of those have a record."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime

import optuna

from pepbench.harness.cells import Cell
from pepbench.harness.run_options import RunOptions
from pepbench.harness.status.reporter import Reporter
from pepbench.harness.trial import describe_failure, failed_record
from pepbench.harness.tuning.journal import Journal
from pepbench.harness.tuning.study import (
    TrialBatches,
    cell_failure_spec,
    new_study,
    search_key,
    trial_batches,
)
from pepbench.records import (
    CellName,
    Place,
    Record,
    RecordStore,
    TrialSpec,
    best_trial,
)


@dataclass(frozen=True)
class Tally:
    """How many trials a run made and reused."""

    made: int
    """Trials run now."""
    reused: int
    """Trials that had a record already."""


@dataclass(eq=False)
class ActiveCell:
    """A cell in progress, and the batch of trials that it waits for."""

    cell: Cell
    batches: TrialBatches
    study: optuna.Study
    batch: list[str] = field(default_factory=list)
    """Keys of its trials."""
    records: dict[str, Record] = field(default_factory=dict)
    copied: int = 0
    """Trials of the study that are in the journal."""


@dataclass(eq=False)
class PendingTrial:
    """A trial that has to run."""

    cell: ActiveCell
    spec: TrialSpec
    key: str
    """Of its record."""

    def __post_init__(self) -> None:
        self.search_key = search_key(self.cell.cell, self.spec)
        """Equal for trials that one search can serve; None if it needs its own."""


def keys_by_place(store: RecordStore) -> dict[Place, set[str]]:
    """Keys of all stored records, by cell and fold."""
    keys: dict[Place, set[str]] = {}
    for row in store.figures().to_dict("records"):
        keys.setdefault((CellName.of_row(row), row["fold"]), set()).add(row["key"])
    return keys


class CellScheduler:
    """Finds out which trials cells need, reuses stored records, and hands out the other trials.

    Parameters
    ----------
    store, reporter
        Where records are, and what reports them.
    options
        How the plan is run.
    journal
        Where finished trials are copied to, if anywhere.
    """

    def __init__(
        self,
        store: RecordStore,
        reporter: Reporter,
        options: RunOptions,
        journal: Journal | None,
    ) -> None:
        self._store = store
        self._reporter = reporter
        # A run that joins another leaves its failed trials alone.
        self._retry_failed = options.retry_failed and not options.join
        self._threads = options.context.threads
        self._journal = journal
        self._best: dict[Place, Record | None] = {}
        self._made = self._reused = 0
        # Another run may still make trials of a cell that both run.
        self._found = {} if options.join else keys_by_place(store)

    def tally(self) -> Tally:
        """What was done so far."""
        return Tally(self._made, self._reused)

    def ready(self, cell: Cell) -> bool:
        """Whether a cell need not wait for its neighbour's end."""
        return cell.neighbour is None or (cell.neighbour, cell.fold.number) in self._best

    def start(self, cell: Cell) -> list[PendingTrial]:
        """Start a cell; returns the trials that have to run first."""
        study = new_study(cell)
        neighbour_best = None
        if cell.neighbour is not None:
            neighbour_best = self._best[cell.neighbour, cell.fold.number]
        active = ActiveCell(cell, trial_batches(cell, study, neighbour_best), study)
        return list(self._next_missing(active))

    def advance(self, active: ActiveCell) -> list[PendingTrial]:
        """The trials that have to run next, once the whole batch has records."""
        if all(key in active.records for key in active.batch):
            return list(self._next_missing(active))
        return []

    def reuse(self, active: ActiveCell, key: str, failed_since: datetime | None = None) -> bool:
        """Take the stored record of a trial's key, if there is one.

        Where failed trials are retried, a failed one counts only if another run made it since
        ``failed_since``.
        """
        record = self._store.get(key)
        if record is None:
            return False
        fresh = failed_since is not None and record.created >= failed_since
        if record.status == "failed" and self._retry_failed and not fresh:
            return False
        self._reused += 1
        active.records[record.key] = record
        self._reporter.trial_done(active.cell, record, reused=True)
        return True

    def count(self, active: ActiveCell, record: Record) -> None:
        """Take a record that was made now."""
        self._made += 1
        active.records[record.key] = record
        self._reporter.trial_done(active.cell, record, reused=False)

    def _next_missing(self, active: ActiveCell) -> Iterator[PendingTrial]:
        """Send a cell its records, batch by batch, until one of its trials has to run."""
        missing: list[PendingTrial] = []
        while not missing:
            try:
                if active.batch:
                    specs = active.batches.send([active.records[key] for key in active.batch])
                else:
                    specs = next(active.batches)
            except StopIteration:
                self._copy_trials(active)
                self._done(active)
                return
            except Exception as error:
                # The method's own suggest() raised: its cell fails, the others go on.
                self._fail(active, describe_failure(error))
                return
            active.batch = [spec.key() for spec in specs]
            self._copy_trials(active)
            missing = [
                PendingTrial(active, spec, key)
                for spec, key in zip(specs, active.batch, strict=True)
                if not self.reuse(active, key)
            ]
        yield from missing

    def _fail(self, active: ActiveCell, reason: str) -> None:
        spec = cell_failure_spec(active.cell, active.records.values())
        record = failed_record(spec, reason, self._threads)
        self._store.put(record)
        self.count(active, record)
        self._done(active)

    def _done(self, active: ActiveCell) -> None:
        stale = self._found.get(active.cell.place, set()) - active.records.keys()
        if stale:
            # Else reports would count them, and might choose one that has no final runs.
            self._store.supersede(stale)
            self._reporter.warn(
                f"{active.cell}: {len(stale)} trials of an earlier run set aside (*.json.stale), "
                "since a failed one ended well now, or since data or a component have changed"
            )
        self._best[active.cell.place] = best_trial(active.records.values())
        self._reporter.cell_done(active.cell)

    def _copy_trials(self, active: ActiveCell) -> None:
        if self._journal is None:
            return
        known = active.study.get_trials(deepcopy=False)
        trials = [trial for trial in known if trial.state.is_finished()]
        self._journal.copy(active.cell, trials[active.copied :])
        active.copied = len(trials)
