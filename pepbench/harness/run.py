"""The coordinator: works off the cells of a plan, trial by trial, reusing what is finished."""

from __future__ import annotations

import os
import socket
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import optuna
from filelock import FileLock, Timeout

from pepbench.errors import PlanError
from pepbench.harness.cells import Cell, CellName, family
from pepbench.harness.executors import local_executor, stop_at_once
from pepbench.harness.journal import Journal
from pepbench.harness.live import LIVE_FOLDER
from pepbench.harness.trial import (
    Outcome,
    Surroundings,
    describe_failure,
    failed_record,
    run_trials,
)
from pepbench.harness.tuning import CellProgram, new_study, sharing_key, stand_in, work_off
from pepbench.plan import Plan
from pepbench.records import Record, RecordStore, TrialSpec, best_trial, write_atomically

PLAN_FILE = "plan.toml"
JOURNAL_FILE = "optuna-journal.log"
ATTEMPTS = 3
"""How often a trial is started that kills its worker process."""


class Progress(Protocol):
    """What the coordinator reports while it works."""

    def start(self, cells: list[Cell]) -> None:
        """Work on ``cells`` begins."""

    def trial_started(self, cell: Cell, spec: TrialSpec) -> None:
        """A trial was handed to a worker."""

    def trial_done(self, cell: Cell, record: Record, reused: bool) -> None:
        """A trial has its record, new or reused."""

    def cell_done(self, cell: Cell) -> None:
        """Nothing is left to do for a cell."""

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


@contextmanager
def claimed_folder(folder: Path, plan: Plan) -> Iterator[None]:
    """Hold the run's folder, made if need be; the plan is in it, and nobody else works on it.

    Raises
    ------
    PlanError
        If the folder holds another plan's records, is in use or cannot be written.
    """
    lock = FileLock(folder / ".lock", timeout=0)
    holder = folder / ".holder"
    try:
        try:
            _refuse_foreign(folder, plan)
            folder.mkdir(parents=True, exist_ok=True)
            lock.acquire()
            _refuse_foreign(folder, plan)
            holder.write_text(f"process {os.getpid()} on {socket.gethostname()}", "utf-8")
            if (folder / PLAN_FILE).exists():
                _remove_leftovers(folder)
            else:
                write_atomically(folder / PLAN_FILE, plan.to_toml().encode())
        except Timeout:
            who = holder.read_text("utf-8") if holder.exists() else "another process"
            raise PlanError(
                f"{folder} is in use by {who}; wait until it ends, or choose another --out"
            ) from None
        except OSError as error:
            raise PlanError(
                f"output folder {folder} cannot be written: {error.strerror or error}; "
                "choose another with --out"
            ) from None
        yield
    finally:
        lock.release()


def _remove_leftovers(folder: Path) -> None:
    """Remove what a killed run had not finished writing."""
    for place in (folder, folder / "records", folder / "predictions", folder / LIVE_FOLDER):
        for path in place.glob(".*.tmp"):
            path.unlink()
    for path in (folder / LIVE_FOLDER).glob("*.json"):
        path.unlink()


def _refuse_foreign(folder: Path, plan: Plan) -> None:
    path = folder / PLAN_FILE
    records = folder / "records"
    if path.exists():
        if Plan.load(path, {}) != plan:
            raise PlanError(
                f"{folder} holds the records of another plan; choose another folder with "
                f"--out, repeat its plan with: pepbench run {path} --out {folder}, "
                "or delete the folder"
            )
    elif records.is_dir() and any(records.iterdir()):
        raise PlanError(f"{folder} holds records but no {PLAN_FILE}; choose another --out")


