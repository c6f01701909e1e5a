"""Fronts: what a smaller table costs in AUC, a panel for each data set and backbone.

The first picture of a report is paired: AUC minus the full table's on the same folds, or test rows
and seeds. Intervals of such differences are a fraction of those of the AUCs themselves, which
:data:`ABSOLUTE` shows.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pepbench.analysis.frames import BlockName, by_block, of_block
from pepbench.analysis.pareto import on_front
from pepbench.report.charts.labels import names_beside, places
from pepbench.report.charts.panels import Panel, PanelChart
from pepbench.report.charts.style import (
    GREY,
    INK,
    Mark,
    colour,
    filled,
    log_ticks,
    marks,
    opacity,
    shape,
    tooltip_columns,
    tooltips,
)
from pepbench.report.phrases import block_title, paired_by_auc

_WIDTH, _HEIGHT = 540, 320
"""A picture of one panel is readable at 640 pixels."""
_NEAR = 0.035
"""Points nearer than this share of a panel's width are set side by side."""
_STEP = 0.02
"""Share of the width between them, if that leaves them near their place."""
_FARTHEST = 0.12
"""Share of the width by which a point is moved at most."""


@dataclass(frozen=True)
class Front:
    """A kind of front: what is drawn against what."""

    cost: str
    """Column of the frame."""
    cost_title: str
    """Of the axis."""
    words: str
    """The cost in the chart's title."""
    ticks: str = "~s"
    """Format of the axis, as D3 writes it."""
    least: float = 1.0
    """Smaller costs are drawn there: a logarithm needs a positive number."""
    budgeted: bool = True
    """Whether methods share costs, as at equal budgets: they are set side by side and joined."""
    figure: str = "delta"
    """``delta`` or ``auc``: with ``_auc``, ``_low`` and ``_high`` the columns that are drawn."""


_PARAMETERS = Front(
    "parameters", "embedding parameters (log scale)", "the size of the embedding table"
)
ABSOLUTE = "pareto-auc"
"""The front of AUCs themselves, with the band in which it lies."""
FRONTS = {
    "pareto": _PARAMETERS,
    "pareto-bytes": replace(
        _PARAMETERS,
        cost="bytes",
        cost_title="bytes to store the table (log scale)",
        words="the table's bytes",
    ),
    "pareto-time": Front(
        "cpu_seconds",
        "CPU seconds of a fit (log scale)",
        "the time of a fit",
        ticks="~g",
        least=1e-3,
        budgeted=False,
    ),
    ABSOLUTE: replace(_PARAMETERS, figure="auc"),
}
"""By file name; the first is the first picture of a report."""


def front_chart(
    frame: pd.DataFrame,
    name: str = "pareto",
    named: Mapping[str, Mark] | None = None,
    attainment: pd.DataFrame | None = None,
) -> PanelChart:
    """The front of each data set and backbone.

    Points are cells that are ok, filled if on the front, which is drawn as a stepped line. Methods
    that are named have colours, intervals and their names beside a point, the others are small and
    grey. Where nothing was compared with a full table in AUC, and so where verdicts are about
    another metric, AUCs are drawn instead of differences.

    Parameters
    ----------
    frame
        The leaderboard: :attr:`pepbench.analysis.leaderboard.Analysis.frame`.
    name
        One of ``FRONTS``.
    named
        Marks of the methods to name; all if not given.
    attainment
        Of :class:`pepbench.analysis.fronts.FrontTables`: drawn as a band by ``ABSOLUTE``.
    """
    front = FRONTS[name]
    if not paired_by_auc(frame):
        front = replace(front, figure="auc")
    all_marks = marks(frame["method"]) if named is None else named
    drawn = frame[(frame["status"] == "ok") & frame["auc"].notna() & frame[front.cost].notna()]
    panels: dict[tuple[str, ...], Panel] = {}
    grey = band = False
    for block, rows in by_block(drawn):
        steps = _steps(attainment if name == ABSOLUTE else None, block)
        panels[block] = _panel(block_title(block), rows, front, all_marks, steps)
        grey |= not set(_others(rows)["method"]) <= set(all_marks)
        band |= len(steps) > 0
    over = "over folds" if (drawn["folds"] > 1).all() else "of one split"
    what = "AUC minus the full table's" if front.figure == "delta" else "Test AUC"
    return PanelChart(
        name=name,
        title=f"{what} against {front.words}",
        label="Difference of AUC" if front.figure == "delta" else "AUC",
        panels=panels,
        lines=[
            f"Bars: 95% intervals {over}. Filled: on the front."
            f"{' Methods of one size: side by side.' * front.budgeted}"
            f"{' Grey: other methods (▼ lie below).' * grey}{' Band: of 95% of draws.' * band}",
            *["Dotted, from a point at the left edge: without a table."]
            * (front.budgeted and 0 in set(drawn["parameters"])),
        ],
        columns=1,
    )


