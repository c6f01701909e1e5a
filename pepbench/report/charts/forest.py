"""Differences of AUC with their intervals, a panel for each data set and backbone."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import pandas as pd

from pepbench.analysis.frames import by_block
from pepbench.analysis.metrics import card_of, metric_of
from pepbench.report.charts.panels import Panel, PanelChart
from pepbench.report.charts.style import (
    GREY,
    LIGHT,
    Mark,
    colour,
    filled,
    opacity,
    shape,
    tooltip_columns,
    tooltips,
)
from pepbench.report.phrases import block_title

_WIDTH, _ROW = 330, 17


def forest_chart(frame: pd.DataFrame, margin: float, all_marks: Mapping[str, Mark]) -> PanelChart:
    """Difference in the metric of each cell against the full table.

    Parameters
    ----------
    frame
        The leaderboard: :attr:`pepbench.analysis.leaderboard.Analysis.frame`.
    margin
        Differences within it do not matter; it is drawn as a band.
    all_marks
        Of the methods.
    """
    metric, card = metric_of(frame), card_of(frame)
    drawn = frame[frame[f"delta_{metric}"].notna()]
    return PanelChart(
        name="forest",
        title=f"{card.name} minus the full table's",
        label=f"Difference of {card.name}",
        panels={name: _panel(name, rows, all_marks, margin) for name, rows in by_block(drawn)},
        lines=[
            *(["Positive is better: the sign is changed."] if card.sign < 0 else []),
            "Bars: 95% intervals over folds, or test rows (or users) and seeds.",
            f"Filled: shown better or worse (Holm). Band: within ±{margin:g}.",
        ],
    )


def _panel(
    name: tuple[str, str], block: pd.DataFrame, all_marks: Mapping[str, Mark], margin: float
) -> Panel:
    data = block[tooltip_columns(block)].assign(
        row=block["method"].astype(str) + " · " + block["budget"].astype(str),
        shown=block["verdict"].isin(["better", "worse"]),
    )
    base = alt.Chart(data).encode(
        y=alt.Y("row:N", sort=None, title=None, axis=alt.Axis(labelLimit=220, grid=False)),
        color=colour(all_marks),
        tooltip=tooltips(data),
    )
    title = card_of(block).difference
    x = alt.X("delta_low:Q", title=title, axis=alt.Axis(format="+~f", labelOverlap="parity"))
    band = alt.Chart(pd.DataFrame({"low": [-margin], "high": [margin], "zero": [0.0]}))
    layers = [
        band.mark_rect(color=LIGHT).encode(x=alt.X("low:Q", title=title), x2="high:Q"),
        band.mark_rule(color=GREY, strokeDash=[5, 4]).encode(x=alt.X("zero:Q", title=title)),
        base.mark_rule(strokeWidth=1.6).encode(x=x, x2="delta_high:Q", opacity=opacity(0.75)),
        base.mark_point(size=70, strokeWidth=2, cursor="pointer").encode(
            x=alt.X(f"delta_{metric_of(block)}:Q", title=title),
            shape=shape(all_marks),
            fill=filled("datum.shown", all_marks),
            opacity=opacity(),
        ),
    ]
    height = _ROW * data["row"].nunique()
    return alt.LayerChart(layer=layers, width=_WIDTH, height=height, title=block_title(name))
