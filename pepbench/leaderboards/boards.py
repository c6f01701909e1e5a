"""Where the published leaderboards are, and where their work is done."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pepbench
from pepbench.catalog import Catalog
from pepbench.errors import PlanError, unknown_name
from pepbench.plan import PLAN_FILE, Plan

RESULTS = Path("results")
"""Folder of the leaderboards, below the working directory or the repository."""

WORK = Path("runs/leaderboards")
"""Folder of working records and predictions, below the working directory; not committed."""


@dataclass(frozen=True)
class Board:
    """A leaderboard.

    Attributes
    ----------
    name
        Its folder's path below the results, such as ``ml-100k`` or ``paper/granularity``.
    folder
        Where its plan is, and what is published.
    """

    name: str
    folder: Path

    @property
    def plan_path(self) -> Path:
        """The plan, as it is written by hand."""
        return self.folder / PLAN_FILE

    def plan(self, catalog: Catalog) -> Plan:
        """The plan with families of methods spelt out; raises :class:`PlanError`."""
        plan = Plan.load(self.plan_path, {})
        spelt_out = catalog.ungrouped("method", plan.methods)
        return plan.model_copy(update={"methods": spelt_out})

    def work_folder(self, work: Path, plan: Plan) -> Path:
        """Where this plan's records are made: another plan of the same name has another folder."""
        return work / f"{self.work_stem}-{plan.digest()}"

    @property
    def work_stem(self) -> str:
        """What the names of its working folders begin with."""
        return self.name.replace("/", "--")


def results_folder(given: Path | None = None) -> Path:
    """The folder of the leaderboards.

    Parameters
    ----------
    given
        As ``--results`` says; else ``results`` of the working directory or of the repository.

    Raises
    ------
    PlanError
        If there is none.
    """
    beside_the_code = Path(pepbench.__file__).resolve().parents[1] / RESULTS
    for folder in (given,) if given is not None else (RESULTS, beside_the_code):
        if folder.is_dir():
            return folder
    raise PlanError(
        f"{given or RESULTS}: no such folder; give the folder of the leaderboards with --results"
    )


def find_boards(results: Path, names: Sequence[str] = ()) -> list[Board]:
    """The leaderboards that have a plan, by name; or those named, in the order given.

    Raises
    ------
    PlanError
        For a name that has no plan, with the nearest that has.
    """
    boards = {
        path.parent.relative_to(results).as_posix(): Board(
            path.parent.relative_to(results).as_posix(), path.parent
        )
        for path in sorted(results.rglob(PLAN_FILE))
    }
    for name in names:
        if name not in boards:
            raise PlanError(f"{results}: {unknown_name('leaderboard', name, boards)}")
    return [boards[name] for name in dict.fromkeys(names or boards)]
