"""Publish a leaderboard: from a working folder to the files in ``results/``."""

from __future__ import annotations

import re
from pathlib import Path

from pepbench.analysis.folds import BASES
from pepbench.catalog import Catalog
from pepbench.errors import RecordError
from pepbench.leaderboards.board_page import DETAILS_MD, FRONT, board_summary, details_page
from pepbench.leaderboards.board_results import (
    BoardResults,
    load_results,
    published_findings,
)
from pepbench.leaderboards.boards import Board
from pepbench.leaderboards.extract import published_extract
from pepbench.leaderboards.record_packing import EXTRACT_FILE, RECORDS_FILE, packed
from pepbench.leaderboards.submission_rules import unlike_plan
from pepbench.plan import PLAN_FILE
from pepbench.records import RecordStore, write_atomically
from pepbench.report.beside_board import asked_folds
from pepbench.report.charts.panels import png_of_svg, svg_bytes, unchecked
from pepbench.report.charts.report_charts import front_charts
from pepbench.report.charts.widths import PICTURES, picture_names
from pepbench.report.findings import Findings, contrasts_of, load_runs, margin_of
from pepbench.report.page.html import PAGE
from pepbench.report.write import write_reports

README = "README.md"


BEGIN = "<!-- pepbench leaderboard: begin -->"
END = "<!-- pepbench leaderboard: end -->"
"""Markers around the generated part of a page."""

_RECORD = re.compile(r'(?<=href=")[^"]*records/[0-9a-f]{64}\.json(?=")')


def publish(board: Board, work: Path) -> BoardResults:
    """Write a leaderboard's records, tables, charts and page.

    Without records in the working folder, what is published already is written anew.

    Parameters
    ----------
    board
        Where to publish.
    work
        The working folder with records and predictions.

    Returns
    -------
    BoardResults
        As it is read back from the files written.

    Raises
    ------
    RecordError
        If a record or its predictions are damaged, missing or not of the plan: a leaderboard is
        published whole.
    """
    problems: list[str] = []
    records = tuple(RecordStore(work, problems.append)) if work.is_dir() else ()
    if problems:
        raise RecordError(f"{problems[0]}; run: pepbench leaderboard {board.name}")
    if not records and (board.folder / RECORDS_FILE).is_file():
        return redraw(board)
    if not records:
        raise RecordError(f"no records in {work}; run: pepbench leaderboard {board.name}")
    if problem := next(unlike_plan(board.plan(Catalog(())), records), ""):
        raise RecordError(f"{work}: {problem}; run: pepbench leaderboard {board.name}")
    margin = margin_of([board.folder])
    findings = load_runs([work], margin=margin, contrasts=contrasts_of([board.folder]))
    results = BoardResults(
        records,
        findings.frame,
        findings.comparisons,
        findings.recovery.frame,
        tuple(picture_names(findings.recovery)),
        margin,
        findings.contrasts,
        tuple(asked_folds(work)),
    )
    plan = (work / PLAN_FILE).read_text("utf-8")
    contents = {RECORDS_FILE: packed(records, plan), **results.files()}
    contents[EXTRACT_FILE] = packed(published_extract(records, board))
    for name, content in contents.items():
        write_atomically(board.folder / name, content)
    _remove_old_charts(board.folder, _write_report(board, findings))
    again = load_results(board.folder)
    if again.tables() != results.tables():
        raise RecordError(f"{board.folder}: the files written do not give the tables of {work}")
    write_pages(board, again)
    return again


def redraw(board: Board) -> BoardResults:
    """Write what is drawn of a published leaderboard anew, from the published files alone.

    Over folds these are the tables, charts, report and page, but for pictures of learnt widths. On
    a single split they are the tables, paired fronts and page: its report needs test predictions.
    """
    results = load_results(board.folder)
    bases = set(results.comparisons["basis"]) - {""}
    if bases and bases <= set(BASES):
        _write_report(board, published_findings(board.folder, results))
    else:
        with unchecked():
            for chart in front_charts(results.frame, results.contrasts):
                svg = svg_bytes(chart.picture())
                write_atomically(board.folder / f"{chart.name}.svg", svg)
                if chart.name == FRONT:
                    write_atomically(board.folder / f"{FRONT}.png", png_of_svg(svg))
    write_pages(board, results)
    return results


def _write_report(board: Board, findings: Findings) -> list[Path]:
    """Write a report into a leaderboard's folder; returns its files."""
    written = write_reports(board.folder, findings, {FRONT})
    report = board.folder / PAGE
    write_atomically(report, relinked(report.read_text("utf-8")).encode())
    return written


def write_pages(board: Board, results: BoardResults) -> None:
    """Write the tables and pages of a published leaderboard anew."""
    contents = results.tables() | {DETAILS_MD: details_page(board, results).encode()}
    for name, content in contents.items():
        write_atomically(board.folder / name, content)
    page = board.folder / README
    write_atomically(page, with_generated(page, board_summary(board, results), board.name))


def _remove_old_charts(folder: Path, written: list[Path]) -> None:
    """Remove charts that were not written now: other bitmaps, methods that are gone."""
    charts = {path.stem for path in written if path.suffix == ".svg"}
    for path in {*folder.glob("*.svg"), *folder.glob("*.png")} - set(written):
        if path.stem in charts or path.stem.startswith(PICTURES):
            path.unlink()


def relinked(page: str) -> str:
    """Redirect a report's links to single records to the file with all of them.

    The folder with single records is not published.

    >>> relinked(f'<a href="../work/records/{"0" * 64}.json">')
    '<a href="records.parquet">'
    """
    return _RECORD.sub(RECORDS_FILE, page)


def with_generated(path: Path, text: str, title: str) -> bytes:
    """Replace the part of a page between the markers; everything else stays.

    Parameters
    ----------
    path
        The page; it is created if it does not exist.
    text
        Markdown.
    title
        Title of a new page.

    Raises
    ------
    RecordError
        If the page has no markers, or not one of each in order.
    """
    part = f"{BEGIN}\n\n{text.strip()}\n\n{END}"
    try:
        page = path.read_text("utf-8")
    except FileNotFoundError:
        return f"# {title}\n\n{part}\n".encode()
    before, after = _around(page, path)
    return f"{before}{part}{after}".encode()


def is_in_step(path: Path, text: str) -> bool:
    """Whether the generated part of a page is this text."""
    return path.is_file() and with_generated(path, text, "") == path.read_bytes()


def parts_of(path: Path) -> tuple[str, str]:
    """The hand-written text of a page, and its generated part.

    Raises
    ------
    RecordError
        As :func:`with_generated`.
    """
    page = path.read_text("utf-8")
    before, after = _around(page, path)
    return f"{before}\n{after}", page[len(before) : len(page) - len(after)]


def hand_written(path: Path) -> tuple[str, str, str]:
    """What a page says by hand: its title, and the text above and below the generated part."""
    before, after = _around(path.read_text("utf-8"), path)
    title, _, text = before.strip().partition("\n")
    return title.removeprefix("# "), text.strip(), after.strip()


def _around(page: str, path: Path) -> tuple[str, str]:
    if page.count(BEGIN) != 1 or page.count(END) != 1 or page.index(BEGIN) > page.index(END):
        raise RecordError(
            f"{path}: needs one line {BEGIN!r} and, below it, one {END!r}, between which the "
            "generated part goes"
        )
    return page.split(BEGIN)[0], page.split(END)[1]