def _others(block: pd.DataFrame) -> pd.DataFrame:
    """All but the reference."""
    return block[block["verdict"] != "reference"]


def _steps(attainment: pd.DataFrame | None, block: BlockName) -> pd.DataFrame:
    """The band of one panel: the lowest and the highest front's AUC from each size on."""
    columns = ["drawn_at", "low", "high"]
    if attainment is None:
        return pd.DataFrame(columns=columns)
    here = of_block(attainment, block)
    wide = here.pivot_table("auc", "parameters", "percentile").sort_index().ffill().dropna()
    if wide.empty:
        return pd.DataFrame(columns=columns)
    # Reached in few draws: the upper edge; reached in most: the lower one.
    high, low = wide.iloc[:, 0], wide.iloc[:, -1]
    return pd.DataFrame({"drawn_at": np.maximum(wide.index, 1.0), "low": low, "high": high})


def _panel(
    title: str,
    block: pd.DataFrame,
    front: Front,
    all_marks: Mapping[str, Mark],
    steps: pd.DataFrame,
) -> Panel:
    block, y_title = _measured(block, front)
    named = block["method"].isin(list(all_marks)) & (block["verdict"] != "reference")
    cost = block[front.cost].astype("float64").clip(lower=front.least)
    none = (block["parameters"] == 0) & front.budgeted
    low, high = _domain(cost if none.all() else cost[~none])
    block = block.assign(
        named=named,
        on_front=on_front(block[front.cost], block["y"]),
        at=cost.mask(none, low * (high / low) ** _STEP),
    )
    steps = steps.assign(drawn_at=steps["drawn_at"].clip(lower=low))
    moved = _moved(block[named], low, high) if front.budgeted else 0.0
    block["drawn_at"] = block["at"]
    block.loc[named, "drawn_at"] *= (high / low) ** moved
    domain = _y_domain(block, steps)
    block["below"] = block["y"] < domain[0]
    x_axis = alt.Axis(values=log_ticks(low, high), format=front.ticks, labelOverlap="parity")
    x_scale = alt.Scale(type="log", domain=[low, high], nice=False)
    x = alt.X("drawn_at:Q", title=front.cost_title, scale=x_scale, axis=x_axis)
    scale = alt.Scale(domain=domain, nice=False, clamp=True)
    sign = "+" if y_title.startswith("Δ") else ""
    words = f"datum.value == 0 ? '0' : format(datum.value, '{sign}~f')"
    y = alt.Y("y:Q", title=y_title, scale=scale, axis=alt.Axis(labelExpr=words))
    layers = [
        *_band(steps, high, x, scale, y_title),
        _front(block, high, x, y),
        *_reference(block, x, y),
        alt.Chart(block.loc[none, ["y"]]).mark_rule(strokeDash=[1, 4], color=GREY).encode(y=y),
        *_grey(_others(block[~block["named"]]), x, y),
        *_points(block[named], x, y, all_marks)[0 if front.budgeted else 1 :],
        *_labels(block, (low, high), domain, x, y),
    ]
    return alt.LayerChart(layer=layers, width=_WIDTH, height=_HEIGHT, title=title)


