"""From a run's folder to what is said about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd

from pepbench.analysis.leaderboard import COLUMNS, analyse, fronts
from pepbench.errors import RecordError
from pepbench.records import Record, RecordStore, parse_record


def load_run(
    folder: Path, warn: Callable[[str], None] = lambda _: None
) -> tuple[pd.DataFrame, list[dict[str, Any]]]:
    """Analyse a run's records.

    Parameters
    ----------
    folder
        Of the run, as ``pepbench run --out`` was told.
    warn
        Called with one line for each damaged file, and for each cell that could not be compared.

    Returns
    -------
    frame, fronts
        As :mod:`pepbench.analysis.leaderboard` describes them.

    Raises
    ------
    RecordError
        If the folder holds no record, or one of another schema version.
    """
    store = RecordStore(folder, warn)
    records = list(_whole_records(store))
    if not records:
        raise RecordError(f"no records in {folder}; run: pepbench run --out {folder}")
    analysis = analyse(records, store.load_predictions, store.load_labels)
    for row in analysis.comparisons.to_dict("records"):
        if row["note"]:
            warn(
                f"{row['dataset']}, {row['backbone']}, {row['method']} at {row['budget']}: "
                f"no comparison: {row['note']}"
            )
    return analysis.frame, fronts(analysis.frame, analysis.comparisons)


def json_document(
    folder: Path, frame: pd.DataFrame, fronts: list[dict[str, Any]]
) -> dict[str, Any]:
    """What ``--json`` prints.

    Returns
    -------
    dict
        ``folder``; ``cells``: an object with the leaderboard's columns for each row, missing
        figures None; ``fronts``; ``failed``: the number of cells with that status.
    """
    return {
        "folder": str(folder),
        "cells": [
            {column: _plain(row[column]) for column in COLUMNS} for row in frame.to_dict("records")
        ],
        "fronts": fronts,
        "failed": int((frame["status"] == "failed").sum()),
    }


def _whole_records(store: RecordStore) -> Iterator[Record]:
    """The store's records, and those that only lack their predictions: their figures still hold."""
    for path in sorted(store.records.glob("*.json")):
        record = store.get(path.stem)
        if record is None and path.exists():
            record = parse_record(path.read_bytes(), path)
        if record is not None:
            yield record


def _plain(value: Any) -> Any:
    """A figure as JSON knows it."""
    if pd.isna(value) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value.item() if hasattr(value, "item") else value
