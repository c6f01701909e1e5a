"""The figures that verdicts can be about: AUC or, with ``--metric``, another one.

Differences are signed so that positive is better, so verdicts read alike for all of them: that of
the log loss is a difference of *minus* the log loss.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd

from pepbench.errors import PlanError, unknown_name
from pepbench.records import Record

Figure = Literal["auc", "log_loss", "gauc", "ndcg10", "calibration"]
"""Figures of test rows, as records name them."""

Metric = Literal["auc", "logloss", "gauc", "ndcg10"]
"""Figures that verdicts can be about. Calibration is none: more of it is not better."""


def largest(figure: Figure) -> float:
    """The largest value that a figure can have."""
    return 1.0 if figure in ("auc", "gauc", "ndcg10") else math.inf


@dataclass(frozen=True)
class MetricCard:
    """What a metric is.

    Attributes
    ----------
    figure
        As records name it.
    name
        As tables name it.
    sign
        1, or −1 where less of the figure is better.
    """

    figure: Figure
    name: str
    sign: int = 1

    @property
    def signed(self) -> str:
        """The name, with a minus where less is better."""
        return self.name if self.sign > 0 else f"(−{self.name})"

    @property
    def difference(self) -> str:
        """Heading of differences, positive where better."""
        return f"Δ{self.signed}"

    @property
    def best(self) -> str:
        """What the best method has, such as ``highest AUC``."""
        return f"{'highest' if self.sign > 0 else 'lowest'} {self.name}"


METRICS: dict[Metric, MetricCard] = {
    "auc": MetricCard("auc", "AUC"),
    "gauc": MetricCard("gauc", "gAUC"),
    "logloss": MetricCard("log_loss", "log loss", -1),
    "ndcg10": MetricCard("ndcg10", "NDCG@10"),
}


def metric_named(name: str) -> Metric:
    """The metric of this name; raises :class:`PlanError` if there is none."""
    for metric in METRICS:
        if metric == name:
            return metric
    raise PlanError(f"--metric: {unknown_name('metric', name, METRICS)}")


def objective_name(records: Iterable[Record]) -> str:
    """The validation figure that chose among these trials; several are joined by ``or``."""
    chosen = {METRICS[record.spec.training.objective].name for record in records}
    return " or ".join(sorted(chosen)) or METRICS["auc"].name


def metric_of(frame: pd.DataFrame) -> Metric:
    """What a frame's verdicts are about: by its column ``metric``, or a leaderboard's deltas."""
    if "metric" in frame and len(frame):
        return metric_named(str(frame["metric"].iloc[0]))
    return next((name for name in METRICS if f"delta_{name}" in frame), "auc")


def card_of(frame: pd.DataFrame) -> MetricCard:
    """The card of :func:`metric_of`."""
    return METRICS[metric_of(frame)]


def measured_delta(row: Mapping[Any, Any], metric: Metric) -> tuple[float, float, float]:
    """Of a row of a leaderboard: the difference from the reference, with its interval."""
    return row[f"delta_{metric}"], row["delta_low"], row["delta_high"]


def measured_figure(row: Mapping[Any, Any], card: MetricCard) -> tuple[float, float, float]:
    """Of a row of a leaderboard: the figure with the ends of its interval."""
    return row[card.figure], row[f"{card.figure}_low"], row[f"{card.figure}_high"]
