"""AUC against parameters, a panel for each data set and backbone, as one picture."""

from __future__ import annotations

import io
import math

import altair as alt
import numpy as np
import pandas as pd

from pepbench.report.palette import Mark, marks

_WIDTH, _HEIGHT = 330, 240
_PANELS_PER_ROW = 2
_NEAR = 0.035
"""Points nearer than this share of a panel's width are set side by side."""
_STEP = 8
"""Pixels between them."""
GREY, LIGHT = "#555555", "#E6E6E6"
_DRAWN = ["method", "parameters", "auc", "auc_low", "auc_high", "on_front"]
_FONT = "DejaVu Sans, Verdana, Arial, sans-serif"


def pareto_chart(frame: pd.DataFrame) -> alt.VConcatChart:
    """The front of each data set and backbone.

    Points are cells that are ok, with their interval; filled if on the front, which is drawn as
    the highest AUC to be had with at most so many parameters. The reference's AUC is a dashed line.
    Points of nearly the same size are set side by side.

    Parameters
    ----------
    frame
        As :func:`pepbench.analysis.leaderboard.leaderboard` returns it.
    """
    drawn = frame[(frame["status"] == "ok") & frame["parameters"].notna() & frame["auc"].notna()]
    panels: list[alt.LayerChart | alt.Chart] = [
        _panel(str(dataset), str(backbone), block, marks(drawn["method"]))
        for (dataset, backbone), block in drawn.groupby(["dataset", "backbone"])
    ]
    if not panels:
        panels = [_empty()]
    rows = [
        alt.hconcat(*panels[start : start + _PANELS_PER_ROW], spacing=28)
        for start in range(0, len(panels), _PANELS_PER_ROW)
    ]
    return styled(
        alt.vconcat(*rows, spacing=24),
        "Test AUC against the size of the embedding table",
        "Filled points: on the front (stepped line).",
        "Bars: 95% intervals over test rows and seeds. Dashed: the full table.",
        "Points of nearly the same size are drawn side by side.",
    )


def svg_bytes(chart: alt.VConcatChart) -> bytes:
    """The chart as SVG."""
    buffer = io.StringIO()
    chart.save(buffer, format="svg")
    return buffer.getvalue().encode()


def png_bytes(chart: alt.VConcatChart, scale: float = 2.5) -> bytes:
    """The chart as PNG, ``scale`` pixels to the chart's one."""
    buffer = io.BytesIO()
    chart.save(buffer, format="png", scale_factor=scale)
    return buffer.getvalue()


def _panel(
    dataset: str, backbone: str, block: pd.DataFrame, all_marks: dict[str, Mark]
) -> alt.LayerChart:
    block = block.assign(
        parameters=block["parameters"].astype("float64").clip(lower=1.0),
        auc_low=block["auc_low"].fillna(block["auc"]),
        auc_high=block["auc_high"].fillna(block["auc"]),
    )
    low, high = _domain(block["parameters"])
    block = block.assign(offset=_offsets(block, math.log(high / low)))
    x = alt.X(
        "parameters:Q",
        title="embedding parameters (log scale)",
        scale=alt.Scale(type="log", domain=[low, high], nice=False),
        axis=alt.Axis(values=_ticks(low, high), format="~s", labelOverlap=False),
    )
    y = alt.Y("auc:Q", title="test AUC", scale=alt.Scale(domain=_auc_domain(block), nice=False))
    layers = [_front(block, high, x, y), *_reference(block, y)]
    for offset in sorted(set(block["offset"])):
        layers += _points(block[block["offset"] == offset], offset, x, y, all_marks)
    title = f"{dataset} · {backbone}"
    return alt.LayerChart(layer=layers, width=_WIDTH, height=_HEIGHT, title=title)


def _points(
    group: pd.DataFrame, offset: float, x: alt.X, y: alt.Y, all_marks: dict[str, Mark]
) -> list[alt.Chart]:
    names = list(all_marks)
    legend = alt.Legend(
        title=None,
        orient="bottom",
        columns=min(4, len(names)),
        symbolSize=110,
        symbolStrokeWidth=2,
        symbolOpacity=1,
        labelLimit=300,
    )
    colour = alt.Color(
        "method:N",
        scale=alt.Scale(domain=names, range=[all_marks[name].colour for name in names]),
        legend=legend,
    )
    shape = alt.Shape(
        "method:N",
        scale=alt.Scale(domain=names, range=[all_marks[name].shape for name in names]),
        legend=legend,
    )
    base = alt.Chart(group[_DRAWN]).encode(x=x, color=colour)
    return [
        base.mark_rule(strokeWidth=1.6, opacity=0.75, xOffset=offset).encode(
            y=alt.Y("auc_low:Q", title="test AUC"), y2="auc_high:Q"
        ),
        base.mark_point(size=80, strokeWidth=2, opacity=1, xOffset=offset).encode(
            y=y,
            shape=shape,
            fill=alt.condition("datum.on_front", colour, alt.value("white")),
        ),
    ]


