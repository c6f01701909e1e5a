"""Points of Halton's sequence: evenly spread, and the same common settings for every method."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from scipy.stats import qmc

from pepbench.errors import PlanError
from pepbench.harness.cells import Cell
from pepbench.harness.tuning.space import Point, suggested

MOST_OPTIONS = 100
"""Dimensions of the sequence; one is used for each option that is tuned."""


def halton(cell: Cell) -> Iterator[Point]:
    """Points without end; the n-th has the same learning rate and L2 in all cells of a data set.

    Options take the dimensions in the order in which they are suggested: learning rate, L2, batch
    size, then those of the method and the backbone. The digits are permuted by the cell's
    :attr:`~pepbench.harness.cells.Cell.common_seed`. Bousquet, Gelly, Kurach, Teytaud, Vincent,
    "Critical Hyper-Parameters: No Random, No Cry", 2017, arXiv 1706.03200, recommend the scrambled
    sequence for tuning in few trials.

    Raises
    ------
    PlanError
        If more than ``MOST_OPTIONS`` options are tuned.
    """
    sequence = qmc.Halton(MOST_OPTIONS, scramble=True, seed=cell.common_seed)
    while True:
        drawer = Drawer(sequence.random(1)[0].tolist())
        suggested(cell, drawer)
        yield drawer.point


@dataclass
class Drawer:
    """A trial that chooses by the coordinates of a point in the unit cube, one for each name."""

    place: Sequence[float]
    point: Point = field(default_factory=dict)

    def suggest_float(
        self, name: str, low: float, high: float, *, log: bool = False, step: float | None = None
    ) -> float:
        """A real number from [low, high]."""
        if name not in self.point:
            share = self._coordinate()
            if step is not None:
                self.point[name] = low + _nth(share, _count(low, high, step)) * step
            elif log:
                value = math.exp(math.log(low) + share * math.log(high / low))
                self.point[name] = min(max(value, low), high)
            else:
                self.point[name] = low + share * (high - low)
        return cast(float, self.point[name])

    def suggest_int(
        self, name: str, low: int, high: int, *, log: bool = False, step: int = 1
    ) -> int:
        """A whole number from [low, high]."""
        if name not in self.point:
            share = self._coordinate()
            if log:
                # As wide on this scale as what is rounded to it, both ends included.
                least, most = math.log(low - 0.5), math.log(high + 0.5)
                value = round(math.exp(least + share * (most - least)))
                self.point[name] = min(max(value, low), high)
            else:
                self.point[name] = low + _nth(share, _count(low, high, step)) * step
        return cast(int, self.point[name])

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of the choices."""
        if name not in self.point:
            self.point[name] = choices[_nth(self._coordinate(), len(choices))]
        return self.point[name]

    def _coordinate(self) -> float:
        if len(self.point) == len(self.place):
            raise PlanError(
                f"sampler halton tunes {len(self.place)} options at most; fix some "
                "(name:option=value), or take sampler random"
            )
        return self.place[len(self.point)]


def _count(low: float, high: float, step: float) -> int:
    """Of the points from ``low`` to ``high``."""
    return math.floor((high - low) / step + 1e-9) + 1


def _nth(share: float, count: int) -> int:
    """Which of ``count`` equal parts of [0, 1) holds ``share``."""
    return min(int(share * count), count - 1)
