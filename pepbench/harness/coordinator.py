"""The run of a plan: keeps workers busy with the trials of its cells, and their records safe."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from queue import Empty, SimpleQueue
from typing import Any

import optuna

from pepbench.harness.cell_scheduler import CellScheduler, PendingTrial, Tally
from pepbench.harness.cells import Cell, PlannedFold, family
from pepbench.harness.executors import Call, Pool, open_pool
from pepbench.harness.executors.calls import Answer
from pepbench.harness.interrupts import GRACE_SECONDS, StopRequest, stop_on_interrupt
from pepbench.harness.run_options import RunOptions
from pepbench.harness.status.reporter import Reporter
from pepbench.harness.trial import Outcome, failed_record
from pepbench.harness.trial_locks import TrialLocks
from pepbench.harness.tuning.journal import JOURNAL_FILE, Journal
from pepbench.records import Record, RecordStore, now

WRITERS = 8
"""Threads that write records."""

TICK_SECONDS = 0.5
"""Longest wait for a trial before locks and progress are looked after."""

STOPPING = (
    f"Stopping: running trials have {GRACE_SECONDS:.0f} s to end. Ctrl-C again stops at once."
)


def run_cells(
    cells: Sequence[Cell],
    store: RecordStore,
    reporter: Reporter,
    options: RunOptions,
    locks: TrialLocks,
    opener: Callable[[RunOptions], Pool] = open_pool,
) -> Tally:
    """Run all trials of the cells that have no record yet; on return the store holds every record.

    Cells are taken in order, as many side by side as keep all workers busy. Records are written as
    trials end; an interruption loses no finished trial.

    Parameters
    ----------
    cells
        Of a plan.
    store
        Where records are found and written.
    reporter
        Reports what happens.
    options
        How to run.
    locks
        By which runs that share the folder divide its trials.
    opener
        Opens the workers, when the first trial has to run.

    Raises
    ------
    KeyboardInterrupt
        After an orderly end that Ctrl-C or SIGTERM asked for.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    reporter.start(cells)
    journal = None
    try:
        with stop_on_interrupt(lambda: reporter.warn(STOPPING)) as stop:
            # A journal has one writer, so runs that share the folder write none.
            journal = None if options.shared else Journal(store.folder / JOURNAL_FILE)
            scheduler = CellScheduler(store, reporter, options, journal)
            Coordinator(store, reporter, scheduler, options, opener, locks, stop).run(cells)
            return scheduler.tally()
    finally:
        if journal is not None:
            journal.close()
        reporter.stop()


