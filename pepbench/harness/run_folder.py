"""A run's folder: whose it is, and what a killed run left in it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from pepbench.errors import PlanError
from pepbench.harness.cells import Cell, family
from pepbench.harness.status.live_files import LIVE_FOLDER
from pepbench.harness.trial_locks import TrialLocks
from pepbench.plan import Plan
from pepbench.records import write_atomically

PLAN_FILE = "plan.toml"
CLAIMS_FOLDER = "claims"


@dataclass(frozen=True)
class Shard:
    """One of several equal parts of a plan, ``number`` from 1.

    The budgets of a method stay together: they may share searches and start from one another.
    """

    number: int
    of: int

    def cells(self, cells: Sequence[Cell]) -> list[Cell]:
        """Its part of a plan's cells, in order."""
        families = list(dict.fromkeys(family(cell) for cell in cells))
        mine = set(families[self.number - 1 :: self.of])
        return [cell for cell in cells if family(cell) in mine]

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``2/8``; raises :class:`PlanError`."""
        number, _, of = text.partition("/")
        if number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of):
            return cls(int(number), int(of))
        raise PlanError(f"--shard: {text!r} is no part of a plan; write 1/8 to 8/8, say")


@contextmanager
def claimed_folder(
    folder: Path, plan: Plan, join: bool = False, shard: Shard | None = None
) -> Iterator[TrialLocks]:
    """Hold the run's folder, made if need be; the plan is in it.

    Parameters
    ----------
    folder, plan
        What is to be held, and for what.
    join
        Share the folder with the coordinator that holds it.
    shard
        Share the folder with those that work on other shards.

    Yields
    ------
    TrialLocks
        By which those that share the folder divide its trials.

    Raises
    ------
    PlanError
        If the folder holds another plan's records, is in use or cannot be written.
    """
    part = "" if shard is None else f"-{shard.number}-of-{shard.of}"
    lock = FileLock(folder / f".lock{part}", timeout=0, thread_local=False)
    holder = folder / f".holder{part}"

    def hold() -> None:
        lock.acquire()
        holder.write_text(f"process {os.getpid()} on {socket.gethostname()}", "utf-8")

    def inherit() -> None:
        # Whoever joined keeps the folder when the first one leaves.
        if not lock.is_locked:
            with suppress(Timeout, OSError):
                hold()

    claims = TrialLocks(folder / CLAIMS_FOLDER, inherit)
    try:
        try:
            _refuse_foreign(folder, plan)
            folder.mkdir(parents=True, exist_ok=True)
            with suppress(*([Timeout] if join else [])):
                hold()
            _refuse_foreign(folder, plan)
            new = not (folder / PLAN_FILE).exists()
            if new or Plan.load(folder / PLAN_FILE, {}) != plan:
                write_atomically(folder / PLAN_FILE, plan.to_toml().encode())
            if not (new or join or shard or claims.others()):
                _remove_leftovers(folder)
            claims.__enter__()
        except Timeout:
            who = holder.read_text("utf-8") if holder.exists() else "another process"
            raise PlanError(
                f"{folder} is in use by {who}; wait until it ends, share its work with --join, "
                "or choose another --out"
            ) from None
        except OSError as error:
            raise PlanError(
                f"output folder {folder} cannot be written: {error.strerror or error}; "
                "choose another with --out"
            ) from None
        try:
            yield claims
        finally:
            claims.__exit__()
    finally:
        lock.release()


def _remove_leftovers(folder: Path) -> None:
    """Remove what a killed run had not finished writing, or had only for the moment."""
    names = ("", "records", "predictions", "widths", "segments", LIVE_FOLDER)
    for place in (folder / name for name in names):
        for path in place.glob(".*.tmp"):
            path.unlink(missing_ok=True)
    for path in (folder / LIVE_FOLDER).glob("*.json"):
        path.unlink(missing_ok=True)


def _refuse_foreign(folder: Path, plan: Plan) -> None:
    path = folder / PLAN_FILE
    records = folder / "records"
    if path.exists():
        if not plan.decides_as(Plan.load(path, {})):
            raise PlanError(
                f"{folder} holds the records of another plan; choose another folder with "
                f"--out, repeat its plan with: pepbench run {path} --out {folder}, "
                "or delete the folder"
            )
    elif records.is_dir() and any(records.iterdir()):
        raise PlanError(f"{folder} holds records but no {PLAN_FILE}; choose another --out")