def run_cells(
    cells: list[Cell],
    store: RecordStore,
    progress: Progress,
    surroundings: Surroundings,
    jobs: int,
) -> Tally:
    """Work off all cells; on return the store holds every record of the plan.

    Cells are taken in order, as many side by side as keep ``jobs`` workers busy. Records are
    written as trials end; an interruption loses no finished trial.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    coordinator = _Coordinator(
        store=store,
        progress=progress,
        surroundings=surroundings,
        jobs=jobs,
        journal=Journal(store.folder / JOURNAL_FILE),
        make_executor=lambda: local_executor(jobs),
    )
    progress.start(cells)
    try:
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
    running: _Running
    spec: TrialSpec
    sharing: str | None
    """What it has in common with trials that the same search serves."""
    deaths: int = 0
    """Worker processes that died while it ran alone."""


@dataclass(eq=False)
class _Coordinator:
    store: RecordStore
    progress: Progress
    surroundings: Surroundings
    jobs: int
    journal: Journal
    make_executor: Callable[[], Executor]
    made: int = 0
    reused: int = 0
    queue: deque[_Job] = field(default_factory=deque)
    suspects: deque[_Job] = field(default_factory=deque)
    """Lost when a worker died; run alone, so that only the one to blame is given up."""
    best: dict[CellName, Record | None] = field(default_factory=dict)
    """Of the cells that are done."""

    def run(self, cells: list[Cell]) -> Tally:
        """Keep every worker busy until no cell is left."""
        waiting = deque(cells)
        in_flight: dict[Future[list[Outcome]], list[_Job]] = {}
        executor = self.make_executor()
        try:
            while waiting or self.queue or self.suspects or in_flight:
                while len(self.queue) + len(in_flight) < self.jobs:
                    begun = self._next_cells(waiting)
                    if not begun:
                        break
                    for cell in begun:
                        self._begin(cell)
                at_once = 1 if self.suspects else self.jobs
                while (self.suspects or self.queue) and len(in_flight) < at_once:
                    jobs = self._next_jobs()
                    for job in jobs:
                        self.progress.trial_started(job.running.cell, job.spec)
                    in_flight[self._submit(executor, jobs)] = jobs
                if not in_flight:
                    continue
                done, _ = wait(in_flight, return_when=FIRST_COMPLETED)
                alone = len(in_flight) == 1
                ended = [(in_flight.pop(future), future) for future in done]
                lost = [jobs for jobs, future in ended if not self._collect(jobs, future)]
                if lost:
                    # Every other trial in flight is lost with the pool.
                    lost += in_flight.values()
                    self._try_again([job for jobs in lost for job in jobs], alone)
                    in_flight.clear()
                    stop_at_once(executor)
                    executor = self.make_executor()
        except BaseException:
            # Whatever else goes wrong now must not hide why work ends, such as an interruption.
            with suppress(Exception):
                stop_at_once(executor)
            raise
        executor.shutdown()
        return Tally(self.made, self.reused)

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
        if self.suspects:
            return [self.suspects.popleft()]
        first = self.queue.popleft()
        mates = [job for job in self.queue if job.sharing and job.sharing == first.sharing]
        for job in mates:
            self.queue.remove(job)
        return [first, *mates]

    def _submit(self, executor: Executor, jobs: list[_Job]) -> Future[list[Outcome]]:
        try:
            return executor.submit(run_trials, [job.spec for job in jobs], self.surroundings)
        except BrokenExecutor as error:  # a worker died while idle
            future: Future[list[Outcome]] = Future()
            future.set_exception(error)
            return future

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

    def _reuse(self, running: _Running, spec: TrialSpec) -> bool:
        record = self.store.get(spec.key())
        if record is None or record.status == "failed":
            return False
        self.reused += 1
        running.records[record.key] = record
        self.progress.trial_done(running.cell, record, reused=True)
        return True

    def _collect(self, jobs: list[_Job], future: Future[list[Outcome]]) -> bool:
        """Take a future's outcome; False if the worker pool is broken."""
        error = future.exception()
        if isinstance(error, BrokenExecutor):
            return False
        if error is not None:
            raise error
        for job, outcome in zip(jobs, future.result(), strict=True):
            self._keep(job, outcome)
        return True

    def _try_again(self, jobs: list[_Job], alone: bool) -> None:
        for job in jobs:
            job.deaths += alone
            if job.deaths < ATTEMPTS:
                self.suspects.append(job)
                continue
            reason = f"the worker process died {ATTEMPTS} times, perhaps for lack of memory"
            self._keep(job, Outcome(failed_record(job.spec, reason, self.surroundings.threads)))

    def _give_up(self, running: _Running, reason: str) -> None:
        spec = stand_in(running.cell, running.records.values())
        record = failed_record(spec, reason, self.surroundings.threads)
        self.store.put(record)
        self.made += 1
        self.progress.trial_done(running.cell, record, reused=False)
        self._done(running)

    def _done(self, running: _Running) -> None:
        self.best[running.cell.name] = best_trial(running.records.values())
        self.progress.cell_done(running.cell)

    def _keep(self, job: _Job, outcome: Outcome) -> None:
        running = job.running
        self.store.put(outcome.record, outcome.predictions, outcome.widths)
        self.made += 1
        running.records[outcome.record.key] = outcome.record
        self.progress.trial_done(running.cell, outcome.record, reused=False)
        if all(spec.key() in running.records for spec in running.batch):
            self._advance(running)

    def _copy_trials(self, running: _Running) -> None:
        trials = [trial for trial in running.study.trials if trial.state.is_finished()]
        for trial in trials[running.copied :]:
            self.journal.copy(running.cell, trial)
        running.copied = len(trials)
