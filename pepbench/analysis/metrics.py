"""The figures that verdicts can be about: AUC or, with ``--metric``, another one.

Differences are signed so that positive is better, so verdicts read alike for all of them: that of
the log loss is a difference of *minus* the log loss.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pandas as pd

from pepbench.errors import PlanError, unknown_name

Figure = Literal["auc", "log_loss", "gauc", "ndcg10", "calibration"]
"""Figures of test rows, as records name them."""

Metric = Literal["auc", "logloss", "gauc", "ndcg10"]
"""Figures that verdicts can be about. Calibration is none: more of it is not better."""


@dataclass(frozen=True)
class MetricCard:
    """What a metric is.

    Attributes
    ----------
    figure
        As records name it.
    label
        As tables name it, with the sign by which more is better.
    sign
        1, or −1 where less of the figure is better.
    """

    figure: Figure
    label: str
    sign: int = 1


METRICS: dict[Metric, MetricCard] = {
    "auc": MetricCard("auc", "AUC"),
    "gauc": MetricCard("gauc", "gAUC"),
    "logloss": MetricCard("log_loss", "(−log loss)", -1),
    "ndcg10": MetricCard("ndcg10", "NDCG@10"),
}


def metric_named(name: str) -> Metric:
    """The metric of this name; raises :class:`PlanError` if there is none."""
    for metric in METRICS:
        if metric == name:
            return metric
    raise PlanError(f"--metric: {unknown_name('metric', name, METRICS)}")


def metric_of(frame: pd.DataFrame) -> Metric:
    """The metric that the verdicts of a leaderboard's frame are about, by its column of deltas."""
    return next((name for name in METRICS if f"delta_{name}" in frame), "auc")


def label_of(frame: pd.DataFrame) -> str:
    """The label of :func:`metric_of`."""
    return METRICS[metric_of(frame)].label
