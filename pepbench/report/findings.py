"""The analysis of a run's folder, or of several, and the margin that it tests against."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from pepbench.analysis.frames import columns_for
from pepbench.analysis.leaderboard import Analysis, analyse, fronts
from pepbench.analysis.leaders import Lead, leads
from pepbench.analysis.metrics import METRICS, Metric, metric_of
from pepbench.analysis.primary import CONTRAST_COLUMNS, Contrast
from pepbench.analysis.runs import Runs
from pepbench.analysis.width_recovery import RECOVERY_COLUMNS, WidthRecovery, recover
from pepbench.errors import RecordError
from pepbench.plan import Plan, plan_in
from pepbench.records import MARGIN, Record, by_place, final_runs
from pepbench.report.beside_board import BoardBeside, opened
from pepbench.report.phrases import some_folds


@dataclass(frozen=True)
class Findings:
    """The whole analysis of a run.

    Attributes
    ----------
    analysis
        The leaderboard, comparisons, fronts and ranks.
    fronts
        Of :func:`pepbench.analysis.leaderboard.fronts`.
    recovery
        Of :func:`pepbench.analysis.width_recovery.recover`.
    leading
        The two best methods of each data set, backbone and budget.
    runs
        The records analysed.
    margin
        Of equivalence and non-inferiority, in the metric.
    notes
        What else has to be known, a sentence each: on a board beside the run, on missing folds.
    """

    analysis: Analysis
    fronts: list[dict[str, Any]]
    recovery: WidthRecovery
    leading: list[Lead]
    runs: Runs
    margin: float
    notes: tuple[str, ...] = ()

    @property
    def metric(self) -> Metric:
        """What verdicts are about."""
        return metric_of(self.frame)

    @property
    def records(self) -> Sequence[Record]:
        """The records analysed."""
        return self.runs.records

    @property
    def frame(self) -> pd.DataFrame:
        """The leaderboard."""
        return self.analysis.frame

    @property
    def failed(self) -> int:
        """Number of cells that failed."""
        return int((self.frame["status"] == "failed").sum())

    @property
    def contrasts(self) -> pd.DataFrame:
        """Primary contrasts and exploratory pairs."""
        return self.analysis.contrasts

    @property
    def comparisons(self) -> pd.DataFrame:
        """Each cell against the reference."""
        return self.analysis.comparisons


def load_runs(
    folders: Sequence[Path],
    warn: Callable[[str], None] = lambda _: None,
    margin: float | None = None,
    contrasts: Sequence[Contrast] | None = None,
    metric: Metric = "auc",
) -> Findings:
    """Analyse the records of a run, or of several together.

    Parameters
    ----------
    folders
        Of the runs: the ``--out`` of ``pepbench run``.
    warn
        Called with one line for each damaged file, and for each cell that could not be compared.
    margin
        Of equivalence and non-inferiority, in the metric; None: that of the runs' plans.
    contrasts
        The primary ones; None: those of the runs' plans or, with a board beside the run, each of
        its methods against each of the board's.
    metric
        What comparisons and verdicts are about.

    Raises
    ------
    RecordError
        As :func:`pepbench.analysis.runs.open_runs`, :func:`margin_of`, :func:`check_metric` and
        :func:`pepbench.report.mixed.refuse_mixed`.
    PlanError
        As :func:`margin_of`.
    """
    runs = opened(folders, warn)
    check_metric(runs.records, metric)
    margin = margin_of(runs.folders, margin)
    board = BoardBeside.of(runs)
    if contrasts is None:
        contrasts = board.contrasts if board else contrasts_of(runs.folders)
    analysis = analyse(
        runs.records,
        runs.load_predictions,
        runs.load_labels,
        margin=margin,
        load_users=runs.load_users,
        contrasts=contrasts,
        metric=metric,
    )
    unpredicted = board.without_predictions if board else frozenset()
    for row in analysis.comparisons.to_dict("records"):
        if row["note"] and not {row["method"], row["reference"]} & unpredicted:
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
        (*(board.notes() if board else ()), *_fold_notes(runs), *trimmed_notes(runs.records)),
    )


def margin_of(folders: Sequence[Path], given: float | None = None) -> float:
    """The margin of a report: the one given, else the one that the plans of all runs agree on.

    Without a plan, or where it does not set one, that is the default.

    Raises
    ------
    PlanError
        If a margin is not above 0 and below 0.5, or a plan cannot be read.
    RecordError
        If the plans differ.
    """
    if given is not None:
        return Plan.load(None, {"margin": given}).margin
    plans = {folder: plan_in(folder) for folder in folders}
    margins = {folder: plan.margin if plan else MARGIN for folder, plan in plans.items()}
    first, margin = next(iter(margins.items()))
    for folder, other in margins.items():
        if other != margin:
            raise RecordError(
                f"{first} and {folder} have plans with different margins ({margin:g} and "
                f"{other:g}); choose one for the report with --margin"
            )
    return margin


def check_metric(records: Iterable[Record], metric: Metric) -> None:
    """Refuse a metric that final runs lack.

    Raises
    ------
    RecordError
        With the data set, and what may be the reason.
    """
    figure = METRICS[metric].figure
    for record in records:
        if record.test is not None and getattr(record.test, figure) is None:
            raise RecordError(
                f"--metric {metric}: final runs on {record.spec.data.spec} have none; it needs a "
                "data set that declares users; take auc or logloss"
            )


def _fold_notes(runs: Runs) -> Iterator[str]:
    for data in [record.spec.data for record in runs.records if record.spec.data.only_folds][:1]:
        yield some_folds(data.only_folds, data.folds)


def trimmed_notes(records: Iterable[Record]) -> Iterator[str]:
    """How often searches did not meet their budget by themselves, a sentence for each method.

    Such a method is compared by what was cut to size afterwards: it is not its thresholds, say,
    that chose the entries.
    """
    ended: dict[tuple[str, str, str], list[bool]] = defaultdict(list)
    for (name, _), members in by_place(records).items():
        for run in final_runs(members):
            if "trimmed" in run.notes:
                ended[name.dataset, name.backbone, name.method].append(bool(run.notes["trimmed"]))
    for (dataset, backbone, method), trimmed in sorted(ended.items()):
        if any(trimmed):
            yield (
                f"{method} on {dataset} with {backbone}: in {sum(trimmed)} of {len(trimmed)} final "
                "runs the search had more entries left at its last step than the budget allows, "
                "and the largest were kept."
            )


def contrasts_of(folders: Sequence[Path]) -> list[Contrast]:
    """The primary contrasts of the plans in these folders, in their order, each once.

    Raises
    ------
    PlanError
        If one cannot be read.
    """
    found: dict[Contrast, None] = {}
    for plan in filter(None, map(plan_in, folders)):
        for contrast in plan.contrasts:
            first, second = contrast.methods
            found |= {(first, second, budget): None for budget in contrast.budgets}
    return list(found)


def json_document(folder: Path, findings: Findings) -> dict[str, Any]:
    """The document that ``--json`` prints.

    Returns
    -------
    dict
        ``folder``; ``metric``; ``margin``; ``cells`` and ``contrasts``: an object for each row,
        with columns as in leaderboard.csv and contrasts.csv, missing figures None; ``fronts``;
        ``widths``: likewise, with the recovery's columns; ``failed``: the number of cells with that
        status.
    """
    return {
        "folder": str(folder),
        "metric": findings.metric,
        "margin": findings.margin,
        "contrasts": _objects(findings.contrasts, CONTRAST_COLUMNS),
        "cells": _objects(findings.frame, columns_for(findings.metric)),
        "fronts": findings.fronts,
        "widths": _objects(findings.recovery.frame, RECOVERY_COLUMNS),
        "failed": findings.failed,
    }


def _objects(frame: pd.DataFrame, columns: Iterable[str]) -> list[dict[str, Any]]:
    rows = frame.to_dict("records")
    return [{column: _plain(row[column]) for column in columns} for row in rows]


def _plain(value: Any) -> Any:
    """A figure as JSON can hold it."""
    if pd.isna(value) or (isinstance(value, float) and not math.isfinite(value)):
        return None
    return value.item() if hasattr(value, "item") else value