def _front(block: pd.DataFrame, high: float, x: alt.X, y: alt.Y) -> alt.Chart:
    front = block.loc[block["on_front"], ["parameters", "auc"]].sort_values(["parameters", "auc"])
    to_the_edge = front.tail(1).assign(parameters=high)
    line: alt.Chart = (
        alt.Chart(pd.concat([front, to_the_edge]))
        .mark_line(interpolate="step-after", color=GREY, strokeWidth=1.4, opacity=0.8)
        .encode(x=x, y=y)
    )
    return line


def _reference(block: pd.DataFrame, y: alt.Y) -> list[alt.Chart]:
    reference = block.loc[block["verdict"] == "reference", ["auc"]].tail(1)
    rule = alt.Chart(reference).mark_rule(strokeDash=[5, 4], color=GREY, strokeWidth=1)
    return [] if reference.empty else [rule.encode(y=y)]


def _offsets(block: pd.DataFrame, span: float) -> list[float]:
    """Pixels by which each point is moved, so that points of nearly one size do not overlap.

    Points of the front stay where they are, the others go to their right and left in turn.
    """
    order = block.sort_values("parameters", kind="stable")
    places = np.log(order["parameters"].to_numpy(dtype=np.float64)) / span
    cluster = pd.Series(np.cumsum(np.r_[True, np.diff(places) > _NEAR]), index=order.index)
    ranked = block.assign(cluster=cluster, other=~block["on_front"]).sort_values(
        ["cluster", "other", "method", "budget"]
    )
    turn = ranked.groupby("cluster").cumcount().reindex(block.index).to_numpy(dtype=np.int64)
    moved = (turn + 1) // 2 * np.where(turn % 2, 1, -1) * _STEP
    return [float(pixels) for pixels in moved]


def _domain(parameters: pd.Series[float]) -> tuple[float, float]:
    """A range with room on both sides: an eighth of its decades, at least a fifth of one."""
    low, high = math.log10(parameters.min()), math.log10(parameters.max())
    room = max(0.2, (high - low) / 8)
    return 10 ** (low - room), 10 ** (high + room)


def _auc_domain(block: pd.DataFrame) -> list[float]:
    low, high = float(block["auc_low"].min()), float(block["auc_high"].max())
    room = max(0.0005, (high - low) * 0.06)
    return [low - room, high + room]


def _ticks(low: float, high: float) -> list[float]:
    """Powers of ten, with steps between them where the range is short."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 2, 5), (1, 3), (1,)):
        values = [step * 10.0**decade for decade in decades for step in steps]
        inside = [value for value in values if low <= value <= high]
        if len(inside) <= 6:
            break
    return inside


def _empty() -> alt.Chart:
    words = alt.Chart(pd.DataFrame({"text": ["no cell has finished"]}))
    chart: alt.Chart = (
        words.mark_text(fontSize=14, color=GREY)
        .encode(text="text:N")
        .properties(width=_WIDTH, height=_HEIGHT)
    )
    return chart


def styled(chart: alt.VConcatChart, title: str, *lines: str) -> alt.VConcatChart:
    """The chart with a title, lines below it, and the fonts and colours of all charts."""
    finished: alt.VConcatChart = (
        chart.properties(
            title=alt.TitleParams(
                text=title,
                subtitle=list(lines),
                anchor="start",
                offset=14,
            ),
            padding=12,
            background="white",
        )
        .configure(font=_FONT)
        .configure_view(stroke=LIGHT)
        .configure_axis(
            gridColor=LIGHT,
            domainColor=GREY,
            tickColor=GREY,
            labelFontSize=12,
            titleFontSize=12,
            titleFontWeight="normal",
            labelColor="#222222",
            tickCount=6,
        )
        .configure_title(fontSize=14, subtitleFontSize=12, subtitleColor=GREY)
        .configure_legend(labelFontSize=12.5)
    )
    return finished
