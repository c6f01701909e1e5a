"""Learning curves and tuning trials, a panel for each data set and backbone."""

from __future__ import annotations

import altair as alt
import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression

from pepbench.report.charts.palette import marks
from pepbench.report.charts.style import (
    LABEL_SIZE,
    Panel,
    colour,
    composed,
    filled,
    named_opacity,
    opacity,
    shape,
)

_WIDTH, _HEIGHT = 330, 220
_BLOCK = ["dataset", "backbone"]


def curves_chart(curves: pd.DataFrame, frame: pd.DataFrame) -> alt.VConcatChart:
    """Validation AUC by epoch of the final runs, mean over seeds, a panel for each budget.

    Parameters
    ----------
    curves
        Of :func:`pepbench.analysis.tuning.curves_frame`.
    frame
        The leaderboard: its methods share their colours with all charts.
    """
    lines = ["Last training of the final runs, mean over the seeds that got so far."]
    return composed(list(curve_panels(curves, frame).values()), 2, "Validation AUC by epoch", lines)


def curve_panels(curves: pd.DataFrame, frame: pd.DataFrame) -> dict[tuple[str, str, str], Panel]:
    """The panels of :func:`curves_chart`, by data set, backbone and budget."""
    all_marks = marks(frame["method"])
    panels: dict[tuple[str, str, str], Panel] = {}
    for (dataset, backbone, budget), block in curves.groupby([*_BLOCK, "budget"], sort=False):
        means = block.groupby(["method", "epoch"])["auc"].mean().reset_index()
        base = alt.Chart(means).encode(
            x=alt.X("epoch:Q", axis=_whole(means["epoch"])),
            y=alt.Y("auc:Q", title="validation AUC", scale=_room(means["auc"])),
            color=colour(all_marks),
            opacity=opacity(),
        )
        ends = means.loc[means.groupby("method")["epoch"].idxmax().tolist()]
        text = alt.Chart(_spread(ends, means, "epoch")).mark_text(
            align="left", dx=8, fontSize=LABEL_SIZE, cursor="pointer"
        )
        layers = [
            base.mark_line(strokeWidth=1.6),
            base.mark_point(size=34, filled=True, cursor="pointer").encode(
                shape=shape(all_marks),
                tooltip=["method", "epoch", alt.Tooltip("auc", format=".5f")],
            ),
            text.encode(x="epoch:Q", y="at:Q", text="method:N", opacity=named_opacity()),
        ]
        title = f"{dataset} · {backbone} · {budget}"
        panels[str(dataset), str(backbone), str(budget)] = alt.LayerChart(
            layer=layers, width=_WIDTH, height=_HEIGHT, title=title
        )
    return panels


def trials_chart(trials: pd.DataFrame, frame: pd.DataFrame) -> alt.VConcatChart:
    """Validation AUC of each tuning trial, and the best so far, a panel for each budget.

    Parameters
    ----------
    trials
        Of :func:`pepbench.analysis.tuning.trials_frame`.
    frame
        The leaderboard: its methods share their colours with all charts.
    """
    panels = list(trial_panels(trials, frame).values())
    lines = ["Trial 0: the method's default. Steps: the best so far. Filled: the best."]
    return composed(panels, 2, "Validation AUC of the tuning trials", lines)


def trial_panels(trials: pd.DataFrame, frame: pd.DataFrame) -> dict[tuple[str, str, str], Panel]:
    """The panels of :func:`trials_chart`, by data set, backbone and budget."""
    all_marks = marks(frame["method"])
    panels: dict[tuple[str, str, str], Panel] = {}
    shown = ["method", "budget", "trial", "auc", "best_so_far", "best", "settings"]
    finished = trials[trials["auc"].notna()]
    for (dataset, backbone, budget), block in finished.groupby([*_BLOCK, "budget"], sort=False):
        base = alt.Chart(block[shown]).encode(
            x=alt.X("trial:Q", axis=_whole(block["trial"])), color=colour(all_marks)
        )
        scale = _room(block["auc"])
        layers = [
            base.mark_line(interpolate="step-after", strokeWidth=1.2).encode(
                y=alt.Y("best_so_far:Q", title="validation AUC", scale=scale),
                opacity=opacity(0.6),
            ),
            base.mark_point(size=60, strokeWidth=1.6, cursor="pointer").encode(
                y=alt.Y("auc:Q", title="validation AUC", scale=scale),
                shape=shape(all_marks),
                fill=filled("datum.best", all_marks),
                opacity=opacity(),
                tooltip=[
                    "method",
                    "budget",
                    "trial",
                    alt.Tooltip("auc", title="validation AUC", format=".5f"),
                    "settings",
                ],
            ),
        ]
        last = block.loc[block.groupby("method")["trial"].idxmax().tolist()]
        ends = _spread(last.assign(auc=last["best_so_far"]), block, "trial")
        text = alt.Chart(ends[["method", "trial", "at"]]).mark_text(
            align="left", dx=8, fontSize=LABEL_SIZE, cursor="pointer"
        )
        layers.append(text.encode(x="trial:Q", y="at:Q", text="method:N", opacity=named_opacity()))
        title = f"{dataset} · {backbone} · {budget}"
        panels[str(dataset), str(backbone), str(budget)] = alt.LayerChart(
            layer=layers, width=_WIDTH, height=_HEIGHT, title=title
        )
    return panels


def _whole(numbers: pd.Series[int]) -> alt.Axis:
    """An axis with ticks at whole numbers only."""
    low, high = int(numbers.min()), int(numbers.max())
    values = list(range(low, high + 1, max(1, (high - low) // 8)))
    return alt.Axis(values=values, format="d", grid=False)


def _room(aucs: pd.Series[float]) -> alt.Scale:
    low, high = float(aucs.min()), float(aucs.max())
    room = max(0.0005, 0.05 * (high - low))
    return alt.Scale(domain=[low - room, high + room], nice=False)


def _spread(ends: pd.DataFrame, means: pd.DataFrame, across: str) -> pd.DataFrame:
    """Places of the names at the curves' ends, moved apart to a line's height."""
    line = float(means["auc"].max() - means["auc"].min()) / (_HEIGHT / (LABEL_SIZE + 2))
    ordered = ends.sort_values(["auc", "method"])
    steps = line * np.arange(len(ordered))
    # The least squares under "each at least a line above the one before".
    places = isotonic_regression(ordered["auc"].to_numpy(np.float64) - steps).x + steps
    return ordered.assign(at=places, **{across: float(means[across].max())})
