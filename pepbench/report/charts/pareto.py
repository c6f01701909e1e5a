"""AUC against parameters, bytes or time, a panel for each data set and backbone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pepbench.analysis.frames import by_block
from pepbench.analysis.pareto import on_front
from pepbench.report.charts.labels import key, names_beside, places
from pepbench.report.charts.style import (
    GREY,
    TOOLTIPS,
    Mark,
    Panel,
    PanelChart,
    colour,
    filled,
    log_ticks,
    marks,
    opacity,
    shape,
    tooltips,
)

_SIZE = (400, 280)
_CROWDED = 12
"""With more methods than this, a panel is larger, and bars are drawn of the front alone."""
_CROWDED_SIZE = (620, 440)
_MANY_CHARACTERS = 110
"""With more characters of names than this, too, a panel is larger, and names are written beside the
front's points alone; a key has all."""
_NEAR = 0.035
"""Points nearer than this share of a panel's width are set side by side."""
_STEP = 0.022
"""Share of the width between them, if that leaves them near their place."""
_FARTHEST = 0.06
"""Share of the width by which a point is moved at most."""


@dataclass(frozen=True)
class Cost:
    """What AUC is drawn against."""

    column: str
    title: str
    """Of the axis."""
    words: str
    """In the chart's title."""
    ticks: str
    """Format of the axis, as D3 writes it."""
    least: float
    """Smaller costs are drawn there: a logarithm needs a positive number."""
    budgeted: bool
    """Whether methods share costs, as at equal budgets: they are set side by side and joined."""


COSTS = {
    "pareto": Cost(
        "parameters",
        "embedding parameters (log scale)",
        "the size of the embedding table",
        "~s",
        1.0,
        True,
    ),
    "pareto-bytes": Cost(
        "bytes", "bytes to store the table (log scale)", "the table's bytes", "~s", 1.0, True
    ),
    "pareto-time": Cost(
        "seconds",
        "seconds to search and train (log scale)",
        "the time to search and train",
        "~g",
        1e-3,
        False,
    ),
}
"""By file name."""

_KEY_WORDS = "Where there are many names: those of the front and the full table; all are below."
BAND_WORDS = "Grey band: at each size, the front in 95% of the draws."


def pareto_chart(
    frame: pd.DataFrame, name: str = "pareto", attainment: pd.DataFrame | None = None
) -> PanelChart:
    """The front of each data set and backbone.

    Points are cells that are ok, with their interval; filled if on the front, which is drawn as
    the highest AUC to be had for at most so much. The reference's AUC is a dashed line. Points of
    nearly the same size are set side by side.

    Parameters
    ----------
    frame
        The leaderboard: :attr:`pepbench.analysis.leaderboard.Analysis.frame`.
    name
        One of ``COSTS``.
    attainment
        Of :class:`pepbench.analysis.fronts.FrontTables`, of this cost: drawn as a band.
    """
    cost, all_marks = COSTS[name], marks(frame["method"])
    drawn = frame[frame["status"] == "ok"].assign(
        seconds=frame["search_seconds"] + frame["train_seconds"]
    )
    blocks = dict(by_block(drawn[drawn[cost.column].notna() & drawn["auc"].notna()]))
    keyed = any(map(_has_long_names, blocks.values()))
    crowded = any(_crowded(block) for _, block in by_block(frame))
    band = attainment is not None and len(attainment) > 0
    return PanelChart(
        name=name,
        title=f"Test AUC against {cost.words}",
        label="AUC",
        panels={
            block: _panel(" · ".join(block), rows, cost, all_marks, _steps(attainment, *block))
            for block, rows in blocks.items()
        },
        lines=[
            "Filled points: on the front (stepped line).",
            "Bars: 95% intervals over folds, or test rows (or users) and seeds"
            f"{' (of the front and the full table alone)' * crowded}.",
            "Dashed: the full table.",
            *(["Points of nearly the same place are drawn side by side."] * cost.budgeted),
            *([BAND_WORDS] * band),
            *([_KEY_WORDS] * keyed),
        ],
        foot=key(all_marks, pd.concat(blocks.values())["method"], _CROWDED_SIZE[0])
        if keyed
        else None,
    )


def _crowded(block: pd.DataFrame) -> bool:
    return block["method"].nunique() > _CROWDED


def _has_long_names(block: pd.DataFrame) -> bool:
    return _crowded(block) or sum(map(len, block["method"].unique())) > _MANY_CHARACTERS