@dataclass(eq=False)
class Coordinator:
    """Takes trials from the scheduler to the workers, and their outcomes to the store."""

    store: RecordStore
    reporter: Reporter
    scheduler: CellScheduler
    options: RunOptions
    opener: Callable[[RunOptions], Pool]
    locks: TrialLocks
    stop: StopRequest
    began: datetime = field(default_factory=now)
    pool: Pool | None = None
    rows: PlannedFold | None = None
    """Of the cell that was started last."""
    queue: deque[PendingTrial] = field(default_factory=deque)
    elsewhere: deque[PendingTrial] = field(default_factory=deque)
    """Locked by another run."""
    in_flight: dict[Future[Answer], list[PendingTrial]] = field(default_factory=dict)
    """Trials that were sent to a worker, by call."""
    writing: dict[Future[list[Record]], list[PendingTrial]] = field(default_factory=dict)
    """Answered, and on their way to the disk."""
    ended: SimpleQueue[Future[Any]] = field(default_factory=SimpleQueue)
    """Futures of both kinds, in the order in which they ended."""
    writers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(WRITERS))

    def run(self, cells: Sequence[Cell]) -> None:
        """Keep every worker busy until no cell is left."""
        waiting = deque(cells)
        try:
            while waiting or self.queue or self.elsewhere or self.in_flight or self.writing:
                if self.stop.requested and not self.in_flight and not self.writing:
                    raise KeyboardInterrupt
                if not self.stop.requested:
                    self._assign(waiting)
                self._wait()
        except BaseException:
            # Whatever else goes wrong now must not hide why work ends, such as an interruption.
            with suppress(Exception):
                if self.pool is not None:
                    self.pool.stop_at_once()
            raise
        finally:
            self.writers.shutdown()
        if self.pool is not None:
            self.pool.close()

    def _assign(self, waiting: deque[Cell]) -> None:
        """Start cells and submit their trials while workers are idle."""
        workers = self.pool.workers if self.pool is not None else self.options.jobs
        while waiting and len(self.queue) + len(self.in_flight) < workers:
            cells = self._next_cells(waiting, workers)
            if not cells:
                break
            for cell in cells:
                self.queue.extend(self.scheduler.start(cell))
        while self.queue and len(self.in_flight) < workers and not self.stop.requested:
            trials = [trial for trial in self._next_trials() if self._lock(trial)]
            if trials:
                self._submit(trials)

    def _next_cells(self, waiting: deque[Cell], workers: int) -> list[Cell]:
        """The next cell that need not wait for another, with those that may share its searches."""
        first = next((cell for cell in waiting if self.scheduler.ready(cell)), None)
        if first is None:
            return []
        # A fold that is begun while all workers are busy may evict rows that they still need.
        busy = len(self.queue) + len(self.in_flight) + len(self.writing)
        if first.rows is not self.rows and busy >= workers:
            return []
        self.rows = first.rows
        waiting.remove(first)
        if not first.default().method.shares_search:
            return [first]
        mates = [c for c in waiting if family(c) == family(first) and self.scheduler.ready(c)]
        for cell in mates:
            waiting.remove(cell)
        return [first, *mates]

    def _next_trials(self) -> list[PendingTrial]:
        """The next trial, and those in the queue that the same search serves."""
        first = self.queue.popleft()
        if first.search_key is None:
            return [first]
        mates = [trial for trial in self.queue if trial.search_key == first.search_key]
        for trial in mates:
            self.queue.remove(trial)
        return [first, *mates]

    def _lock(self, trial: PendingTrial) -> bool:
        """Whether this run has to make a trial: nobody else is making it or has made it."""
        if not self.locks.take(trial.key):
            self.elsewhere.append(trial)
            return False
        if not self.scheduler.reuse(trial.cell, trial.key):
            return True
        self.locks.release(trial.key)
        self._advance(trial)
        return False

    def _advance(self, trial: PendingTrial) -> None:
        """Queue what the cell of a finished trial needs next."""
        self.queue.extend(self.scheduler.advance(trial.cell))

    def _submit(self, trials: list[PendingTrial]) -> None:
        if self.pool is None:
            self.pool = self.opener(self.options)
        for trial in trials:
            self.reporter.trial_started(trial.cell.cell, trial.spec)
        specs = tuple(trial.spec for trial in trials)
        future = self.pool.submit(Call(specs, self.options.context))
        self.in_flight[future] = trials
        future.add_done_callback(self.ended.put)

    def _wait(self) -> None:
        """Take in what has ended; look after trials that others have locked."""
        if self.in_flight or self.writing:
            try:
                future = self.ended.get(timeout=TICK_SECONDS)
            except Empty:
                self.reporter.tick()
            else:
                self._store(future) if future in self.in_flight else self._count(future)
        elif self.elsewhere:
            time.sleep(TICK_SECONDS)
            self.reporter.tick()
        if self.elsewhere and not self.stop.requested:
            self._check_elsewhere()

    def _check_elsewhere(self) -> None:
        for _ in range(len(self.elsewhere)):
            trial = self.elsewhere.popleft()
            if self.scheduler.reuse(trial.cell, trial.key, failed_since=self.began):
                self._advance(trial)
            elif self.locks.is_free(trial.key):
                self.queue.append(trial)
            else:
                self.elsewhere.append(trial)

    def _store(self, future: Future[Answer]) -> None:
        """Have the outcomes of a worker written, or the reason why there are none."""
        trials = self.in_flight.pop(future)
        error = future.exception()
        if error is None:
            outcomes = [packed.unpack() for packed in future.result()]
        else:
            reason = self.pool.died(error) if self.pool is not None else None
            if reason is None:
                raise error
            threads = self.options.context.threads
            outcomes = [Outcome(failed_record(trial.spec, reason, threads)) for trial in trials]
        # Disks take their time to flush a file; several at once take hardly more.
        written = self.writers.submit(self._write, outcomes)
        self.writing[written] = trials
        written.add_done_callback(self.ended.put)

    def _write(self, outcomes: list[Outcome]) -> list[Record]:
        for outcome in outcomes:
            self.store.put(outcome.record, outcome.predictions, outcome.widths)
            self.locks.release(outcome.record.key)
        return [outcome.record for outcome in outcomes]

    def _count(self, written: Future[list[Record]]) -> None:
        """Count trials with written records, and queue what their cells need next."""
        trials = self.writing.pop(written)
        for trial, record in zip(trials, written.result(), strict=True):
            self.scheduler.count(trial.cell, record)
        for trial in trials:
            self._advance(trial)