def _measured(block: pd.DataFrame, front: Front) -> tuple[pd.DataFrame, str]:
    """The block with ``y``, ``y_low`` and ``y_high``, and the title of their axis."""
    if front.figure == "auc" or not paired_by_auc(block):
        columns, title, shown = ("auc", "auc_low", "auc_high"), "test AUC", block
    else:
        columns, title = ("delta_auc", "delta_low", "delta_high"), "ΔAUC to the full table"
        shown = block[block["delta_auc"].notna() | (block["verdict"] == "reference")]
        shown = shown.assign(delta_auc=shown["delta_auc"].fillna(0.0))
    y, low, high = (shown[column] for column in columns)
    return shown.assign(y=y, y_low=low.fillna(y), y_high=high.fillna(y)), title


def _points(
    block: pd.DataFrame, x: alt.X, y: alt.Y, all_marks: Mapping[str, Mark]
) -> list[alt.Chart]:
    base = alt.Chart(block[[*tooltip_columns(block), "drawn_at", "y", "y_low", "y_high"]]).encode(
        x=x, color=colour(all_marks)
    )
    lines = base.mark_line(strokeWidth=1).encode(y=y, opacity=opacity(0.35))
    bars = base.mark_rule(strokeWidth=1.6).encode(
        y=alt.Y("y_low:Q", title=y["title"]), y2="y_high:Q", opacity=opacity(0.75)
    )
    points = base.mark_point(size=80, strokeWidth=2, cursor="pointer").encode(
        y=y,
        shape=shape(all_marks),
        fill=filled("datum.on_front", all_marks),
        opacity=opacity(),
        tooltip=tooltips(block),
    )
    return [lines, bars, points]


def _grey(block: pd.DataFrame, x: alt.X, y: alt.Y) -> list[alt.Chart]:
    if block.empty:
        return []
    points = alt.Chart(block[[*tooltip_columns(block), "drawn_at", "y", "below"]]).mark_point(
        size=18, filled=True, color=GREY, cursor="pointer"
    )
    kind = alt.ShapeValue("circle", condition={"test": "datum.below", "value": "triangle-down"})
    return [
        points.encode(x=x, y=y, opacity=opacity(0.45), shape=kind, tooltip=tooltips(block)),
    ]


def _labels(
    block: pd.DataFrame, sizes: tuple[float, float], figures: list[float], x: alt.X, y: alt.Y
) -> list[alt.Chart]:
    """Each named method's name beside one of its points, on white."""
    (low, high), (bottom, top) = sizes, figures

    def across(values: pd.Series[float]) -> NDArray[np.float64]:
        places = np.log(values.to_numpy(dtype=np.float64) / low) / math.log(high / low)
        return np.asarray(places * _WIDTH, dtype=np.float64)

    def down(values: pd.Series[float]) -> NDArray[np.float64]:
        places = (top - values.to_numpy(dtype=np.float64)) / (top - bottom)
        return np.asarray(places * _HEIGHT, dtype=np.float64)

    marked = block[block["named"] | (block["verdict"] == "reference")]
    px, py = across(marked["drawn_at"]), down(marked["y"])
    bars = np.column_stack([px - 1, down(marked["y_high"]), px + 1, down(marked["y_low"])])
    front = block[block["on_front"]].sort_values(["at", "y"])
    steps, starts = down(front["y"]), across(front["at"])
    ends = np.append(starts, _WIDTH)[1:]
    flats = np.column_stack([starts, steps - 1, ends, steps + 1])
    level = down(block.loc[block["verdict"] == "reference", "y"])
    dashed = np.column_stack([0 * level, level - 1, 0 * level + _WIDTH, level + 1])
    obstacles = np.vstack([bars, flats, dashed])
    chosen = places(px, py, marked["method"].tolist(), (_WIDTH, _HEIGHT), obstacles)
    return names_beside(marked[["method", "drawn_at", "y"]], chosen, x, y)


