"""The coordinator: works off the cells of a plan, trial by trial, reusing what is finished."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from queue import Empty, SimpleQueue
from typing import Any, Protocol

import optuna

from pepbench.harness.cells import Cell, CellName, family
from pepbench.harness.claims import Claims
from pepbench.harness.executors import Call, Pool, Settings
from pepbench.harness.executors.calls import Answer
from pepbench.harness.journal import Journal
from pepbench.harness.stopping import Stop, stoppable
from pepbench.harness.trial import Outcome, Surroundings, describe_failure, failed_record
from pepbench.harness.tuning import CellProgram, new_study, sharing_key, stand_in, work_off
from pepbench.records import Record, RecordStore, TrialSpec, best_trial, now

JOURNAL_FILE = "optuna-journal.log"

WRITERS = 8
"""Records that are written side by side."""

STOPPING = "Stopping: running trials have 10 s to end. Ctrl-C again stops at once."

TICK_SECONDS = 0.5
"""How long the coordinator waits for a trial before it looks around."""


class Progress(Protocol):
    """What the coordinator reports while it works."""

    def start(self, cells: Sequence[Cell]) -> None:
        """Work on ``cells`` begins."""

    def trial_started(self, cell: Cell, spec: TrialSpec) -> None:
        """A trial was handed to a worker."""

    def trial_done(self, cell: Cell, record: Record, reused: bool) -> None:
        """A trial has its record, new or reused."""

    def cell_done(self, cell: Cell) -> None:
        """Nothing is left to do for a cell."""

    def tick(self) -> None:
        """Nothing has happened for a moment; work goes on."""

    def warn(self, message: str) -> None:
        """Something that the user should know, in one line."""

    def stop(self) -> None:
        """Work ended, or was interrupted."""


@dataclass(frozen=True)
class Tally:
    """What a run did."""

    made: int
    """Trials run now."""
    reused: int
    """Trials whose records were there."""


def run_cells(
    cells: Sequence[Cell],
    store: RecordStore,
    progress: Progress,
    surroundings: Surroundings,
    settings: Settings,
    open_pool: Callable[[], Pool],
    claims: Claims,
    *,
    retry_failed: bool = True,
    journal: bool = True,
) -> Tally:
    """Work off all cells; on return the store holds every record of them.

    Cells are taken in order, as many side by side as keep all workers busy. Records are written as
    trials end; an interruption loses no finished trial.

    Parameters
    ----------
    cells
        What is asked.
    store, claims
        Where records are kept, and whose trial is whose.
    progress
        Told of all that happens.
    surroundings, settings
        What trials and workers are given.
    open_pool
        Gets the workers, when the first trial has to run.
    retry_failed
        Whether trials that failed in an earlier run are run again.
    journal
        Whether studies are copied to a journal for ``optuna-dashboard``.

    Raises
    ------
    KeyboardInterrupt
        After an orderly end that was asked for by Ctrl-C or SIGTERM.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    progress.start(cells)
    try:
        with stoppable(lambda: progress.warn(STOPPING)) as stop:
            coordinator = _Coordinator(
                store=store,
                progress=progress,
                surroundings=surroundings,
                settings=settings,
                open_pool=open_pool,
                claims=claims,
                stop=stop,
                retry_failed=retry_failed,
                journal=Journal(store.folder / JOURNAL_FILE) if journal else None,
            )
            return coordinator.run(cells)
    finally:
        progress.stop()


@dataclass(eq=False)
class _Running:
    """A cell under way: its program, and the batch that the program waits for."""

    cell: Cell
    program: CellProgram
    study: optuna.Study
    batch: list[TrialSpec] = field(default_factory=list)
    records: dict[str, Record] = field(default_factory=dict)
    copied: int = 0


@dataclass(eq=False)
class _Job:
    """A trial that has to run."""

    running: _Running
    spec: TrialSpec
    sharing: str | None
    """What it has in common with trials that the same search serves."""

    @property
    def key(self) -> str:
        return self.spec.key()


