"""Hand in a result for a board: a folder with plan, records and method, and its verification.

A method file is code of somebody whom the reader need not know. Nothing here runs it before the
reader says so; everything else is checked without it.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pepbench.catalog import Catalog
from pepbench.component import split_label
from pepbench.errors import PlanError, RecordError
from pepbench.harness.tuning.study import STARTUP_TRIALS
from pepbench.leaderboards.against import METHOD_FOLDER
from pepbench.leaderboards.boards import SUBMISSIONS, Board, board_in, find_board
from pepbench.leaderboards.checks import Check
from pepbench.leaderboards.extract import board_records
from pepbench.leaderboards.record_packing import RECORDS_FILE, packed, unpacked
from pepbench.leaderboards.submission_rules import broken_rules, other_trials
from pepbench.leaderboards.verify import check_cell, complete_cells, data_available
from pepbench.plan import PLAN_FILE, Plan
from pepbench.records import Record, RecordStore, write_atomically
from pepbench.report.beside_board import BOARD_FOLDER, NAME_FILE

SUBMISSION_FILE = "submission.json"
"""Names the board and the methods, with checksums of the method files, and environments."""

MOST_BYTES = 50_000_000
"""Size limit of each file of a submission; the records of published boards have 2 MB at most."""

CONTRACT_SECONDS = 1800
"""Time limit of the contract suite on a method file."""


@dataclass(frozen=True)
class Submission:
    """A result that was handed in.

    Attributes
    ----------
    folder
        Where it is.
    board
        The board that it is for.
    plan, records
        As they were run.
    method_files
        What defines the methods; empty if they are built in.
    """

    folder: Path
    board: Board
    plan: Plan
    records: tuple[Record, ...]
    method_files: tuple[Path, ...]

    def refuse_broken(self) -> None:
        """Raise :class:`RecordError` for the first rule of the board that is broken."""
        for problem in broken_rules(self.plan, self.records, self.board, board_records(self.board)):
            raise RecordError(f"{self.folder}: {problem}")


def submit(run: Path, into: Path) -> Path:
    """Write the folder of a submission.

    Parameters
    ----------
    run
        Folder of a run that was made with ``--against``.
    into
        Created; must be empty if it exists.

    Raises
    ------
    PlanError
        If ``run`` is no such run, or ``into`` is not empty.
    RecordError
        If records are missing, or do not follow from the board's plan.
    """
    beside = run / BOARD_FOLDER
    name_file = beside / NAME_FILE
    if not name_file.is_file():
        raise PlanError(
            f"{run}: is not a run beside a board; make it with: pepbench run --against BOARD"
        )
    if into.exists() and (not into.is_dir() or any(into.iterdir())):
        raise PlanError(f"--into {into}: is not empty; choose a new folder")
    board = find_board(name_file.read_text("utf-8").strip())
    records = tuple(RecordStore(run).with_incomplete())
    files = tuple(sorted((beside / METHOD_FOLDER).glob("*.py")))
    submission = Submission(run, board, Plan.load(run / PLAN_FILE, {}), records, files)
    submission.refuse_broken()
    environments = {json.dumps(r.environment.model_dump(), sort_keys=True) for r in records}
    described = {
        "board": board.name,
        "methods": submission.plan.method_labels(),
        "files": {path.name: _sha256(path) for path in files},
        "environments": [json.loads(text) for text in sorted(environments)],
    }
    contents = {
        PLAN_FILE: submission.plan.to_toml().encode(),
        RECORDS_FILE: packed(records),
        SUBMISSION_FILE: (json.dumps(described, indent=1) + "\n").encode(),
        **{f"{METHOD_FOLDER}/{path.name}": path.read_bytes() for path in files},
    }
    for name, content in contents.items():
        write_atomically(into / name, content)
    return into


def is_submission(folder: Path) -> bool:
    """Whether a folder is that of a submission."""
    return (folder / SUBMISSION_FILE).is_file()


def read_submission(folder: Path) -> Submission:
    """Read a submission; runs none of its code.

    Its board is the one in whose folder it is, else the one that it names.

    Raises
    ------
    RecordError
        If a file is missing, damaged, too large, a link, or not one that the submission lists.
    PlanError
        If its plan cannot be read, or its board is unknown.
    """
    path = folder / SUBMISSION_FILE
    _refuse_unsafe_files(folder)
    try:
        described = json.loads(path.read_text("utf-8"))
        name, listed = str(described["board"]), dict(described["files"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise RecordError(f"{path}: is no description of a submission ({error})") from None
    files = tuple(sorted((folder / METHOD_FOLDER).glob("*.py")))
    if {file.name: _sha256(file) for file in files} != listed:
        raise RecordError(f"{folder / METHOD_FOLDER}: its files are not those that {path} lists")
    known = {path, folder / PLAN_FILE, folder / RECORDS_FILE, folder / METHOD_FOLDER, *files}
    for other in sorted(set(folder.rglob("*")) - known):
        raise RecordError(
            f"{other}: does not belong to a submission; methods are Python files directly in "
            f"{folder / METHOD_FOLDER}"
        )
    around = folder.resolve().parent
    within = around.name == SUBMISSIONS and (around.parent / PLAN_FILE).is_file()
    board = board_in(around.parent) if within else find_board(name)
    plan = Plan.load(folder / PLAN_FILE, {})
    return Submission(folder, board, plan, tuple(unpacked(folder / RECORDS_FILE)), files)


def _refuse_unsafe_files(folder: Path) -> None:
    """Refuse links, which lead to files that the reader does not see, and what is too large."""
    for path in sorted({folder, *folder.rglob("*")}):
        if path.is_symlink():
            raise RecordError(f"{path}: is a link; put the file itself there")
        if path.is_file() and path.stat().st_size > MOST_BYTES:
            raise RecordError(f"{path}: has more than {MOST_BYTES // 10**6} MB")


def check_submission(folder: Path, jobs: int, trust: bool) -> Iterator[Check]:
    """Verify a submission.

    Parameters
    ----------
    folder
        Where it is.
    jobs
        Worker processes of the cell that is run again.
    trust
        Whether its code may be run: the contract suite in a process of its own, and its cheapest
        cell again.

    Raises
    ------
    PepbenchError
        As :func:`read_submission`, and for records that the board's plan does not give.
    """
    submission = read_submission(folder)
    submission.refuse_broken()
    yield Check(
        True,
        f"{folder}: plan, data, folds, trials and seeds are those of board "
        f"{submission.board.name}; {len(submission.records)} records are complete",
    )
    files = submission.method_files
    if files and not trust:
        yield Check(
            None,
            f"{folder}: its code was not run (contract suite, cheapest cell again); read "
            f"{', '.join(map(str, files))}, then add --trust",
        )
        return
    yield from _contract_checks(submission)
    catalog = Catalog(tuple(file.resolve() for file in files))
    yield _check_trials(submission, catalog)
    board = Board(folder.name, folder)
    yield check_cell(list(complete_cells(board, submission.records)), catalog, jobs)


def _check_trials(submission: Submission, catalog: Catalog) -> Check:
    """Whether the plan asks for just the trials that were handed in, options included."""
    plan, where = submission.plan, submission.folder
    if not all(data_available(spec, catalog) for spec in plan.datasets):
        return Check(None, f"{where}: options of trials were not compared: data are missing")
    if plan.sampler in ("tpe", "gp") and plan.trials > STARTUP_TRIALS:
        return Check(None, f"{where}: options of trials were not compared: sampler {plan.sampler}")
    problem = next(other_trials(plan, submission.records, catalog), "")
    return Check(not problem, f"{where}: {problem or 'the plan asks for these trials'}")


def _contract_checks(submission: Submission) -> Iterator[Check]:
    """The contract suite on the submission's methods, in other processes."""
    built_in = [f"--method={split_label(spec)[1]}" for spec in submission.plan.methods]
    for arguments in [[str(path)] for path in submission.method_files] or [built_in]:
        command = [sys.executable, "-m", "pepbench", "test-method", *arguments]
        what = f"{submission.folder}: contract suite on {' '.join(arguments)}"
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=CONTRACT_SECONDS)
        except subprocess.TimeoutExpired:
            yield Check(False, f"{what}: not done after {CONTRACT_SECONDS} s")
            continue
        lines = [line.strip() for line in (done.stdout + done.stderr).splitlines()]
        broken = [line for line in lines if line.startswith(("FAILED", "pepbench:"))]
        yield Check(done.returncode == 0, f"{what}: {'; '.join(broken) or 'no rule is broken'}")


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
