"""How many parameters are left while a search goes on, in a bounded number of points."""

from __future__ import annotations

from collections.abc import Callable

MOST_POINTS = 128
"""Of a curve before it is thinned out by half."""


class Shrinking:
    """Points (step, parameters kept), evenly spread over a search of unknown length.

    It begins with every step. Whenever there are :data:`MOST_POINTS` it drops every second one and
    from then on takes half as many, so that a search of n steps is counted O(log n) times that
    often, and what is kept depends only on the steps seen so far.

    >>> shrinking = Shrinking()
    >>> for step in range(1, 1001):
    ...     shrinking.note(step, lambda: 2000 - step)
    >>> shrinking.points(500)[:2], shrinking.points(500)[-2:]
    ([(8, 1992), (16, 1984)], [(1000, 1000), (1000, 500)])
    """

    def __init__(self) -> None:
        self._points: list[tuple[int, int]] = []
        self._stride = 1
        self._latest = 0

    def note(self, step: int, count: Callable[[], int]) -> None:
        """A step is over; ``count`` is asked for what is left only if its point is kept."""
        self._latest = step
        if step < self._next:
            return
        self._points.append((step, int(count())))
        if len(self._points) == MOST_POINTS:
            self._points = self._points[1::2]
            self._stride *= 2

    def points(self, left: int | None) -> list[tuple[int, int]]:
        """The curve so far; where there is one, it ends with what is ``left`` after the search."""
        if left is None or not self._points or self._points[-1] == (self._latest, left):
            return list(self._points)
        return [*self._points, (self._latest, left)]

    def copy(self) -> Shrinking:
        """One that goes on by itself."""
        copied = Shrinking()
        copied._points = list(self._points)
        copied._stride, copied._latest = self._stride, self._latest
        return copied

    @property
    def _next(self) -> int:
        """The first step whose point is kept."""
        return self._points[-1][0] + self._stride if self._points else 0
