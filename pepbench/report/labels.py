"""Places for labels beside points, so that they cover neither points nor each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

_CHARACTER, _LINE, _GAP = 6.6, 13.0, 8.0
"""Pixels of a character and of a line at the charts' font size, and from a point to its label."""
_POINT = 5.0
_COVERED, _OUTSIDE = 1.0, 1000.0
_SIDES = {
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
DIAGONAL = 9.0
"""Pixels that the middle of a label on a diagonal side lies above or below its point."""


@dataclass(frozen=True)
class Place:
    """Where a label goes: beside the point ``index``, on one of its sides."""

    index: int
    side: str


def places(
    x: ArrayLike,
    y: ArrayLike,
    names: Sequence[str],
    size: tuple[float, float],
    obstacles: ArrayLike = (),
) -> dict[str, Place]:
    """One place for each name, beside one of the points that bear it.

    Names are placed one after the other, those with fewest points first; each takes the place that
    covers least of the points, of obstacles and of labels placed before, and stays inside.

    Parameters
    ----------
    x, y
        (n,) places of the points in pixels, y downwards.
    names
        (n,) the label of each point.
    size
        Width and height of the panel, in pixels.
    obstacles
        (m, 4) boxes (left, top, right, bottom) that labels should not cover either.
    """
    points = np.column_stack([x, y]).astype(np.float64)
    boxes = [(px - _POINT, py - _POINT, px + _POINT, py + _POINT) for px, py in points]
    others = np.asarray(obstacles, dtype=np.float64).reshape(-1, 4)
    taken = np.vstack([np.array(boxes, dtype=np.float64).reshape(-1, 4), others])
    chosen: dict[str, Place] = {}
    members = {name: [i for i, other in enumerate(names) if other == name] for name in names}
    for name in sorted(members, key=lambda name: (len(members[name]), name)):
        options = [
            (_cost(_box(points[index], side, name), taken, size), index, place)
            for index in members[name]
            for place, side in enumerate(_SIDES)
        ]
        _, index, place = min(options)
        side = list(_SIDES)[place]
        chosen[name] = Place(index, side)
        # A label over another cannot be read; one over a point or a line can.
        box = np.array([_box(points[index], side, name)] * 6)
        taken = np.vstack([taken, box])
    return chosen


def _box(point: Floats, side: str, name: str) -> tuple[float, float, float, float]:
    width, (x, y), (right, down) = _CHARACTER * len(name), point, _SIDES[side]
    left = (x - _GAP - width, x - width / 2, x + _GAP)[right + 1]
    offset = DIAGONAL if right else _GAP + _LINE / 2
    top = y + down * offset - _LINE / 2
    return left, top, left + width, top + _LINE


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
