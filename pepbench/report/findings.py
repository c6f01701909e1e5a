"""From a run's folder to what is said about it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pepbench.analysis.leaderboard import COLUMNS, Analysis, analyse, fronts
from pepbench.analysis.leaders import Lead, leads
from pepbench.analysis.runs import Runs, open_runs
from pepbench.analysis.width_recovery import RECOVERY_COLUMNS, Recovery, recover
from pepbench.report.margin import margin_of


@dataclass(frozen=True)
class Findings:
    """All that is said about a run.

    Attributes
    ----------
    analysis
        The leaderboard, comparisons, fronts and ranks.
    fronts
        As :func:`pepbench.analysis.leaderboard.fronts` returns them.
    recovery
        As :mod:`pepbench.analysis.width_recovery` does.
    leading
        The two best methods of each data set, backbone and budget.
    runs
        The records that it comes from.
    margin
        Of equivalence and non-inferiority, in AUC.
    """

    analysis: Analysis
    fronts: list[dict[str, Any]]
    recovery: Recovery
    leading: list[Lead]
    runs: Runs
    margin: float

    @property
    def frame(self) -> pd.DataFrame:
        """The leaderboard."""
        return self.analysis.frame

    @property
    def comparisons(self) -> pd.DataFrame:
        """Each cell against the reference."""
        return self.analysis.comparisons


def load_run(
    folder: Path, warn: Callable[[str], None] = lambda _: None, margin: float | None = None
) -> Findings:
    """As :func:`load_runs`, of one folder."""
    return load_runs([folder], warn, margin)


def load_runs(
    folders: Sequence[Path],
    warn: Callable[[str], None] = lambda _: None,
    margin: float | None = None,
) -> Findings:
    """Analyse the records of a run, or of several together.

    Parameters
    ----------
    folders
        Of the runs, as ``pepbench run --out`` was told.
    warn
        Called with one line for each damaged file, and for each cell that could not be compared.
    margin
        Of equivalence and non-inferiority, in AUC; None: what the runs' plans say.

    Raises
    ------
    RecordError
        As :func:`pepbench.analysis.runs.open_runs` and :func:`pepbench.report.margin.margin_of`.
    """
    runs = open_runs(folders, warn)
    margin = margin_of(runs.folders) if margin is None else margin
    analysis = analyse(
        runs.records,
        runs.load_predictions,
        runs.load_labels,
        margin=margin,
        load_users=runs.load_users,
    )
    for row in analysis.comparisons.to_dict("records"):
        if row["note"]:
            warn(
                f"{row['dataset']}, {row['backbone']}, {row['method']} at {row['budget']}: "
                f"no comparison: {row['note']}"
            )
    return Findings(
        analysis,
        fronts(analysis.frame, analysis.comparisons),
        recover(runs.records, runs.files(warn)),
        leads(analysis.frame, analysis.pairs, analysis.comparisons),
        runs,
        margin,
    )


def json_document(folder: Path, findings: Findings) -> dict[str, Any]:
    """What ``--json`` prints.

    Returns
    -------
    dict
        ``folder``; ``margin``; ``cells``: an object with the leaderboard's columns for each row,
        missing figures None; ``fronts``; ``widths``: likewise, with the recovery's columns;
        ``failed``: the number of cells with that status.
    """
    return {
        "folder": str(folder),
        "margin": findings.margin,
        "cells": _objects(findings.frame, COLUMNS),
        "fronts": findings.fronts,
        "widths": _objects(findings.recovery.frame, RECOVERY_COLUMNS),
        "failed": int((findings.frame["status"] == "failed").sum()),
    }


def _objects(frame: pd.DataFrame, columns: Iterable[str]) -> list[dict[str, Any]]:
    rows = frame.to_dict("records")
    return [{column: _plain(row[column]) for column in columns} for row in rows]


def _plain(value: Any) -> Any:
    """A figure as JSON knows it."""
    if pd.isna(value) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value.item() if hasattr(value, "item") else value
