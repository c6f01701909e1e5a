"""Curves over a training, a tuning or a search: a panel for each data set, backbone and budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from scipy.optimize import isotonic_regression

from pepbench.analysis.tuning import by_cell_and_fold
from pepbench.records import CELL_COLUMNS, Record, final_runs
from pepbench.report.charts.panels import Panel, PanelChart
from pepbench.report.charts.style import (
    GREY,
    INK,
    LABEL_SIZE,
    Mark,
    colour,
    filled,
    log_ticks,
    named_opacity,
    opacity,
    shape,
)
from pepbench.report.phrases import block_title

PRUNING_COLUMNS = (*CELL_COLUMNS, "seed", "step", "parameters")
"""Columns of :func:`pruning_frame`."""

_WIDTH, _HEIGHT = 330, 220
_CHARACTER, _LINE, _HANG = 7.2, 15.0, 26.0
"""Pixels of a character, of a line of names, and of the room above and below the names together."""
_LEAST_CHANGE = 0.01
"""Points that differ by less than this share from the last one drawn are left out."""

_Draw = Callable[[pd.DataFrame, Mapping[str, Mark]], list[alt.Chart]]
"""From the rows of a panel and the methods' marks to the panel's layers."""


def curves_chart(curves: pd.DataFrame, all_marks: Mapping[str, Mark]) -> PanelChart:
    """Validation AUC by epoch of the final runs, mean over seeds.

    Parameters
    ----------
    curves
        Of :func:`pepbench.analysis.tuning.curves_frame`.
    all_marks
        Of the methods, the same in all charts.
    """
    return PanelChart(
        name="learning-curves",
        title="Validation AUC by epoch",
        label="Learning curves",
        panels=_panels(curves, all_marks, _curve_layers),
        lines=["Last training of the final runs, mean over the seeds that got so far."],
    )


def trials_chart(trials: pd.DataFrame, all_marks: Mapping[str, Mark]) -> PanelChart:
    """Score of each tuning trial on validation rows, and the best so far.

    Parameters
    ----------
    trials
        Of :func:`pepbench.analysis.tuning.trials_frame`.
    all_marks
        As :func:`curves_chart`.
    """
    return PanelChart(
        name="tuning",
        title=f"Validation {_objective(trials)} of the tuning trials",
        label="Tuning trials",
        panels=_panels(trials[trials["score"].notna()], all_marks, _trial_layers),
        lines=["Trial 0: the method's default. Steps: the best so far. Filled: the best."],
    )


def pruning_chart(pruning: pd.DataFrame, all_marks: Mapping[str, Mark]) -> PanelChart:
    """Parameters kept by step of the search, a line for each final run.

    Parameters
    ----------
    pruning
        Of :func:`pruning_frame`.
    all_marks
        As :func:`curves_chart`.
    """
    return PanelChart(
        name="pruning-curves",
        title="Parameters kept by step of the search",
        label="Pruning curves",
        panels=_panels(pruning, all_marks, _pruning_layers),
        lines=["Final runs, a line for each seed. Mark: what the last training starts from."],
    )


def pruning_frame(records: Iterable[Record]) -> pd.DataFrame:
    """Pruning curves of final runs: parameters kept at each step of the search.

    Returns
    -------
    pandas.DataFrame
        Columns ``PRUNING_COLUMNS``; no row for methods that keep what they begin with.
    """
    rows = [
        (*name, run.spec.seed, point.step, point.parameters)
        for (name, _), members in by_cell_and_fold(records).items()
        for run in final_runs(members)
        for point in run.kept
    ]
    return pd.DataFrame(rows, columns=list(PRUNING_COLUMNS))


def _panels(
    rows: pd.DataFrame, all_marks: Mapping[str, Mark], draw: _Draw
) -> dict[tuple[str, ...], Panel]:
    panels: dict[tuple[str, ...], Panel] = {}
    for key, block in rows.groupby(["dataset", "backbone", "budget"], sort=False):
        name = tuple(map(str, key))
        panels[name] = alt.LayerChart(
            layer=draw(block, all_marks), width=_WIDTH, height=_HEIGHT, title=block_title(name)
        )
    return panels


def _curve_layers(block: pd.DataFrame, all_marks: Mapping[str, Mark]) -> list[alt.Chart]:
    means = block.groupby(["method", "epoch"])["auc"].mean().reset_index()
    base = alt.Chart(means).encode(
        x=alt.X("epoch:Q", axis=_integer_axis(means["epoch"])),
        y=alt.Y("auc:Q", title="validation AUC", scale=_padded(means["auc"])),
        color=colour(all_marks),
        opacity=opacity(),
    )
    ends = means.loc[means.groupby("method")["epoch"].idxmax().tolist()]
    return [
        base.mark_line(strokeWidth=1.6),
        base.mark_point(size=34, filled=True, cursor="pointer").encode(
            shape=shape(all_marks),
            tooltip=["method", "epoch", alt.Tooltip("auc", format=".5f")],
        ),
        _end_names(_spread(ends, means, "epoch"), "epoch"),
    ]


def _objective(trials: pd.DataFrame) -> str:
    return " or ".join(trials["objective"].unique()) or "AUC"


def _trial_layers(block: pd.DataFrame, all_marks: Mapping[str, Mark]) -> list[alt.Chart]:
    shown = ["method", "budget", "trial", "score", "best_so_far", "best", "settings"]
    title = f"validation {_objective(block)}"
    base = alt.Chart(block[shown]).encode(
        x=alt.X("trial:Q", axis=_integer_axis(block["trial"])), color=colour(all_marks)
    )
    scale = _padded(block["score"])
    last = block.loc[block.groupby("method")["trial"].idxmax().tolist()]
    ends = _spread(last.assign(score=last["best_so_far"]), block, "trial", "score")
    return [
        base.mark_line(interpolate="step-after", strokeWidth=1.2).encode(
            y=alt.Y("best_so_far:Q", title=title, scale=scale),
            opacity=opacity(0.6),
        ),
        base.mark_point(size=60, strokeWidth=1.6, cursor="pointer").encode(
            y=alt.Y("score:Q", title=title, scale=scale),
            shape=shape(all_marks),
            fill=filled("datum.best", all_marks),
            opacity=opacity(),
            tooltip=[
                "method",
                "budget",
                "trial",
                alt.Tooltip("score", title=title, format=".5f"),
                "settings",
            ],
        ),
        _end_names(ends[["method", "trial", "at"]], "trial"),
    ]


def _end_names(ends: pd.DataFrame, across: str) -> alt.Chart:
    """Names to the right of the curves' ends."""
    text = alt.Chart(ends).mark_text(align="left", dx=8, fontSize=LABEL_SIZE, cursor="pointer")
    layer: alt.Chart = text.encode(
        x=f"{across}:Q", y="at:Q", text="method:N", opacity=named_opacity()
    )
    return layer


