"""The command ``pepbench leaderboard``: run, publish, and verify leaderboards."""

from __future__ import annotations

import sys
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import pandas as pd
from rich.console import Console

from pepbench.analysis.leaderboard import fronts
from pepbench.analysis.metrics import Metric
from pepbench.catalog import Catalog
from pepbench.errors import (
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    PepbenchError,
    PlanError,
    RecordError,
)
from pepbench.harness.cells import expand
from pepbench.leaderboards import submissions
from pepbench.leaderboards.board_results import BoardResults, from_records, load_results
from pepbench.leaderboards.boards import REPLICATION_MD, Board, find_boards
from pepbench.leaderboards.checks import Check
from pepbench.leaderboards.extract import published_extract
from pepbench.leaderboards.overall_page import (
    LEADERBOARDS_MD,
    contrasts_across,
    leaderboards_page,
    overall_summary,
)
from pepbench.leaderboards.page_text import check_text
from pepbench.leaderboards.paper_page import PAPER, claims_summary
from pepbench.leaderboards.publish import README, is_in_step, publish, with_generated, write_pages
from pepbench.leaderboards.record_packing import EXTRACT_FILE, RECORDS_FILE, packed
from pepbench.leaderboards.record_reuse import reuse_records
from pepbench.leaderboards.replication import (
    check_replication,
    has_replication,
    replication_page,
)
from pepbench.leaderboards.submissions import SUBMISSION_FILE, check_submission
from pepbench.leaderboards.submitted import submission_folders
from pepbench.leaderboards.verify import (
    check_board,
    check_cell,
    complete_cells,
    has_contrasts,
    same_bytes,
)
from pepbench.printing import print_json, prints_to_stderr
from pepbench.records import FEWEST_FOLDS, write_atomically
from pepbench.report.charts.contrasts import CONTRASTS, contrasts_chart
from pepbench.report.charts.panels import png_of_svg, svg_bytes
from pepbench.report.findings import check_metric, contrasts_of
from pepbench.report.terminal.leaderboard_view import LeaderboardView
from pepbench.run_command import run_and_report