def _steps(attainment: pd.DataFrame | None, dataset: str, backbone: str) -> pd.DataFrame:
    """The band of one panel: the lowest and the highest front's AUC from each size on."""
    columns = ["drawn_at", "low", "high"]
    if attainment is None:
        return pd.DataFrame(columns=columns)
    here = attainment[(attainment["dataset"] == dataset) & (attainment["backbone"] == backbone)]
    wide = here.pivot_table("auc", "parameters", "percentile").sort_index().ffill().dropna()
    if wide.empty:
        return pd.DataFrame(columns=columns)
    # Reached in few draws: the upper edge; reached in most: the lower one.
    high, low = wide.iloc[:, 0], wide.iloc[:, -1]
    return pd.DataFrame({"drawn_at": np.maximum(wide.index, 1.0), "low": low, "high": high})


def _panel(
    title: str, block: pd.DataFrame, cost: Cost, all_marks: dict[str, Mark], steps: pd.DataFrame
) -> Panel:
    block = block.assign(
        on_front=on_front(block[cost.column], block["auc"]),
        at=block[cost.column].astype("float64").clip(lower=cost.least),
        auc_low=block["auc_low"].fillna(block["auc"]),
        auc_high=block["auc_high"].fillna(block["auc"]),
    )
    size = _CROWDED_SIZE if _has_long_names(block) else _SIZE
    low, high = _domain(block["at"])
    moved = _moved(block, low, high) if cost.budgeted else 0.0
    block = block.assign(drawn_at=block["at"] * (high / low) ** moved)
    x_axis = alt.Axis(values=log_ticks(low, high), format=cost.ticks, labelOverlap="parity")
    x_scale = alt.Scale(type="log", domain=[low, high], nice=False)
    x = alt.X("drawn_at:Q", title=cost.title, scale=x_scale, axis=x_axis)
    domain = _auc_domain(block, steps)
    scale = alt.Scale(domain=domain, nice=False)
    y = alt.Y("auc:Q", title="test AUC", scale=scale)
    layers = [
        *_band(steps, high, x, scale),
        _front(block, high, x, y),
        *_reference(block, y),
        *_points(block, x, y, all_marks)[0 if cost.budgeted else 1 :],
        *_labels(block, size, (low, high), domain, x, y),
    ]
    return alt.LayerChart(layer=layers, width=size[0], height=size[1], title=title)


def _points(block: pd.DataFrame, x: alt.X, y: alt.Y, all_marks: dict[str, Mark]) -> list[alt.Chart]:
    shown = [column for column in TOOLTIPS if column in block]

    def drawn(cells: pd.DataFrame) -> alt.Chart:
        return alt.Chart(cells[[*shown, "drawn_at"]]).encode(
            x=x,
            color=colour(all_marks),
            tooltip=tooltips(block),
        )

    bars = (
        drawn(block[_has_bar(block)])
        .mark_rule(strokeWidth=1.6)
        .encode(y=alt.Y("auc_low:Q", title="test AUC"), y2="auc_high:Q", opacity=opacity(0.75))
    )
    points = (
        drawn(block)
        .mark_point(size=80, strokeWidth=2, cursor="pointer")
        .encode(
            y=y,
            shape=shape(all_marks),
            fill=filled("datum.on_front", all_marks),
            opacity=opacity(),
        )
    )
    lines = (
        alt.Chart(block[["method", "drawn_at", "auc"]])
        .mark_line(strokeWidth=1)
        .encode(x=x, y=y, color=colour(all_marks), opacity=opacity(0.35))
    )
    return [lines, bars, points]


def _has_bar(block: pd.DataFrame) -> pd.Series[bool]:
    """Whether a cell's interval is drawn: always, or on the front and for the reference only."""
    return _stands_out(block) | (not _crowded(block))


def _stands_out(block: pd.DataFrame) -> pd.Series[bool]:
    return block["on_front"] | (block["verdict"] == "reference")