def _front(block: pd.DataFrame, high: float, x: alt.X, y: alt.Y) -> alt.Chart:
    front = block.loc[block["on_front"], ["at", "y"]].sort_values(["at", "y"])
    to_the_edge = front.tail(1).assign(at=high)
    data = pd.concat([front, to_the_edge]).rename(columns={"at": "drawn_at"})
    line: alt.Chart = (
        alt.Chart(data)
        .mark_line(interpolate="step-after", color=GREY, strokeWidth=1.4, opacity=0.8)
        .encode(x=x, y=y)
    )
    return line


def _band(
    steps: pd.DataFrame, high: float, x: alt.X, scale: alt.Scale, title: str
) -> list[alt.Chart]:
    if steps.empty:
        return []
    data = pd.concat([steps, steps.tail(1).assign(drawn_at=high)])
    area = alt.Chart(data).mark_area(interpolate="step-after", color=GREY, opacity=0.16)
    return [area.encode(x=x, y=alt.Y("low:Q", title=title, scale=scale), y2="high:Q")]


def _reference(block: pd.DataFrame, x: alt.X, y: alt.Y) -> list[alt.Chart]:
    """The full table: a dashed line, and a point at its size."""
    reference = block[block["verdict"] == "reference"].tail(1)
    if reference.empty:
        return []
    base = alt.Chart(reference[[*tooltip_columns(reference), "drawn_at", "y"]]).encode(y=y)
    rule = base.mark_rule(strokeDash=[5, 4], color=GREY, strokeWidth=1)
    point = base.mark_point(size=70, filled=True, color=INK, shape="circle", opacity=1)
    return [rule, point.encode(x=x, tooltip=tooltips(reference))]


def _moved(block: pd.DataFrame, low: float, high: float) -> NDArray[np.float64]:
    """Share of the width by which each point is moved, so that near ones do not overlap.

    Points of the front stay where they are. The others go to their right, so that none is drawn as
    if it were smaller than it is.
    """
    order = block.sort_values("at", kind="stable")
    at = np.log(order["at"].to_numpy(dtype=np.float64)) / math.log(high / low)
    cluster = pd.Series(np.cumsum(np.r_[True, np.diff(at) > _NEAR])[: len(at)], index=order.index)
    ranked = block.assign(cluster=cluster, other=~block["on_front"]).sort_values(
        ["cluster", "other", "method", "budget"]
    )
    clusters = ranked.groupby("cluster")["method"]
    turn = clusters.cumcount().reindex(block.index).to_numpy(dtype=np.int64)
    of_them = clusters.transform("size").reindex(block.index).to_numpy(dtype=np.int64)
    return np.asarray(turn * np.minimum(_STEP, _FARTHEST / of_them), dtype=np.float64)


def _domain(costs: pd.Series[float]) -> tuple[float, float]:
    """A range with room on both sides: an eighth of its decades, at least an eighth of one."""
    low, high = math.log10(costs.min()), math.log10(costs.max())
    room = max(0.125, (high - low) / 8)
    return 10 ** (low - room), 10 ** (high + room)


def _y_domain(block: pd.DataFrame, steps: pd.DataFrame) -> list[float]:
    """Holds the intervals of named methods, the reference and the band; the rest may lie below."""
    marked = block[block["named"] | (block["verdict"] == "reference")]
    marked = block if marked.empty else marked
    low = float(np.fmin(marked["y_low"].min(), steps["low"].min()))
    high = float(np.fmax(max(marked["y_high"].max(), block["y"].max()), steps["high"].max()))
    room = max(0.0005, (high - low) * 0.08)
    return [low - room, high + room]
