"""What of a board's records inference over folds needs: small enough to be installed with pepbench.

Of each cell and fold these are the chosen trial, its further seeds and the final runs, without
curves; of a cell without final runs, one trial that says why. Figures and verdicts over folds are
those of all records, but that the variance between seeds is estimated from the chosen setting only.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pepbench.errors import RecordError
from pepbench.leaderboards.boards import Board
from pepbench.leaderboards.record_packing import EXTRACT_FILE, RECORDS_FILE, unpacked
from pepbench.leaderboards.submitted import submitted_records
from pepbench.records import (
    TUNING_NOTES,
    Record,
    RecordStore,
    best_trial,
    by_place,
    final_runs,
    tuning_used,
)


def extract(records: Iterable[Record]) -> list[Record]:
    """The records that inference needs, without curves, widths and notes, by key."""
    kept = (record for members in by_place(records).values() for record in _of_cell(members))
    return sorted(kept, key=lambda record: record.key)


def _of_cell(members: Sequence[Record]) -> Iterator[Record]:
    tuning = [record for record in members if record.spec.role == "tuning"]
    best = best_trial(members)
    if best is None:
        failed = [record for record in tuning if record.status == "failed"]
        telling = (failed or tuning or list(members))[:1]
        others: list[Record] = []
    else:
        settings = best.spec.settings()
        telling = [best]
        others = [
            record
            for record in members
            if record.spec.role == "finalist" and record.spec.settings() == settings
        ]
    trials, seconds = tuning_used(members)
    seconds -= sum(record.cpu_seconds() for record in others)
    for record in telling:
        yield _bare(record, dict(zip(TUNING_NOTES, (trials, seconds), strict=True)))
    for record in (*others, *final_runs(members)):
        yield _bare(record, {})


def _bare(record: Record, notes: dict[str, int | float]) -> Record:
    nothing: dict[str, Any] = {
        "curve": [],
        "kept": [],
        "widths_sha256": None,
        "predictions_sha256": None,
    }
    return record.model_copy(update={**nothing, "notes": notes})


def published_extract(records: Iterable[Record], board: Board) -> list[Record]:
    """The extract of a leaderboard's records and of what was submitted to it, by key."""
    known = {record.key for record in records}
    submitted = (record for record in submitted_records(board) if record.key not in known)
    return extract([*records, *submitted])


def board_records(board: Board) -> list[Record]:
    """The extract of a published or installed leaderboard, or of a run.

    Records of a run keep the checksums of their test predictions, if these are there.

    Raises
    ------
    RecordError
        If the folder holds no records, or damaged ones.
    """
    folder = board.folder
    for file in (EXTRACT_FILE, RECORDS_FILE):  # the first is a fraction of the second
        if (folder / file).is_file():
            return published_extract(unpacked(folder / file), board)
    store = RecordStore(folder)
    records = list(store.with_incomplete())
    if not records:
        raise RecordError(
            f"{folder}: holds a plan but no records; give the folder of a published board or of a "
            "run"
        )
    checksums = {
        record.key: record.predictions_sha256
        for record in records
        if store.prediction_path(record.key).is_file()
    }
    return [
        record.model_copy(update={"predictions_sha256": checksums.get(record.key)})
        for record in extract(records)
    ]
