"""A run's folder: lock it, keep its plan, remove what a killed run left in it."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from pepbench.errors import PlanError
from pepbench.harness.run_options import Shard
from pepbench.harness.status.live_files import LIVE_FOLDER
from pepbench.harness.trial_locks import TrialLocks
from pepbench.plan import PLAN_FILE, Plan
from pepbench.records import write_atomically

LOCKS_FOLDER = "locks"
"""Of the locks of single trials."""


@contextmanager
def locked_folder(
    folder: Path, plan: Plan, join: bool = False, shard: Shard | None = None
) -> Iterator[TrialLocks]:
    """Lock a run's folder, which is created if it is missing, and write the plan into it.

    Parameters
    ----------
    folder, plan
        The folder, and what is run in it.
    join
        Share the folder with the run that holds its lock.
    shard
        Share the folder with runs of other shards.

    Yields
    ------
    TrialLocks
        By which runs that share the folder divide its trials.

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
        # A run that joined keeps the folder locked when the first one ends.
        if not lock.is_locked:
            with suppress(Timeout, OSError):
                hold()

    locks = TrialLocks(folder / LOCKS_FOLDER, inherit)
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
            if not (new or join or shard or locks.others()):
                _remove_leftovers(folder)
            locks.__enter__()
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
            yield locks
        finally:
            locks.__exit__()
    finally:
        lock.release()


def _remove_leftovers(folder: Path) -> None:
    """Remove unfinished files and progress reports of a killed run."""
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
        there = Plan.load(path, {})
        if plan.folds != there.folds:
            raise PlanError(
                f"{folder} holds another plan's records, of {there.folds} fold(s), and this plan "
                f"has {plan.folds}, which split the rows otherwise: --folds {plan.folds} needs a "
                f"new folder (--out); {there.folds} fold(s) go on with: "
                f"pepbench run {path} --out {folder}"
            )
        if not plan.decides_as(there):
            raise PlanError(
                f"{folder} holds the records of another plan; choose another folder with "
                f"--out, repeat its plan with: pepbench run {path} --out {folder}, "
                "or delete the folder"
            )
    elif records.is_dir() and any(records.iterdir()):
        raise PlanError(f"{folder} holds records but no {PLAN_FILE}; choose another --out")
