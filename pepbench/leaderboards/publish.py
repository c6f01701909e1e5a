"""From a working folder to the files of a published leaderboard."""

from __future__ import annotations

import re
from pathlib import Path

from pepbench.errors import RecordError
from pepbench.leaderboards.board_summary import FRONT, board_summary
from pepbench.leaderboards.boards import Board
from pepbench.leaderboards.evidence import Evidence, committed
from pepbench.leaderboards.pages import with_generated
from pepbench.leaderboards.record_packing import RECORDS_FILE, packed
from pepbench.records import RecordStore, write_atomically
from pepbench.report.charts.widths import PICTURES, picture_names
from pepbench.report.findings import load_run, margin_of
from pepbench.report.write import write_reports

README = "README.md"

REPORT = "report.html"

_RECORD = re.compile(r'(?<=href=")[^"]*records/[0-9a-f]{64}\.json(?=")')


def publish(board: Board, work: Path) -> Evidence:
    """Write a leaderboard's records, evidence, tables, charts and page.

    Parameters
    ----------
    board
        Where to.
    work
        The working folder with records and predictions.

    Returns
    -------
    Evidence
        As it is read back from the files written.

    Raises
    ------
    RecordError
        If a record or its predictions are damaged or missing: a leaderboard is published whole.
    """
    problems: list[str] = []
    records = tuple(RecordStore(work, problems.append)) if work.is_dir() else ()
    if problems:
        raise RecordError(f"{problems[0]}; run: pepbench leaderboard {board.name}")
    if not records:
        raise RecordError(f"no records in {work}; run: pepbench leaderboard {board.name}")
    margin = margin_of([board.folder])
    findings = load_run(work, margin=margin)
    evidence = Evidence(
        records,
        findings.frame,
        findings.comparisons,
        findings.recovery.frame,
        tuple(picture_names(findings.recovery)),
        margin,
    )
    contents = {RECORDS_FILE: packed(records), **evidence.files()}
    for name, content in contents.items():
        write_atomically(board.folder / name, content)
    _leave_out_charts_of_before(board.folder, write_reports(board.folder, findings, {FRONT}))
    report = board.folder / REPORT
    if report.is_file():
        write_atomically(report, relinked(report.read_text("utf-8")).encode())
    again = committed(board.folder)
    if again.tables() != evidence.tables():
        raise RecordError(f"{board.folder}: the files written do not give the tables of {work}")
    for name, content in again.tables().items():
        write_atomically(board.folder / name, content)
    page = board.folder / README
    write_atomically(page, with_generated(page, board_summary(board, again), board.name))
    return again


def _leave_out_charts_of_before(folder: Path, written: list[Path]) -> None:
    """Remove charts that this edition does not have: bitmaps, methods that are no longer there."""
    charts = {path.stem for path in written if path.suffix == ".svg"}
    for path in {*folder.glob("*.svg"), *folder.glob("*.png")} - set(written):
        if path.stem in charts or path.stem.startswith(PICTURES):
            path.unlink()


def relinked(page: str) -> str:
    """A report whose links to single records lead to the file that holds them all.

    Records are published in one file; the folder that they were made in is not.

    >>> relinked(f'<a href="../work/records/{"0" * 64}.json">')
    '<a href="records.parquet">'
    """
    return _RECORD.sub(RECORDS_FILE, page)
