"""Differences of AUC with their intervals, a panel for each data set and backbone."""

from __future__ import annotations

import altair as alt
import pandas as pd

from pepbench.analysis.significance import MARGIN
from pepbench.report.charts.palette import Mark, marks
from pepbench.report.charts.pareto import TOOLTIPS, tooltips
from pepbench.report.charts.style import (
    GREY,
    LIGHT,
    Panel,
    colour,
    composed,
    filled,
    opacity,
    shape,
)

_WIDTH, _ROW = 330, 17


def forest_chart(frame: pd.DataFrame, margin: float = MARGIN) -> alt.VConcatChart:
    """ΔAUC of each cell against the full table.

    Parameters
    ----------
    frame
        As :func:`pepbench.analysis.leaderboard.leaderboard` returns it.
    margin
        Differences within it do not matter; it is drawn as a band.
    """
    lines = [
        "Bars: 95% intervals over test rows, or users where known, and seeds.",
        f"Filled: shown better or worse (Holm). Band: within ±{margin:g}.",
    ]
    panels = list(forest_panels(frame, margin).values())
    return composed(panels, 2, "AUC minus the full table's", lines)


def forest_panels(frame: pd.DataFrame, margin: float = MARGIN) -> dict[tuple[str, str], Panel]:
    """The panels of :func:`forest_chart`, by data set and backbone."""
    drawn = frame[frame["delta_auc"].notna()]
    all_marks = marks(frame["method"])
    return {
        (str(dataset), str(backbone)): _panel(f"{dataset} · {backbone}", block, all_marks, margin)
        for (dataset, backbone), block in drawn.groupby(["dataset", "backbone"])
    }


def _panel(title: str, block: pd.DataFrame, all_marks: dict[str, Mark], margin: float) -> Panel:
    shown = [column for column in TOOLTIPS if column in block]
    data = block[shown].assign(
        row=block["method"].astype(str) + " · " + block["budget"].astype(str),
        shown=block["verdict"].isin(["better", "worse"]),
    )
    base = alt.Chart(data).encode(
        y=alt.Y("row:N", sort=None, title=None, axis=alt.Axis(labelLimit=220, grid=False)),
        color=colour(all_marks),
        tooltip=tooltips(data),
    )
    x = alt.X("delta_low:Q", title="ΔAUC", axis=alt.Axis(format="+~f", labelOverlap="parity"))
    band = alt.Chart(pd.DataFrame({"low": [-margin], "high": [margin], "zero": [0.0]}))
    layers = [
        band.mark_rect(color=LIGHT).encode(x=alt.X("low:Q", title="ΔAUC"), x2="high:Q"),
        band.mark_rule(color=GREY, strokeDash=[5, 4]).encode(x=alt.X("zero:Q", title="ΔAUC")),
        base.mark_rule(strokeWidth=1.6).encode(x=x, x2="delta_high:Q", opacity=opacity(0.75)),
        base.mark_point(size=70, strokeWidth=2, cursor="pointer").encode(
            x=alt.X("delta_auc:Q", title="ΔAUC"),
            shape=shape(all_marks),
            fill=filled("datum.shown", all_marks),
            opacity=opacity(),
        ),
    ]
    height = _ROW * data["row"].nunique()
    return alt.LayerChart(layer=layers, width=_WIDTH, height=height, title=title)
