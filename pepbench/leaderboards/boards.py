"""The published leaderboards, and the folders of their results and of their working records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pepbench
from pepbench.catalog import Catalog
from pepbench.errors import PlanError, unknown_name
from pepbench.leaderboards.record_packing import EXTRACT_FILE, RECORDS_FILE
from pepbench.plan import PLAN_FILE, Plan

RESULTS = Path("results")
"""Folder of the leaderboards, in the working directory or the repository."""

REPLICATION = "replication"
"""Folder, within a leaderboard's or a run's, in which its primary contrasts are run again."""

REPLICATION_MD = "replication.md"
"""Page, beside that folder, that compares the two runs."""

IN_REPOSITORY = Path(pepbench.__file__).resolve().parents[1] / RESULTS
"""The published leaderboards in a checkout."""

PACKAGED = Path(pepbench.__file__).parent / RESULTS
"""Plans and extracts of the published leaderboards in the installed package."""

SUBMISSIONS = "submissions"
"""Folder, in that of a leaderboard, of the results that others have handed in."""

WORK = Path("runs/leaderboards")
"""Folder of working records and predictions, in the working directory; not committed."""


@dataclass(frozen=True)
class Board:
    """A leaderboard.

    Attributes
    ----------
    name
        Its folder's path below the results, such as ``ml-100k`` or ``paper/granularity``.
    folder
        Holds its plan and everything published.
    """

    name: str
    folder: Path

    @property
    def counts(self) -> bool:
        """Whether it counts across leaderboards.

        One within another's folder, or within ``paper``, is about a question of its own, on data
        that another leaderboard stands for.
        """
        return "/" not in self.name

    @property
    def plan_path(self) -> Path:
        """The plan file, written by hand."""
        return self.folder / PLAN_FILE

    def plan(self, catalog: Catalog) -> Plan:
        """The plan with families of methods expanded; raises :class:`PlanError`."""
        return Plan.load(self.plan_path, {}).with_families_expanded(catalog)

    def work_folder(self, work: Path, plan: Plan) -> Path:
        """Working folder of a plan; each version of the plan has its own."""
        return work / f"{self.work_stem}-{plan.digest()}"

    @property
    def replication(self) -> Board:
        """The leaderboard of its primary contrasts, run again."""
        return Board(f"{self.name}/{REPLICATION}", self.folder / REPLICATION)

    @property
    def work_stem(self) -> str:
        """Prefix of the names of its working folders."""
        return self.name.replace("/", "--")


def results_folder(given: Path | None = None) -> Path:
    """The folder of the leaderboards.

    Parameters
    ----------
    given
        Value of ``--results``; by default ``results`` in the working directory or the repository.

    Raises
    ------
    PlanError
        If it does not exist.
    """
    for folder in (given,) if given is not None else (RESULTS, IN_REPOSITORY):
        if folder.is_dir():
            return folder
    raise PlanError(
        f"{given or RESULTS}: no such folder; give the folder of the leaderboards with --results"
    )


def board_in(folder: Path) -> Board:
    """The leaderboard in a folder, named by its path below ``results``, or else by the folder."""
    whole = folder.resolve()
    results = next((above for above in whole.parents if above.name == RESULTS.name), whole.parent)
    return Board(whole.relative_to(results).as_posix(), folder)


def find_boards(results: Path, names: Sequence[str] = ()) -> list[Board]:
    """The leaderboards with a plan, by name; or the named ones, in the given order.

    Replications are left out unless they are named.

    Raises
    ------
    PlanError
        For a name without a plan; suggests the nearest one.
    """
    folders = [
        path.parent
        for path in sorted(results.rglob(PLAN_FILE))
        if SUBMISSIONS not in path.relative_to(results).parts
    ]
    names_of = {folder.relative_to(results).as_posix(): folder for folder in folders}
    boards = {name: Board(name, folder) for name, folder in names_of.items()}
    for name in names:
        if name not in boards:
            raise PlanError(f"{results}: {unknown_name('leaderboard', name, boards)}")
    own = [name for name, folder in names_of.items() if folder.name != REPLICATION]
    return [boards[name] for name in dict.fromkeys(names or own)]


def find_board(name: str) -> Board:
    """A board to compare with: a folder with a plan, or the name of a published leaderboard.

    Names are looked up in ``results`` of the working directory, in the repository and in the
    installed package, in this order.

    Raises
    ------
    PlanError
        If there is none; suggests the nearest name.
    """
    folder = Path(name)
    if (folder / PLAN_FILE).is_file():
        return board_in(folder)
    published = {
        board.name: board
        for results in (PACKAGED, IN_REPOSITORY, RESULTS)
        for board in find_boards(results)
        if any((board.folder / file).is_file() for file in (RECORDS_FILE, EXTRACT_FILE))
    }
    if name not in published and folder.is_dir():
        raise PlanError(f"{name} holds no {PLAN_FILE}; give the folder of a board or of a run")
    if name not in published:
        raise PlanError(unknown_name("board", name, published))
    return published[name]
