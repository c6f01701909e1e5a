"""Keeps workers busy with the trials of many cells, and their records safe."""

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

from pepbench.harness.cell_scheduler import CellScheduler, Job
from pepbench.harness.cells import Cell, family
from pepbench.harness.executors import Call, Pool, Settings
from pepbench.harness.executors.calls import Answer
from pepbench.harness.interrupts import Stop
from pepbench.harness.status.events import Progress
from pepbench.harness.trial import Outcome, TrialContext, failed_record
from pepbench.harness.trial_locks import TrialLocks
from pepbench.records import Record, RecordStore, now

WRITERS = 8
"""Records that are written side by side."""

TICK_SECONDS = 0.5
"""How long the coordinator waits for a trial before it looks around."""


@dataclass(eq=False)
class Coordinator:
    """One run's way from cells to records."""

    store: RecordStore
    progress: Progress
    programs: CellScheduler
    surroundings: TrialContext
    settings: Settings
    open_pool: Callable[[], Pool]
    claims: TrialLocks
    stop: Stop
    began: datetime = field(default_factory=now)
    pool: Pool | None = None
    queue: deque[Job] = field(default_factory=deque)
    elsewhere: deque[Job] = field(default_factory=deque)
    """Claimed by another coordinator."""
    in_flight: dict[Future[Answer], list[Job]] = field(default_factory=dict)
    """Trials that a worker was given together."""
    writing: dict[Future[list[Record]], list[Job]] = field(default_factory=dict)
    """Answered, and on their way to the disk."""
    ended: SimpleQueue[Future[Any]] = field(default_factory=SimpleQueue)
    """Of both, in the order in which they ended."""
    writers: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(WRITERS))

    def run(self, cells: Sequence[Cell]) -> None:
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
        if self.pool is not None:
            self.pool.close()

    def _hand_out(self, waiting: deque[Cell]) -> None:
        """Begin cells and submit their trials while workers are idle."""
        workers = self.pool.workers if self.pool is not None else self.settings.jobs
        while waiting and len(self.queue) + len(self.in_flight) < workers:
            cells = self._next_cells(waiting)
            if not cells:
                break
            for cell in cells:
                self.queue.extend(self.programs.begin(cell))
        while self.queue and len(self.in_flight) < workers and not self.stop.requested:
            jobs = [job for job in self._next_jobs() if self._take(job)]
            if jobs:
                self._submit(jobs)

    def _next_cells(self, waiting: deque[Cell]) -> list[Cell]:
        """The next cell that need not wait for another, with those that may share its searches."""
        first = next((cell for cell in waiting if self.programs.ready(cell)), None)
        if first is None:
            return []
        waiting.remove(first)
        if not first.default().method.shares_search:
            return [first]
        mates = [c for c in waiting if family(c) == family(first) and self.programs.ready(c)]
        for cell in mates:
            waiting.remove(cell)
        return [first, *mates]

    def _next_jobs(self) -> list[Job]:
        """The next job, and those in the queue that the same search serves."""
        first = self.queue.popleft()
        if first.sharing is None:
            return [first]
        mates = [job for job in self.queue if job.sharing == first.sharing]
        for job in mates:
            self.queue.remove(job)
        return [first, *mates]

    def _take(self, job: Job) -> bool:
        """Whether a job is this coordinator's to run: nobody else has it or has done it."""
        if not self.claims.take(job.key):
            self.elsewhere.append(job)
            return False
        if not self.programs.reuse(job.running, job.spec):
            return True
        self.claims.release(job.key)
        self._go_on(job)
        return False

    def _go_on(self, job: Job) -> None:
        """Ask the cell of a job that has its record what it needs next."""
        self.queue.extend(self.programs.go_on(job.running))

    def _submit(self, jobs: list[Job]) -> None:
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
            if self.programs.reuse(job.running, job.spec, failed_since=self.began):
                self._go_on(job)
            elif self.claims.is_free(job.key):
                self.queue.append(job)
            else:
                self.elsewhere.append(job)

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
            self.programs.count(job.running, record)
        for job in jobs:
            self._go_on(job)
