"""Pruning curves: what searches keep of the table, a panel for each data set and budget."""

from __future__ import annotations

import math
from collections.abc import Iterable

import altair as alt
import numpy as np
import pandas as pd

from pepbench.records import Record, final_runs
from pepbench.report.labels import places
from pepbench.report.naming import names_beside
from pepbench.report.palette import Mark, marks
from pepbench.report.style import Panel, colour, composed, opacity, shape
from pepbench.report.tuning import by_cell

KEPT_COLUMNS = ("dataset", "backbone", "method", "budget", "seed", "step", "parameters")
"""Of the pruning curves' frame, in this order."""

_WIDTH, _HEIGHT = 330, 220
_LEAST_CHANGE = 0.01
"""Points that differ by less than this share from the last one drawn are left out."""


def kept_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Pruning curves of final runs: parameters kept after so many steps of the search.

    Returns
    -------
    pandas.DataFrame
        Columns ``KEPT_COLUMNS``; no row for methods that keep what they begin with.
    """
    rows = [
        (*name, run.spec.seed, point.step, point.parameters)
        for name, members in by_cell(records).items()
        for run in final_runs(members)
        for point in run.kept
    ]
    return pd.DataFrame(rows, columns=list(KEPT_COLUMNS))


def kept_chart(kept: pd.DataFrame, frame: pd.DataFrame) -> alt.VConcatChart:
    """Parameters kept by step of the search, a line for each final run, a panel for each budget.

    Parameters
    ----------
    kept
        Of :func:`kept_frame`, not empty.
    frame
        The leaderboard: its methods share their colours with all charts.
    """
    lines = ["Final runs, a line for each seed. Mark: what the last training starts from."]
    panels = list(kept_panels(kept, frame).values())
    return composed(panels, 3, "Parameters kept by step of the search", lines)


def kept_panels(kept: pd.DataFrame, frame: pd.DataFrame) -> dict[tuple[str, str, str], Panel]:
    """The panels of :func:`kept_chart`, by data set, backbone and budget."""
    all_marks = marks(frame["method"])
    return {
        (str(dataset), str(backbone), str(budget)): _panel(
            f"{dataset} · {backbone} · {budget}", _thinned(block), all_marks
        )
        for (dataset, backbone, budget), block in kept.groupby(
            ["dataset", "backbone", "budget"], sort=False
        )
    }


def _panel(title: str, block: pd.DataFrame, all_marks: dict[str, Mark]) -> Panel:
    low, high = (math.log10(block["at"].agg(end)) for end in ("min", "max"))
    room = max(0.08, 0.08 * (high - low))
    domain = 10 ** (low - room), 10 ** (high + room)
    most = max(1.0, 1.06 * float(block["step"].max()))
    x_scale = alt.Scale(domain=[0, most], nice=False)
    x = alt.X("step:Q", title="step of the search", scale=x_scale, axis=alt.Axis(format="~s"))
    y = alt.Y(
        "at:Q",
        title="parameters kept (log scale)",
        scale=alt.Scale(type="log", domain=list(domain), nice=False),
        axis=alt.Axis(format="~s", tickCount=4),
    )
    base = alt.Chart(block[["method", "seed", "step", "parameters", "at"]]).encode(
        x=x,
        y=y,
        color=colour(all_marks),
        tooltip=["method", "seed", "step", alt.Tooltip("parameters", title="kept", format=",")],
    )
    ends = block.groupby(["method", "seed"], sort=False).tail(1)
    layers = [
        base.mark_line(interpolate="step-after", strokeWidth=1.4).encode(
            detail="seed:N", opacity=opacity(0.8)
        ),
        base.properties(data=ends[["method", "seed", "step", "parameters", "at"]])
        .mark_point(size=50, filled=True, cursor="pointer")
        .encode(shape=shape(all_marks), opacity=opacity()),
        *_labels(block, (x, y), (most, *domain)),
    ]
    return alt.LayerChart(layer=layers, width=_WIDTH, height=_HEIGHT, title=title)


def _labels(
    block: pd.DataFrame, axes: tuple[alt.X, alt.Y], ranges: tuple[float, float, float]
) -> list[alt.Chart]:
    """Each method's name beside one of the corners of its lines, on a white ground."""
    most, low, high = ranges
    across = block["step"].to_numpy(np.float64) / most * _WIDTH
    height = np.log(high / block["at"].to_numpy(np.float64)) / math.log(high / low) * _HEIGHT
    run = block["method"].astype(str) + "\0" + block["seed"].astype(str)
    same = (run.shift(-1) == run).to_numpy()
    after, below = np.roll(across, -1)[same], np.roll(height, -1)[same]
    flats = np.column_stack([across[same], height[same] - 1, after, height[same] + 1])
    ends = np.minimum(height[same], below), np.maximum(height[same], below)
    falls = np.column_stack([after - 1, ends[0], after + 1, ends[1]])
    chosen = places(
        across, height, block["method"].tolist(), (_WIDTH, _HEIGHT), np.vstack([flats, falls])
    )
    return names_beside(block[["method", "step", "at"]], chosen, *axes)


def _thinned(block: pd.DataFrame) -> pd.DataFrame:
    """Lines without points that change nothing one can see; ``at``: what a logarithm can show."""
    kept = []
    for _, line in block.groupby(["method", "seed"], sort=False):
        last = len(line) - 1
        drawn = 0.0
        for place, row in enumerate(line.to_dict("records")):
            at = max(float(row["parameters"]), 1.0)
            if place in (0, last) or abs(at / drawn - 1) > _LEAST_CHANGE:
                kept.append({**row, "at": at})
                drawn = at
    return pd.DataFrame(kept)
