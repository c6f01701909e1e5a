"""Results that others have handed in for a leaderboard: ``results/BOARD/submissions/NAME/``."""

from __future__ import annotations

from pathlib import Path

from pepbench.errors import RecordError
from pepbench.leaderboards.boards import SUBMISSIONS, Board
from pepbench.leaderboards.record_packing import RECORDS_FILE, unpacked
from pepbench.records import Record

MARK = " (submitted)"
"""Follows the names of submitted methods in tables."""


def submission_folders(board: Board) -> list[Path]:
    """Folders of the submissions of a leaderboard, by name."""
    return sorted(path.parent for path in (board.folder / SUBMISSIONS).glob(f"*/{RECORDS_FILE}"))


def submitted_records(board: Board) -> list[Record]:
    """The records of a leaderboard's submissions, with marked names of methods.

    Raises
    ------
    RecordError
        If a file is damaged, or two submissions have a method of the same name.
    """
    found: list[Record] = []
    folder_of: dict[str, Path] = {}
    for folder in submission_folders(board):
        for record in unpacked(folder / RECORDS_FILE):
            method = record.spec.method.spec
            first = folder_of.setdefault(method, folder)
            if first != folder:
                raise RecordError(
                    f"{first} and {folder} both have a method {method!r}; one of them needs another"
                )
            found.append(_marked(record))
    return found


def _marked(record: Record) -> Record:
    method = record.spec.method
    named = method.model_copy(update={"spec": method.spec + MARK})
    spec = record.spec.model_copy(update={"method": named})
    return record.model_copy(update={"key": spec.key(), "spec": spec})
