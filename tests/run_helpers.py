"""What tests run, and read from a run's folder."""

import json
from pathlib import Path
from typing import Any

import pandas as pd

from pepbench.records import Record, RecordStore

TINY_PEP = "pep:max_steps=50"

CHEAP_OPTIONS: dict[str, dict[str, Any]] = {
    "pep": {"max_steps": 60, "init": -4.0},
    "cerp": {"max_steps": 60, "init": -4.0, "travel_epochs": 1.0},
    "deeplight": {"prune_epochs": 3},
    "darts": {"search_epochs": 2},
    "autosrh": {"search_epochs": 2},
    "optembed": {"search_epochs": 2, "generations": 2},
}
"""Searches cut short, by method."""

MACHINE_COLUMNS = [
    "cpu_seconds",
    "search_seconds",
    "train_seconds",
    "peak_memory_mib",
    "tuning_seconds",
]
MACHINE_FIELDS = {
    "created",
    "environment",
    "seconds",
    "samples_per_second",
    "peak_memory_mib",
}


def leaderboard(folder: Path) -> pd.DataFrame:
    """The table of a run without what depends on the machine's mood."""
    return pd.read_csv(folder / "leaderboard.csv").drop(columns=MACHINE_COLUMNS)


def records(folder: Path) -> list[Record]:
    return list(RecordStore(folder, warn=lambda line: print(line)))


def results(folder: Path) -> dict[str, dict[str, Any]]:
    """All records by key, without what depends on the machine's mood."""
    return {r.key: json.loads(r.model_dump_json(exclude=MACHINE_FIELDS)) for r in records(folder)}


def predictions(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / "predictions").glob("*.npy")}
