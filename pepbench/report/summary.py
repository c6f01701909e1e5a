"""From a run's folder to what is said about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pandas as pd
from numpy.typing import NDArray

from pepbench.analysis.leaderboard import COLUMNS, analyse, fronts
from pepbench.analysis.recovery import (
    FEATURE_COLUMNS,
    RECOVERY_COLUMNS,
    Files,
    Recovery,
    recover,
)
from pepbench.errors import RecordError
from pepbench.records import Record, RecordStore, parse_record

T = TypeVar("T")


@dataclass(frozen=True)
class Findings:
    """All that is said about a run.

    Attributes
    ----------
    frame, fronts
        As :mod:`pepbench.analysis.leaderboard` describes them.
    comparisons
        Each cell against the reference.
    recovery
        As :mod:`pepbench.analysis.recovery` does.
    """

    frame: pd.DataFrame
    fronts: list[dict[str, Any]]
    comparisons: pd.DataFrame
    recovery: Recovery


def load_run(folder: Path, warn: Callable[[str], None] = lambda _: None) -> Findings:
    """Analyse a run's records.

    Parameters
    ----------
    folder
        Of the run, as ``pepbench run --out`` was told.
    warn
        Called with one line for each damaged file, and for each cell that could not be compared.

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
    return Findings(
        analysis.frame,
        fronts(analysis.frame, analysis.comparisons),
        analysis.comparisons,
        recover(records, _files(store, warn)),
    )


def json_document(folder: Path, findings: Findings) -> dict[str, Any]:
    """What ``--json`` prints.

    Returns
    -------
    dict
        ``folder``; ``cells``: an object with the leaderboard's columns for each row, missing
        figures None; ``fronts``; ``widths``: likewise, with the recovery's columns; ``failed``:
        the number of cells with that status.
    """
    return {
        "folder": str(folder),
        "cells": _objects(findings.frame, COLUMNS),
        "fronts": findings.fronts,
        "widths": _objects(findings.recovery.frame, RECOVERY_COLUMNS),
        "failed": int((findings.frame["status"] == "failed").sum()),
    }


def _files(store: RecordStore, warn: Callable[[str], None]) -> Files:
    """The store's files for the analysis of widths; missing and damaged ones count as not kept."""

    def widths(key: str) -> NDArray[Any] | None:
        return _loaded(lambda: store.load_widths(key), warn)

    def features(split: str) -> pd.DataFrame | None:
        table = _loaded(lambda: store.load_features(split), warn)
        return None if table is None else table.select(list(FEATURE_COLUMNS)).to_pandas()

    def labels(split: str) -> NDArray[Any] | None:
        return _loaded(lambda: store.load_labels(split), warn)

    def truth(split: str) -> NDArray[Any] | None:
        return _loaded(lambda: store.load_truth(split), warn)

    return Files(widths, features, labels, truth)


def _loaded(load: Callable[[], T], warn: Callable[[str], None]) -> T | None:
    try:
        return load()
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        warn(f"nothing is said about widths where this is needed: {error}")
        return None


def _objects(frame: pd.DataFrame, columns: Iterable[str]) -> list[dict[str, Any]]:
    rows = frame.to_dict("records")
    return [{column: _plain(row[column]) for column in columns} for row in rows]


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
