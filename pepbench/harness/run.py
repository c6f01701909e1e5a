"""The coordinator: works off the cells of a plan, trial by trial, reusing what is finished."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import optuna

from pepbench.errors import PlanError
from pepbench.harness.cells import Cell
from pepbench.harness.executors import local_executor, stop_at_once
from pepbench.harness.journal import Journal
from pepbench.harness.trial import Outcome, Surroundings, failed_record, run_trial
from pepbench.harness.tuning import CellProgram, new_study, work_off
from pepbench.plan import Plan
from pepbench.records import Record, RecordStore, TrialSpec, write_atomically

PLAN_FILE = "plan.toml"
JOURNAL_FILE = "optuna-journal.log"
ATTEMPTS = 3
"""How often a trial is started whose worker process dies."""


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


def claim_folder(folder: Path, plan: Plan) -> None:
    """Make the run's folder and write the plan, or find that the same plan is there.

    Raises
    ------
    PlanError
        If the folder holds another plan's records or cannot be written.
    """
    path = folder / PLAN_FILE
    content = plan.to_toml()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if path.exists():
            if path.read_text("utf-8") != content:
                raise PlanError(
                    f"{folder} holds the records of another plan; choose another folder with "
                    f"--out, repeat its plan with: pepbench run {path} --out {folder}, "
                    "or delete the folder"
                )
            return
        if (folder / "records").is_dir() and any((folder / "records").iterdir()):
            raise PlanError(f"{folder} holds records but no {PLAN_FILE}; choose another --out")
        write_atomically(path, content.encode())
    except OSError as error:
        raise PlanError(
            f"output folder {folder} cannot be written: {error.strerror or error}; "
            "choose another with --out"
        ) from None


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
    attempts: int = 1


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

    def run(self, cells: list[Cell]) -> Tally:
        """Keep every worker busy until no cell is left."""
        waiting = deque(cells)
        in_flight: dict[Future[Outcome], _Job] = {}
        executor = self.make_executor()
        try:
            while waiting or self.queue or in_flight:
                while waiting and len(self.queue) + len(in_flight) < self.jobs:
                    self._begin(waiting.popleft())
                while self.queue and len(in_flight) < self.jobs:
                    job = self.queue.popleft()
                    self.progress.trial_started(job.running.cell, job.spec)
                    in_flight[executor.submit(run_trial, job.spec, self.surroundings)] = job
                if not in_flight:
                    continue
                done, _ = wait(in_flight, return_when=FIRST_COMPLETED)
                broken = False
                for future in done:
                    job = in_flight.pop(future)
                    broken |= not self._collect(job, future)
                if broken:
                    # Every other trial in flight is lost with the pool.
                    for job in in_flight.values():
                        self._try_again(job)
                    in_flight.clear()
                    stop_at_once(executor)
                    executor = self.make_executor()
        except BaseException:
            stop_at_once(executor)
            raise
        executor.shutdown()
        return Tally(self.made, self.reused)

    def _begin(self, cell: Cell) -> None:
        study = new_study(cell)
        running = _Running(cell, work_off(cell, study), study)
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
                self.progress.cell_done(running.cell)
                return
            self._copy_trials(running)
            missing = [spec for spec in running.batch if not self._reuse(running, spec)]
            if missing:
                self.queue.extend(_Job(running, spec) for spec in missing)
                return

    def _reuse(self, running: _Running, spec: TrialSpec) -> bool:
        record = self.store.get(spec.key())
        if record is None or record.status == "failed":
            return False
        self.reused += 1
        running.records[record.key] = record
        self.progress.trial_done(running.cell, record, reused=True)
        return True

    def _collect(self, job: _Job, future: Future[Outcome]) -> bool:
        """Take a future's outcome; False if the worker pool is broken."""
        error = future.exception()
        if isinstance(error, BrokenExecutor):
            self._try_again(job)
            return False
        if error is not None:
            raise error
        outcome = future.result()
        self._keep(job, outcome)
        return True

    def _try_again(self, job: _Job) -> None:
        if job.attempts < ATTEMPTS:
            job.attempts += 1
            self.queue.append(job)
            return
        reason = f"the worker process died {ATTEMPTS} times, perhaps for lack of memory"
        self._keep(job, Outcome(failed_record(job.spec, reason, self.surroundings.threads)))

    def _keep(self, job: _Job, outcome: Outcome) -> None:
        running = job.running
        self.store.put(outcome.record, outcome.predictions)
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