@dataclass(frozen=True)
class BoardOptions:
    """Where leaderboards are and how they are run; influences no result.

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


def make(names: Sequence[str], options: BoardOptions, *, tables_only: bool, quiet: bool) -> int:
    """Run what leaderboards lack, publish them, and update the pages over all of them.

    Returns
    -------
    int
        The exit code of a run: 0; 1 if cells failed; 130 after an interruption.
    """
    boards = find_boards(options.results, names)
    if not boards:
        raise PlanError(f"{options.results}: holds no plan; write {options.results}/NAME/plan.toml")
    worst = 0
    for board in boards:
        code = 0 if tables_only else _run(board, options, quiet)
        if code == EXIT_INTERRUPTED:
            return code
        _publish(board, options, Catalog(()))
        worst = max(worst, code)
    overall(options)
    return worst


def overall(options: BoardOptions) -> int:
    """Write the generated parts of all pages, and the extracts of the leaderboards."""
    boards = find_boards(options.results)
    published = _published(boards)
    for board in boards:
        if board.name in published:
            content = packed(published_extract(published[board.name].records, board))
            write_atomically(board.folder / EXTRACT_FILE, content)
            write_pages(board, published[board.name])
            if has_replication(board):
                write_pages(board.replication, load_results(board.replication.folder))
    contrasts = contrasts_across(boards, published)
    for page, text in _overall_pages(options, boards, published, contrasts).items():
        write_atomically(page, with_generated(page, text, "Results"))
        print(f"{page}: written")
    whole = leaderboards_page(boards, published)
    write_atomically(options.results / LEADERBOARDS_MD, whole.encode())
    if len(contrasts):
        svg = svg_bytes(contrasts_chart(contrasts).picture())
        write_atomically(options.results / f"{CONTRASTS}.svg", svg)
        write_atomically(options.results / f"{CONTRASTS}.png", png_of_svg(svg))
    return 0


def show(names: Sequence[str], options: BoardOptions, metric: Metric) -> int:
    """Print leaderboards with verdicts about a metric, from their records; writes nothing.

    Raises
    ------
    PlanError
        For a single split, whose inference needs predictions: boards do not publish them.
    RecordError
        If no board is published, or final runs lack the metric.
    """
    boards = find_boards(options.results, names)
    published = _published(boards)
    _refuse_planned(boards, published, names)
    if not published:
        raise RecordError(f"{options.results}: no leaderboard is published")
    for name, results in published.items():
        if len({record.spec.data.fold for record in results.records}) < FEWEST_FOLDS:
            raise PlanError(
                f"--metric {metric}: {name} has fewer than {FEWEST_FOLDS} folds, so that "
                "predictions are needed; take a leaderboard with more, or pepbench report on the "
                "folder of a run"
            )
        check_metric(results.records, metric)
        folder = options.results / name
        contrasts = contrasts_of([folder])
        analysis = from_records(
            results.records, metric, results.margin, contrasts, folds=results.folds
        )
        found = fronts(analysis.frame, analysis.comparisons)
        view = LeaderboardView(
            analysis.frame, found, margin=results.margin, contrasts=analysis.contrasts
        )
        Console().print(view)
    return 0


def verify_submissions(
    folders: Sequence[Path], jobs: int, trust: bool, as_json: bool = False
) -> int:
    """Check folders of submissions; returns as :func:`verify`."""
    found = (check for folder in folders for check in check_submission(folder, jobs, trust))
    return _reported(found, as_json)


def verify(
    names: Sequence[str], options: BoardOptions, trust: bool = False, as_json: bool = False
) -> int:
    """Check committed tables against committed records, and run one small cell again.

    Parameters
    ----------
    names
        Leaderboards, each with its submissions; none: all of them.
    options
        Where they are.
    trust
        Whether the method files of submissions may be run.
    as_json
        Print one JSON document instead of lines.

    Returns
    -------
    int
        0 if all checks pass or nothing is published; else 1.
    """
    for name in names:
        if Path(name).is_dir() and not (options.results / name).is_dir():
            raise PlanError(
                f"{name}: holds no {SUBMISSION_FILE}; give a leaderboard, or the folder "
                "of a submission"
            )
    boards = find_boards(options.results, names)
    published = _published(boards)
    _refuse_planned(boards, published, names)
    if not published and not as_json:
        print(f"{options.results}: no leaderboard is published; nothing to verify")
        return 0
    found = _checks(boards, published, options, trust, whole=not names) if published else ()
    return _reported(found, as_json)


def _refuse_planned(boards: list[Board], published: Container[str], names: Sequence[str]) -> None:
    """Refuse leaderboards that are asked for, but have a plan only."""
    for board in boards if names else ():
        if board.name not in published:
            raise RecordError(
                f"{board.name}: is planned, but was not run yet; run it: "
                f"pepbench leaderboard {board.name}"
            )


def _checks(
    boards: list[Board],
    published: dict[str, BoardResults],
    options: BoardOptions,
    trust: bool,
    *,
    whole: bool,
) -> Iterator[Check]:
    """The checks of leaderboards and, if they are the ``whole``, of the pages over all of them."""
    catalog = Catalog(())
    for board in boards:
        if board.name in published:
            yield from check_board(board, published[board.name], catalog)
            if has_replication(board):
                yield from check_replication(board, published[board.name], catalog)
            for folder in submission_folders(board):
                yield from _submission_checks(folder, options.jobs, trust)
        else:
            yield Check(None, f"{board.folder}: has no {RECORDS_FILE} yet")
    if whole:
        yield from _check_overall(options, boards, published)
    cells = [
        cell
        for board in boards
        if board.name in published
        for cell in complete_cells(board, published[board.name].records)
    ]
    yield check_cell(cells, catalog, options.jobs)


def submit(run: Path, into: Path) -> int:
    """Write the folder of a submission, and say what comes next."""
    submissions.submit(run, into)
    print(f"{into}: written. Check it with: pepbench leaderboard --verify {into}")
    return 0


def _submission_checks(folder: Path, jobs: int, trust: bool) -> Iterator[Check]:
    try:
        yield from check_submission(folder, jobs, trust)
    except PepbenchError as error:
        yield Check(False, str(error))


def _publish(board: Board, options: BoardOptions, catalog: Catalog) -> None:
    results = publish(board, board.work_folder(options.work, board.plan(catalog)))
    if has_replication(board):
        page = replication_page(board, results, catalog)
        write_atomically(board.folder / REPLICATION_MD, page)
    print(f"{board.folder}: published")


def _run(board: Board, options: BoardOptions, quiet: bool) -> int:
    catalog = Catalog(())
    plan = board.plan(catalog)
    taken = reuse_records(board, options.work, plan, expand(plan, catalog))
    if taken and not quiet:
        print(
            f"{board.name}: {taken} records, published or of an earlier plan, are reused",
            file=sys.stderr,
        )
    return run_and_report(
        plan,
        board.work_folder(options.work, plan),
        command=f"pepbench leaderboard {board.name}",
        quiet=quiet,
        jobs=options.jobs,
        threads=options.threads,
    )


def _published(boards: Sequence[Board]) -> dict[str, BoardResults]:
    return {
        board.name: load_results(board.folder)
        for board in boards
        if (board.folder / RECORDS_FILE).exists()
    }


def _overall_pages(
    options: BoardOptions,
    boards: list[Board],
    published: dict[str, BoardResults],
    contrasts: pd.DataFrame,
) -> dict[Path, str]:
    """The page over all leaderboards and, if it has a folder, the one about the paper."""
    pages = {options.results / README: overall_summary(boards, published, contrasts)}
    if (options.results / PAPER).is_dir():
        pages[options.results / PAPER / README] = claims_summary(published)
    return pages


def _check_overall(
    options: BoardOptions, boards: list[Board], published: dict[str, BoardResults]
) -> list[Check]:
    contrasts = contrasts_across(boards, published)
    pages = _overall_pages(options, boards, published, contrasts)
    steps = {page: is_in_step(page, text) for page, text in pages.items()}
    strict = all(map(has_contrasts, published.values()))
    whole = leaderboards_page(boards, published).encode()
    return [
        same_bytes(options.results / LEADERBOARDS_MD, whole),
        *(
            Check(good, f"{page}: {'as' if good else 'not as'} the leaderboards give it")
            for page, good in steps.items()
        ),
        *(check_text(page, (), strict) for page in pages if page.is_file()),
    ]


def _reported(found: Iterable[Check], as_json: bool) -> int:
    """Print checks, a line each as they are made, or all as JSON; returns the exit code."""
    marks = {True: "good", False: "WRONG", None: "not checked"}
    checks = []
    if as_json:
        with prints_to_stderr():
            checks = list(found)
    else:
        for check in found:
            print(f"{marks[check.good]}: {check.line}")
            checks.append(check)
    failed = sum(check.good is False for check in checks)
    if as_json:
        print_json({"checks": [asdict(check) for check in checks], "failed": failed})
    else:
        print(f"{len(checks)} checks, {failed} failed")
    return EXIT_FAILED if failed else 0
