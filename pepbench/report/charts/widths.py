"""Learnt widths against planted widths and frequencies: a picture for each method."""

from __future__ import annotations

import re

import altair as alt
import pandas as pd

from pepbench.analysis.frames import by_block, of_block
from pepbench.analysis.width_recovery import WidthRecovery
from pepbench.report.charts.panels import Spec, across, down, styled
from pepbench.report.charts.style import GREY, INK

_WIDTH, _HEIGHT = 230, 200
_SPREAD = 0.8
"""Share of a planted width's place that its features take."""
_HEADROOM = 1.08
_SCHEME = alt.SchemeParams(name="viridis", extent=[0.0, 0.92])
"""Without its palest yellow, which is lost on white."""
PICTURES = "widths-"
"""What the file names of these charts begin with."""
_TICKS = [0, *(2**power for power in range(13))]


def pictures(recovery: WidthRecovery) -> dict[str, Spec]:
    """A chart for each method that gives features widths of their own, by file name.

    A column for each budget; for each data set and backbone one row of learnt widths against
    planted widths, if there are any, and one against training frequencies.

    Parameters
    ----------
    recovery
        As :func:`pepbench.analysis.width_recovery.recover` returns it.
    """
    return {name: _picture(method, recovery) for name, method in _methods(recovery).items()}


def picture_names(recovery: WidthRecovery) -> list[str]:
    """The names that :func:`pictures` gives."""
    return list(_methods(recovery))


def picture_name(method: str) -> str:
    """From a method's spec, in characters that every file system takes.

    >>> picture_name("pep:granularity=feature")
    'widths-pep_granularity=feature'
    """
    return PICTURES + re.sub(r"[^\w.+=-]", "_", method)


def _methods(recovery: WidthRecovery) -> dict[str, str]:
    return {picture_name(method): method for method in dict.fromkeys(recovery.profiles["method"])}


def _picture(method: str, recovery: WidthRecovery) -> Spec:
    profiles = recovery.profiles[recovery.profiles["method"] == method]
    points = recovery.points[recovery.points["method"] == method]
    rows = []
    for name, block in by_block(profiles):
        here = of_block(points, name)
        planted = block[block["by"] == "planted"]
        by_frequency = block[block["by"] == "frequency"]
        top = _HEADROOM * float(max(1, block["high"].max(), here["learnt"].max()))
        panels = []
        if len(planted):
            top = max(top, _HEADROOM * float(planted["at"].max()))
            panels.append([_against_truth(b, p, here, top) for b, p in _budgets(planted)])
        panels.append([_against_frequency(b, p, top) for b, p in _budgets(by_frequency)])
        lines_of_block = [across(*row, spacing=24) for row in panels]
        rows.append(down(*lines_of_block, spacing=16, title=" · ".join(name)))
    lines = ["Line: mean over all features and seeds. Band: from the 10% to the 90% quantile."]
    if points["planted"].notna().any():
        lines += [
            "Points: features of the first seed; at each planted width rare ones are left, "
            "frequent ones right.",
            "Dashed: learnt as planted.",
        ]
    return styled(down(*rows, spacing=28), f"Widths learnt by {method}", *lines)


def _budgets(profile: pd.DataFrame) -> list[tuple[str, pd.DataFrame]]:
    return [(str(budget), part) for budget, part in profile.groupby("budget", sort=False)]


def _against_truth(
    budget: str, profile: pd.DataFrame, points: pd.DataFrame, top: float
) -> alt.LayerChart:
    levels = profile["at"].tolist()
    places = {level: float(place) for place, level in enumerate(levels)}
    points = points[(points["budget"] == budget) & points["planted"].notna()]
    points = points.assign(x=points["planted"].map(places) + _SPREAD * (points["place"] - 0.5))
    names = " : ".join(f"datum.value == {n} ? '{level:g}'" for n, level in enumerate(levels))
    x = alt.X(
        "x:Q",
        title="planted width",
        scale=alt.Scale(domain=[-0.5, len(levels) - 0.5], nice=False),
        axis=alt.Axis(values=list(places.values()), labelExpr=f"{names} : ''", grid=False),
    )
    colour = alt.Color(
        "frequency:Q",
        title="training frequency",
        scale=alt.Scale(type="log", scheme=_SCHEME, reverse=True),
        legend=alt.Legend(orient="bottom", gradientLength=260, format="~s"),
    )
    truth = alt.Chart(pd.DataFrame({"x": list(places.values()), "truth": levels}))
    dots = alt.Chart(points[["x", "learnt", "frequency"]])
    layers = [
        truth.mark_line(strokeDash=[4, 3], color=GREY, strokeWidth=1).encode(
            x=x, y=_y("truth", top)
        ),
        dots.mark_circle(size=22, opacity=0.85).encode(x=x, y=_y("learnt", top), color=colour),
        *_line(profile.assign(x=profile["at"].map(places)), x, top),
    ]
    return alt.LayerChart(layer=layers, width=_WIDTH, height=_HEIGHT, title=f"at {budget}")


def _against_frequency(budget: str, profile: pd.DataFrame, top: float) -> alt.LayerChart:
    x = alt.X(
        "x:Q",
        title="training frequency (log scale)",
        scale=alt.Scale(type="log", nice=False),
        axis=alt.Axis(format="~s", tickCount=4, grid=False),
    )
    layers = _line(profile.rename(columns={"at": "x"}), x, top)
    return alt.LayerChart(layer=layers, width=_WIDTH, height=_HEIGHT, title=f"at {budget}")


def _line(profile: pd.DataFrame, x: alt.X, top: float) -> list[alt.Chart]:
    base = alt.Chart(profile[["x", "mean", "low", "high"]])
    return [
        base.mark_area(color=GREY, opacity=0.18).encode(x=x, y=_y("low", top), y2="high:Q"),
        base.mark_line(color=INK, strokeWidth=1.8, point={"color": INK, "size": 26}).encode(
            x=x, y=_y("mean", top)
        ),
    ]


def _y(column: str, top: float) -> alt.Y:
    """Widths on a logarithmic scale that shows 0."""
    ticks = [tick for tick in _TICKS if tick <= top]
    return alt.Y(
        f"{column}:Q",
        title="learnt width",
        scale=alt.Scale(type="symlog", constant=1, domain=[0, top], nice=False),
        axis=alt.Axis(values=ticks, tickCount=len(ticks), format="d", labelOverlap=False),
    )
