"""Methods' names written beside points of a chart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from pepbench.report.charts.labels import LINE, SIDES, Place, lines_of, middle
from pepbench.report.charts.style import INK, LABEL_SIZE, named_opacity

_ACROSS: tuple[dict[str, Any], ...] = (
    {"align": "right", "dx": -8},
    {"align": "center"},
    {"align": "left", "dx": 8},
)
"""To the left of a point, in its middle, to its right."""
_BREAK = "\n"


def names_beside(
    points: pd.DataFrame, chosen: Mapping[str, Place], x: alt.X, y: alt.Y
) -> list[alt.Chart]:
    """Layers of names, each on a white ground; long ones in several lines.

    Parameters
    ----------
    points
        With ``method`` and the columns that are drawn.
    chosen
        Of :func:`pepbench.report.charts.labels.places`: positions in ``points``.
    x, y
        How the columns are drawn.
    """
    groups: dict[tuple[str, int], list[int]] = {}
    for name, place in chosen.items():
        groups.setdefault((place.side, len(lines_of(name))), []).append(place.index)
    layers = []
    for (side, lines), rows in sorted(groups.items()):
        named = points.iloc[rows]
        named = named.assign(name=[_BREAK.join(lines_of(name)) for name in named["method"]])
        base = alt.Chart(named).encode(x=x, y=y, text="name:N", opacity=named_opacity())
        text: dict[str, Any] = {
            "fontSize": LABEL_SIZE,
            "baseline": "middle",
            "lineBreak": _BREAK,
            "lineHeight": LINE,
            # The first of the lines is where the chart library puts a label.
            "dy": middle(side, lines) - (lines - 1) * LINE / 2,
            **_ACROSS[SIDES[side][0] + 1],
        }
        layers.append(base.mark_text(stroke="white", strokeWidth=3.5, **text))
        layers.append(base.mark_text(color=INK, cursor="pointer", **text))
    return layers
