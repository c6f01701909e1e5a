"""What ``pepbench leaderboard`` does."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pepbench.catalog import Catalog
from pepbench.errors import EXIT_FAILED, EXIT_INTERRUPTED, PlanError
from pepbench.harness.cells import expand
from pepbench.leaderboards.boards import Board, find_boards
from pepbench.leaderboards.evidence import Evidence, committed
from pepbench.leaderboards.overall import PAPER, overall_summary
from pepbench.leaderboards.pages import is_in_step, with_generated
from pepbench.leaderboards.paper_claims import claims_summary
from pepbench.leaderboards.publish import README, publish
from pepbench.leaderboards.record_packing import RECORDS_FILE
from pepbench.leaderboards.rerun import candidates, check_cell
from pepbench.leaderboards.verify import Check, check_board
from pepbench.leaderboards.work import adopt
from pepbench.records import write_atomically
from pepbench.workflow import run_and_report


@dataclass(frozen=True)
class BoardOptions:
    """Where leaderboards are and how they are made; decides no result.

    Attributes
    ----------
    results
        Folder of the leaderboards.
    work
        Folder of the working folders.
    jobs, threads
        Worker processes, and torch threads of each.
    """

    results: Path
    work: Path
    jobs: int
    threads: int


def make(names: Sequence[str], places: BoardOptions, *, tables_only: bool, quiet: bool) -> int:
    """Run what leaderboards lack, publish them, and bring the overall one into step.

    Returns
    -------
    int
        The exit code of a run: 0; 1 if cells failed; 130 after an interruption.
    """
    boards = find_boards(places.results, names)
    if not boards:
        raise PlanError(f"{places.results}: holds no plan; write {places.results}/NAME/plan.toml")
    worst = 0
    for board in boards:
        code = 0 if tables_only else _run(board, places, quiet)
        if code == EXIT_INTERRUPTED:
            return code
        publish(board, board.work_folder(places.work, board.plan(Catalog(()))))
        print(f"{board.folder}: published")
        worst = max(worst, code)
    overall(places)
    return worst


def overall(places: BoardOptions) -> int:
    """Write the generated parts of the pages over all leaderboards."""
    boards = find_boards(places.results)
    for page, text in _overall_pages(places, boards, _published(boards)).items():
        write_atomically(page, with_generated(page, text, "Results"))
        print(f"{page}: written")
    return 0


def verify(names: Sequence[str], places: BoardOptions) -> int:
    """Check committed tables against committed records, and run one small cell again.

    Returns
    -------
    int
        0 if all is as it should be, or nothing is published; else 1.
    """
    catalog = Catalog(())
    boards = find_boards(places.results, names)
    published = _published(boards)
    if not published:
        print(f"{places.results}: no leaderboard is published; nothing to verify")
        return 0
    checks: list[Check] = []
    for board in boards:
        if board.name in published:
            checks += _said(list(check_board(board, published[board.name], catalog)))
        else:
            checks += _said([Check(None, f"{board.folder}: has no {RECORDS_FILE} yet")])
    if not names:
        checks += _said(_check_overall(places, boards, published))
    found = [
        candidate
        for board in boards
        if board.name in published
        for candidate in candidates(board, published[board.name].records)
    ]
    checks += _said([check_cell(found, catalog, places.jobs)])
    wrong = sum(check.good is False for check in checks)
    print(f"{len(checks)} checks, {wrong} failed")
    return EXIT_FAILED if wrong else 0


def _run(board: Board, places: BoardOptions, quiet: bool) -> int:
    catalog = Catalog(())
    plan = board.plan(catalog)
    taken = adopt(board, places.work, plan, expand(plan, catalog))
    if taken and not quiet:
        print(
            f"{board.name}: the plan has changed; {taken} records of earlier ones are reused",
            file=sys.stderr,
        )
    return run_and_report(
        plan,
        board.work_folder(places.work, plan),
        command=f"pepbench leaderboard {board.name}",
        quiet=quiet,
        jobs=places.jobs,
        threads=places.threads,
    )


def _published(boards: Sequence[Board]) -> dict[str, Evidence]:
    return {
        board.name: committed(board.folder)
        for board in boards
        if (board.folder / RECORDS_FILE).exists()
    }


def _overall_pages(
    places: BoardOptions, boards: list[Board], published: dict[str, Evidence]
) -> dict[Path, str]:
    """The page over all leaderboards and, where it has a folder, that over the paper's claims."""
    pages = {places.results / README: overall_summary(boards, published)}
    if (places.results / PAPER).is_dir():
        pages[places.results / PAPER / README] = claims_summary(published)
    return pages


def _check_overall(
    places: BoardOptions, boards: list[Board], published: dict[str, Evidence]
) -> list[Check]:
    pages = _overall_pages(places, boards, published)
    steps = {page: is_in_step(page, text) for page, text in pages.items()}
    return [
        Check(good, f"{page}: {'as' if good else 'not as'} the leaderboards give it")
        for page, good in steps.items()
    ]


def _said(checks: list[Check]) -> list[Check]:
    marks = {True: "good", False: "WRONG", None: "not checked"}
    for check in checks:
        print(f"{marks[check.good]}: {check.line}")
    return checks