def _labels(
    block: pd.DataFrame,
    panel: tuple[int, int],
    sizes: tuple[float, float],
    aucs: list[float],
    x: alt.X,
    y: alt.Y,
) -> list[alt.Chart]:
    """Each method's name beside one of its points, on white; only the front's if names are long."""
    (width, height), (low, high) = panel, sizes

    def across(values: pd.Series[float]) -> NDArray[np.float64]:
        places = np.log(values.to_numpy(dtype=np.float64) / low) / math.log(high / low)
        return np.asarray(places * width, dtype=np.float64)

    def down(values: pd.Series[float]) -> NDArray[np.float64]:
        places = (aucs[1] - values.to_numpy(dtype=np.float64)) / (aucs[1] - aucs[0])
        return np.asarray(places * height, dtype=np.float64)

    px, py = across(block["drawn_at"]), down(block["auc"])
    bars = np.column_stack([px - 1, down(block["auc_high"]), px + 1, down(block["auc_low"])])
    bars = bars[_has_bar(block).to_numpy()]
    front = block[block["on_front"]].sort_values(["at", "auc"])
    steps = down(front["auc"])
    starts = across(front["at"])
    ends = np.append(starts, width)[1:]
    flats = np.column_stack([starts, steps - 1, ends, steps + 1])
    level = down(block.loc[block["verdict"] == "reference", "auc"])
    dashed = np.column_stack([0 * level, level - 1, 0 * level + width, level + 1])
    named = _stands_out(block) | (not _has_long_names(block))
    obstacles = np.vstack([bars, flats, dashed])
    names = [
        str(name) if shown else None for name, shown in zip(block["method"], named, strict=True)
    ]
    chosen = places(px, py, names, panel, obstacles)
    return names_beside(block[["method", "drawn_at", "auc"]], chosen, x, y)


def _front(block: pd.DataFrame, high: float, x: alt.X, y: alt.Y) -> alt.Chart:
    front = block.loc[block["on_front"], ["at", "auc"]].sort_values(["at", "auc"])
    to_the_edge = front.tail(1).assign(at=high)
    data = pd.concat([front, to_the_edge]).rename(columns={"at": "drawn_at"})
    line: alt.Chart = (
        alt.Chart(data)
        .mark_line(interpolate="step-after", color=GREY, strokeWidth=1.4, opacity=0.8)
        .encode(x=x, y=y)
    )
    return line


def _band(steps: pd.DataFrame, high: float, x: alt.X, scale: alt.Scale) -> list[alt.Chart]:
    if steps.empty:
        return []
    data = pd.concat([steps, steps.tail(1).assign(drawn_at=high)])
    area = alt.Chart(data).mark_area(interpolate="step-after", color=GREY, opacity=0.16)
    return [area.encode(x=x, y=alt.Y("low:Q", title="test AUC", scale=scale), y2="high:Q")]


def _reference(block: pd.DataFrame, y: alt.Y) -> list[alt.Chart]:
    reference = block.loc[block["verdict"] == "reference", ["auc"]].tail(1)
    rule = alt.Chart(reference).mark_rule(strokeDash=[5, 4], color=GREY, strokeWidth=1)
    return [] if reference.empty else [rule.encode(y=y)]


def _moved(block: pd.DataFrame, low: float, high: float) -> NDArray[np.float64]:
    """Share of the width by which each point is moved, so that near ones do not overlap.

    Points of the front stay where they are, the others go to their right and left in turn.
    """
    order = block.sort_values("at", kind="stable")
    at = np.log(order["at"].to_numpy(dtype=np.float64)) / math.log(high / low)
    cluster = pd.Series(np.cumsum(np.r_[True, np.diff(at) > _NEAR]), index=order.index)
    ranked = block.assign(cluster=cluster, other=~block["on_front"]).sort_values(
        ["cluster", "other", "method", "budget"]
    )
    clusters = ranked.groupby("cluster")["method"]
    turn = clusters.cumcount().reindex(block.index).to_numpy(dtype=np.int64)
    of_them = clusters.transform("size").reindex(block.index).to_numpy(dtype=np.int64)
    step = np.minimum(_STEP, 2 * _FARTHEST / of_them)
    return np.asarray((turn + 1) // 2 * np.where(turn % 2, 1, -1) * step, dtype=np.float64)


def _domain(costs: pd.Series[float]) -> tuple[float, float]:
    """A range with room on both sides: a fifth of its decades, at least a fifth of one."""
    low, high = math.log10(costs.min()), math.log10(costs.max())
    room = max(0.2, (high - low) / 5)
    return 10 ** (low - room), 10 ** (high + room)


def _auc_domain(block: pd.DataFrame, steps: pd.DataFrame) -> list[float]:
    barred = block[_has_bar(block)]
    low = float(np.fmin(min(barred["auc_low"].min(), block["auc"].min()), steps["low"].min()))
    high = float(np.fmax(max(barred["auc_high"].max(), block["auc"].max()), steps["high"].max()))
    room = max(0.0005, (high - low) * 0.08)
    return [low - room, high + room]