@dataclass(eq=False)
class _Coordinator:
    store: RecordStore
    progress: Progress
    surroundings: Surroundings
    settings: Settings
    open_pool: Callable[[], Pool]
    claims: Claims
    stop: Stop
    retry_failed: bool
    journal: Journal | None
    began: datetime = field(default_factory=now)
    made: int = 0
    reused: int = 0
    pool: Pool | None = None
    queue: deque[_Job] = field(default_factory=deque)
    elsewhere: deque[_Job] = field(default_factory=deque)
    """Claimed by another coordinator."""
    best: dict[CellName, Record | None] = field(default_factory=dict)
    """Of the cells that are done."""
    in_flight: dict[Future[Answer], list[_Job]] = field(default_factory=dict)
    """Trials that a worker was given together."""
    writing: dict[Future[list[Record]], list[_Job]] = field(default_factory=dict)
    """Answered, and on their way to the disk."""
    ended: SimpleQueue[Future[Any]] = field(default_factory=SimpleQueue)
    """Of both, in the order in which they ended."""
    writers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(WRITERS))

    def run(self, cells: Sequence[Cell]) -> Tally:
        """Keep every worker busy until no cell is left."""
        waiting = deque(cells)
        try:
            while waiting or self.queue or self.elsewhere or self.in_flight or self.writing:
                if self.stop.requested and not self.in_flight and not self.writing:
                    raise KeyboardInterrupt
                if not self.stop.requested:
                    self._hand_out(waiting)
                self._wait()
        except BaseException:
            # Whatever else goes wrong now must not hide why work ends, such as an interruption.
            with suppress(Exception):
                if self.pool is not None:
                    self.pool.stop_at_once()
            raise
        finally:
            self.writers.shutdown()
            if self.journal is not None:
                self.journal.close()
        if self.pool is not None:
            self.pool.close()
        return Tally(self.made, self.reused)

    def _hand_out(self, waiting: deque[Cell]) -> None:
        """Begin cells and submit their trials while workers are idle."""
        workers = self.pool.workers if self.pool is not None else self.settings.jobs
        while waiting and len(self.queue) + len(self.in_flight) < workers:
            cells = self._next_cells(waiting)
            if not cells:
                break
            for cell in cells:
                self._begin(cell)
        while self.queue and len(self.in_flight) < workers and not self.stop.requested:
            jobs = [job for job in self._next_jobs() if self._take(job)]
            if jobs:
                self._submit(jobs)

    def _next_cells(self, waiting: deque[Cell]) -> list[Cell]:
        """The next cell that need not wait for another, with those that may share its searches."""
        first = next((cell for cell in waiting if self._ready(cell)), None)
        if first is None:
            return []
        waiting.remove(first)
        if not first.default().method.shares_search:
            return [first]
        mates = [c for c in waiting if family(c) == family(first) and self._ready(c)]
        for cell in mates:
            waiting.remove(cell)
        return [first, *mates]

    def _ready(self, cell: Cell) -> bool:
        return cell.neighbour is None or cell.neighbour in self.best

    def _next_jobs(self) -> list[_Job]:
        """The next job, and those in the queue that the same search serves."""
        first = self.queue.popleft()
        if first.sharing is None:
            return [first]
        mates = [job for job in self.queue if job.sharing == first.sharing]
        for job in mates:
            self.queue.remove(job)
        return [first, *mates]

    def _take(self, job: _Job) -> bool:
        """Whether a job is this coordinator's to run: nobody else has it or has done it."""
        if not self.claims.take(job.key):
            self.elsewhere.append(job)
            return False
        if not self._reuse(job.running, job.spec):
            return True
        self.claims.release(job.key)
        self._go_on(job.running)
        return False

    def _submit(self, jobs: list[_Job]) -> None:
        if self.pool is None:
            self.pool = self.open_pool()
        specs = tuple(job.spec for job in jobs)
        call = Call(specs, self.surroundings, self.settings.limits, self.settings.raw)
        for job in jobs:
            self.progress.trial_started(job.running.cell, job.spec)
        future = self.pool.submit(call)
        self.in_flight[future] = jobs
        future.add_done_callback(self.ended.put)

    def _wait(self) -> None:
        """Take in what has ended; look after trials that others have claimed."""
        if self.in_flight or self.writing:
            try:
                future = self.ended.get(timeout=TICK_SECONDS)
            except Empty:
                self.progress.tick()
            else:
                self._store(future) if future in self.in_flight else self._collect(future)
        elif self.elsewhere:
            time.sleep(TICK_SECONDS)
            self.progress.tick()
        if self.elsewhere and not self.stop.requested:
            self._look_elsewhere()

    def _look_elsewhere(self) -> None:
        for _ in range(len(self.elsewhere)):
            job = self.elsewhere.popleft()
            if self._reuse(job.running, job.spec, failed_since=self.began):
                self._go_on(job.running)
            elif self.claims.is_free(job.key):
                self.queue.append(job)
            else:
                self.elsewhere.append(job)

    def _begin(self, cell: Cell) -> None:
        study = new_study(cell)
        neighbour_best = None if cell.neighbour is None else self.best[cell.neighbour]
        running = _Running(cell, work_off(cell, study, neighbour_best), study)
        self._advance(running, first=True)

    def _advance(self, running: _Running, first: bool = False) -> None:
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
            missing = [spec for spec in running.batch if not self._reuse(running, spec)]
            if missing:
                self.queue.extend(
                    _Job(running, spec, sharing_key(running.cell, spec)) for spec in missing
                )
                return

    def _go_on(self, running: _Running) -> None:
        """Advance a cell if nothing of its batch is missing any more."""
        if all(spec.key() in running.records for spec in running.batch):
            self._advance(running)

    def _reuse(
        self, running: _Running, spec: TrialSpec, failed_since: datetime | None = None
    ) -> bool:
        """Take a finished record; one that failed only if it did so by another's hand, just now."""
        record = self.store.get(spec.key())
        if record is None:
            return False
        fresh = failed_since is not None and record.created >= failed_since
        if record.status == "failed" and self.retry_failed and not fresh:
            return False
        self.reused += 1
        running.records[record.key] = record
        self.progress.trial_done(running.cell, record, reused=True)
        return True

    def _store(self, future: Future[Answer]) -> None:
        """Have written what a worker answered, or the reason why it could not."""
        jobs = self.in_flight.pop(future)
        error = future.exception()
        if error is None:
            outcomes = [answered.outcome() for answered in future.result()]
        else:
            reason = self.pool.died(error) if self.pool is not None else None
            if reason is None:
                raise error
            outcomes = [
                Outcome(failed_record(job.spec, reason, self.settings.threads)) for job in jobs
            ]
        # Disks take their time to flush a file; several at once take hardly more.
        written = self.writers.submit(self._write, outcomes)
        self.writing[written] = jobs
        written.add_done_callback(self.ended.put)

    def _write(self, outcomes: list[Outcome]) -> list[Record]:
        for outcome in outcomes:
            self.store.put(outcome.record, outcome.predictions, outcome.widths)
            self.claims.release(outcome.record.key)
        return [outcome.record for outcome in outcomes]

    def _collect(self, written: Future[list[Record]]) -> None:
        """Count trials whose records are safe, and let their cells go on."""
        jobs = self.writing.pop(written)
        for job, record in zip(jobs, written.result(), strict=True):
            self._count(job.running, record)
        for job in jobs:
            self._go_on(job.running)

    def _count(self, running: _Running, record: Record) -> None:
        self.made += 1
        running.records[record.key] = record
        self.progress.trial_done(running.cell, record, reused=False)

    def _give_up(self, running: _Running, reason: str) -> None:
        spec = stand_in(running.cell, running.records.values())
        record = failed_record(spec, reason, self.settings.threads)
        self.store.put(record)
        self._count(running, record)
        self._done(running)

    def _done(self, running: _Running) -> None:
        self.best[running.cell.name] = best_trial(running.records.values())
        self.progress.cell_done(running.cell)

    def _copy_trials(self, running: _Running) -> None:
        if self.journal is None:
            return
        known = running.study.get_trials(deepcopy=False)
        trials = [trial for trial in known if trial.state.is_finished()]
        self.journal.copy(running.cell, trials[running.copied :])
        running.copied = len(trials)
