"""Pruning curves: what searches keep of the table, a panel for each data set and budget."""

from __future__ import annotations

import math
from collections.abc import Iterable
from typing import Any

import altair as alt
import pandas as pd

from pepbench.analysis.tuning import by_cell
from pepbench.records import Record, final_runs
from pepbench.report.charts.palette import Mark, marks
from pepbench.report.charts.style import (
    GREY,
    INK,
    LABEL_SIZE,
    Panel,
    colour,
    composed,
    log_ticks,
    named_opacity,
    opacity,
    shape,
)

KEPT_COLUMNS = ("dataset", "backbone", "method", "budget", "seed", "step", "parameters")
"""Of the pruning curves' frame, in this order."""

_WIDTH, _HEIGHT = 330, 220
_CHARACTER, _LINE, _HANG = 7.2, 15.0, 26.0
"""Pixels of a character, of a line of names, and of the room above and below the names together."""
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
    return composed(panels, 2, "Parameters kept by step of the search", lines)


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
    ends = block.groupby(["method", "seed"], sort=False).tail(1)
    most = max(1.0, 1.06 * float(block["step"].max()))
    names = _hung(ends, most)
    low, high = (math.log10(block["at"].agg(end)) for end in ("min", "max"))
    decades = max(0.5, high - low)
    # All lines end at the budget; their names hang below.
    pixel = 1.08 * decades / (_HEIGHT - _HANG - _LINE * names["row"].max())
    floor = low - pixel * (_HANG + _LINE * names["row"].max())
    names["under"] = 10 ** (low - pixel * (_HANG / 2 + _LINE * names["row"]))
    domain = [10**floor, 10 ** (high + 0.08 * decades)]
    y_scale = alt.Scale(type="log", domain=domain, nice=False)
    x_scale = alt.Scale(domain=[0, most], nice=False)
    x = alt.X("step:Q", title="step of the search", scale=x_scale, axis=alt.Axis(format=",d"))
    y_axis = alt.Axis(values=log_ticks(10**low, domain[1]), format="~s")
    y = alt.Y("at:Q", title="parameters kept (log scale)", scale=y_scale, axis=y_axis)
    columns = ["method", "seed", "step", "parameters", "at"]
    base = alt.Chart(block[columns]).encode(
        x=x,
        y=y,
        color=colour(all_marks),
        tooltip=["method", "seed", "step", alt.Tooltip("parameters", title="kept", format=",")],
    )
    layers = [
        base.mark_line(interpolate="step-after", strokeWidth=1.4).encode(
            detail="seed:N", opacity=opacity(0.8)
        ),
        *_names(names, x, y, y_scale),
        base.properties(data=ends[columns])
        .mark_point(size=60, filled=True, cursor="pointer")
        .encode(shape=shape(all_marks), opacity=opacity()),
    ]
    return alt.LayerChart(layer=layers, width=_WIDTH, height=_HEIGHT, title=title)


def _names(names: pd.DataFrame, x: alt.X, y: alt.Y, scale: alt.Scale) -> list[alt.Chart]:
    """Names below the ends of lines, each on a thread."""
    under = alt.Y("under:Q", scale=scale, title="parameters kept (log scale)")
    thread = alt.Chart(names).mark_rule(color=GREY, strokeWidth=0.7)
    layers = [thread.encode(x=x, y=y, y2="under:Q", opacity=named_opacity())]
    for align, shift in (("left", 3), ("right", -3)):
        side = names[names["align"] == align]
        if len(side):
            base = alt.Chart(side).encode(x=x, y=under, text="method:N", opacity=named_opacity())
            text: dict[str, Any] = {
                "fontSize": LABEL_SIZE,
                "baseline": "middle",
                "align": align,
                "dx": shift,
            }
            layers.append(base.mark_text(color=INK, cursor="pointer", **text))
    return layers


def _hung(ends: pd.DataFrame, most: float) -> pd.DataFrame:
    """Where names hang: ``align`` and ``row`` of the rightmost end of each method.

    From the right to the left each takes the first row in which it is free, so that no thread runs
    through a name that goes to the right.
    """
    last = ends.loc[ends.groupby("method")["step"].idxmax().tolist()].copy()
    last = last.sort_values(["step", "method"], ascending=[False, True])
    taken: list[list[tuple[float, float]]] = []
    aligns, rows = [], []
    for method, step in zip(last["method"], last["step"], strict=True):
        start, width = step / most * _WIDTH, _CHARACTER * len(method)
        align = "left" if start + width <= _WIDTH else "right"
        begin = start if align == "left" else start - width
        row = next(
            (
                number
                for number, others in enumerate(taken)
                if all(begin + width < left or right < begin for left, right in others)
            ),
            len(taken),
        )
        taken += [[]] * (row == len(taken))
        taken[row] = [*taken[row], (begin, begin + width)]
        aligns.append(align)
        rows.append(row)
    return last.assign(align=aligns, row=rows)


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
