"""Names beside points, placed so that they cover neither points nor each other."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import altair as alt
import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from pepbench.report.charts.style import INK, LABEL_SIZE, named_opacity

Floats = NDArray[np.float64]

_CHARACTER, LINE, _GAP = 6.6, 13.0, 8.0
"""Pixels of a character and of a line at the charts' font size, and from a point to its label."""
_LONG = 20
"""A name of more characters is written in two lines, of more than twice as many in three."""
_POINT = 8.0
_COVERED, _OUTSIDE = 1.0, 1000.0
_ON_POINT, _ON_LABEL = 8, 8
"""How many times worse it is to cover a point or another label than to cover a line."""
_ROUNDS = 4
"""How often each label is placed."""
SIDES = {
    "right": (1, 0),
    "left": (-1, 0),
    "above": (0, -1),
    "below": (0, 1),
    "upper right": (1, -1),
    "upper left": (-1, -1),
    "lower right": (1, 1),
    "lower left": (-1, 1),
}
"""Sides of a point, and which way the label lies from it, to the right and downwards."""
_DIAGONAL = 9.0
"""Pixels that the middle of a line on a diagonal side lies above or below its point."""
_ACROSS: tuple[dict[str, Any], ...] = (
    {"align": "right", "dx": -8},
    {"align": "center"},
    {"align": "left", "dx": 8},
)
"""To the left of a point, in its middle, to its right."""
_BREAK = "\n"


@dataclass(frozen=True)
class Place:
    """The place of a label: on a side of the point ``index``."""

    index: int
    side: str


def places(
    x: ArrayLike,
    y: ArrayLike,
    names: Sequence[str | None],
    size: tuple[float, float],
    obstacles: ArrayLike = (),
) -> dict[str, Place]:
    """One place for each name, beside one of the points that bear it.

    Names are placed one after the other, those with fewest points first; each takes the place that
    covers least of the points, of obstacles and of labels placed before, and stays inside. Then
    each is placed again among all others, a few times.

    Parameters
    ----------
    x, y
        (n,) places of the points in pixels, y downwards.
    names
        (n,) the label of each point; None: that point has none, and is not to be covered.
    size
        Width and height of the panel, in pixels.
    obstacles
        (m, 4) boxes (left, top, right, bottom) that labels should not cover either.
    """
    points = np.column_stack([x, y]).astype(np.float64)
    boxes = [(px - _POINT, py - _POINT, px + _POINT, py + _POINT) for px, py in points]
    others = np.asarray(obstacles, dtype=np.float64).reshape(-1, 4)
    fixed = np.vstack([np.array(boxes * _ON_POINT, dtype=np.float64).reshape(-1, 4), others])
    members = {
        name: [index for index, other in enumerate(names) if other == name]
        for name in names
        if name is not None
    }
    order = sorted(members, key=lambda name: (len(members[name]), name))
    chosen: dict[str, Place] = {}
    labels: dict[str, Floats] = {}
    for name in order * _ROUNDS:
        # A label over another cannot be read; one over a point hides that, one over a line little.
        taken = np.vstack([fixed, *(labels[other] for other in labels if other != name)])
        options = [
            (_cost(_box(points[index], side, name), taken, size), index, place)
            for index in members[name]
            for place, side in enumerate(SIDES)
        ]
        _, index, place = min(options)
        chosen[name] = Place(index, list(SIDES)[place])
        labels[name] = np.array([_box(points[index], chosen[name].side, name)] * _ON_LABEL)
    return chosen


def lines_of(name: str) -> list[str]:
    """A name as lines: broken after colons, so that the longest line is as short as can be."""
    words = re.findall(r"[^:]+:?|:", name) or [name]
    breaks = min(math.ceil(len(name) / _LONG), len(words)) - 1
    ways = [
        ["".join(words[start:end]) for start, end in itertools.pairwise((0, *inner, len(words)))]
        for inner in itertools.combinations(range(1, len(words)), max(breaks, 0))
    ]
    return min(ways, key=lambda lines: max(map(len, lines)))


def middle(side: str, lines: int) -> float:
    """Pixels that the middle of a label lies below its point; negative above."""
    right, down = SIDES[side]
    one = _DIAGONAL if right else _GAP + LINE / 2
    return down * (one + (lines - 1) * LINE / 2)


def names_beside(
    points: pd.DataFrame, chosen: Mapping[str, Place], x: alt.X, y: alt.Y
) -> list[alt.Chart]:
    """Layers of names, each on a white ground; long ones in several lines.

    Parameters
    ----------
    points
        With ``method`` and the columns that are drawn.
    chosen
        Of :func:`places`: positions in ``points``.
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


def _box(point: Floats, side: str, name: str) -> tuple[float, float, float, float]:
    lines = lines_of(name)
    width, height = _CHARACTER * max(map(len, lines)), LINE * len(lines)
    (x, y), (right, _) = point, SIDES[side]
    left = (x - _GAP - width, x - width / 2, x + _GAP)[right + 1]
    top = y + middle(side, len(lines)) - height / 2
    return left, top, left + width, top + height


def _cost(
    box: tuple[float, float, float, float], taken: Floats, size: tuple[float, float]
) -> float:
    left, top, right, bottom = box
    wide = np.minimum(right, taken[:, 2]) - np.maximum(left, taken[:, 0])
    high = np.minimum(bottom, taken[:, 3]) - np.maximum(top, taken[:, 1])
    covered = float((np.maximum(wide, 0) * np.maximum(high, 0)).sum())
    outside = max(0.0, -left) + max(0.0, right - size[0])
    outside += max(0.0, -top) + max(0.0, bottom - size[1])
    return _COVERED * covered + _OUTSIDE * outside