def _integer_axis(numbers: pd.Series[int]) -> alt.Axis:
    """An axis with ticks at whole numbers only."""
    low, high = int(numbers.min()), int(numbers.max())
    values = list(range(low, high + 1, max(1, (high - low) // 8)))
    return alt.Axis(values=values, format="d", grid=False)


def _padded(values: pd.Series[float]) -> alt.Scale:
    low, high = float(values.min()), float(values.max())
    room = max(0.0005, 0.05 * (high - low))
    return alt.Scale(domain=[low - room, high + room], nice=False)


def _spread(ends: pd.DataFrame, means: pd.DataFrame, across: str, up: str = "auc") -> pd.DataFrame:
    """Places of the names at the curves' ends, moved apart to a line's height."""
    line = float(means[up].max() - means[up].min()) / (_HEIGHT / (LABEL_SIZE + 2))
    ordered = ends.sort_values([up, "method"])
    steps = line * np.arange(len(ordered))
    # The least squares under "each at least a line above the one before".
    places = isotonic_regression(ordered[up].to_numpy(np.float64) - steps).x + steps
    return ordered.assign(at=places, **{across: float(means[across].max())})


def _pruning_layers(block: pd.DataFrame, all_marks: Mapping[str, Mark]) -> list[alt.Chart]:
    block = _thinned(block)
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
    return [
        base.mark_line(interpolate="step-after", strokeWidth=1.4).encode(
            detail="seed:N", opacity=opacity(0.8)
        ),
        *_hung_names(names, x, y, y_scale),
        base.properties(data=ends[columns])
        .mark_point(size=60, filled=True, cursor="pointer")
        .encode(shape=shape(all_marks), opacity=opacity()),
    ]


def _hung_names(names: pd.DataFrame, x: alt.X, y: alt.Y, scale: alt.Scale) -> list[alt.Chart]:
    """Names below the ends of lines, each joined to its end by a thin line."""
    under = alt.Y("under:Q", scale=scale, title="parameters kept (log scale)")
    leader = alt.Chart(names).mark_rule(color=GREY, strokeWidth=0.7)
    layers = [leader.encode(x=x, y=y, y2="under:Q", opacity=named_opacity())]
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

    From the right to the left each takes the first row in which it is free, so that no such line
    runs through a name that goes to the right.
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
    """Lines without points too close to be seen apart; ``at``: parameters, at least 1."""
    drawn_rows = []
    for _, line in block.groupby(["method", "seed"], sort=False):
        last = len(line) - 1
        drawn = 0.0
        for place, row in enumerate(line.to_dict("records")):
            at = max(float(row["parameters"]), 1.0)
            if place in (0, last) or abs(at / drawn - 1) > _LEAST_CHANGE:
                drawn_rows.append({**row, "at": at})
                drawn = at
    return pd.DataFrame(drawn_rows)
