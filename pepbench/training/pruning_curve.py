"""How many parameters are left as a search goes on, in a bounded number of points."""

from __future__ import annotations

from collections.abc import Callable

MOST_POINTS = 128
"""Number of points at which a curve is thinned out by half."""


class PruningCurve:
    """Points (step, parameters left), evenly spread over a search of unknown length.

    At first every step is a point. Whenever there are :data:`MOST_POINTS`, every second one is
    dropped and from then on half as many are taken. So a search of n steps counts its parameters
    O(log n) times that often, and a point depends only on the steps up to it.

    >>> curve = PruningCurve()
    >>> for step in range(1, 1001):
    ...     curve.add(step, lambda: 2000 - step)
    >>> curve.points(500)[:2], curve.points(500)[-2:]
    ([(8, 1992), (16, 1984)], [(1000, 1000), (1000, 500)])
    """

    def __init__(self) -> None:
        self._points: list[tuple[int, int]] = []
        self._stride = 1
        self._latest = 0

    def add(self, step: int, count: Callable[[], int]) -> None:
        """Take note of a step; ``count``, the parameters left, is called for points only."""
        self._latest = step
        if self._points and step < self._points[-1][0] + self._stride:
            return
        self._points.append((step, int(count())))
        if len(self._points) == MOST_POINTS:
            self._points = self._points[1::2]
            self._stride *= 2

    def points(self, left: int | None) -> list[tuple[int, int]]:
        """The curve so far; unless empty, it ends with what is ``left`` after the search."""
        if left is None or not self._points or self._points[-1] == (self._latest, left):
            return list(self._points)
        return [*self._points, (self._latest, left)]
