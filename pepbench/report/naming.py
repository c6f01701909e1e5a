"""Methods' names written beside points of a chart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from pepbench.report.labels import DIAGONAL, Place
from pepbench.report.style import INK, LABEL_SIZE, named_opacity

_SIDE: dict[str, dict[str, Any]] = {
    "right": {"align": "left", "dx": 8},
    "left": {"align": "right", "dx": -8},
    "above": {"align": "center", "dy": -14},
    "below": {"align": "center", "dy": 14},
    "upper right": {"align": "left", "dx": 8, "dy": -DIAGONAL},
    "upper left": {"align": "right", "dx": -8, "dy": -DIAGONAL},
    "lower right": {"align": "left", "dx": 8, "dy": DIAGONAL},
    "lower left": {"align": "right", "dx": -8, "dy": DIAGONAL},
}


def names_beside(
    points: pd.DataFrame, chosen: Mapping[str, Place], x: alt.X, y: alt.Y
) -> list[alt.Chart]:
    """Layers of names, each on a white ground.

    Parameters
    ----------
    points
        With ``method`` and the columns that are drawn.
    chosen
        Of :func:`pepbench.report.labels.places`: positions in ``points``.
    x, y
        How the columns are drawn.
    """
    layers = []
    for side, style in _SIDE.items():
        rows = [place.index for place in chosen.values() if place.side == side]
        if rows:
            base = alt.Chart(points.iloc[rows]).encode(
                x=x, y=y, text="method:N", opacity=named_opacity()
            )
            text: dict[str, Any] = {"fontSize": LABEL_SIZE, "baseline": "middle", **style}
            layers.append(base.mark_text(stroke="white", strokeWidth=3.5, **text))
            layers.append(base.mark_text(color=INK, cursor="pointer", **text))
    return layers
