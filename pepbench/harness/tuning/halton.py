"""Trials from Halton's sequence: evenly spread, with the same common settings for every method."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from scipy.stats import qmc

from pepbench.component import Trial
from pepbench.errors import PlanError
from pepbench.harness.cells import Cell
from pepbench.harness.tuning.space import (
    CommonSettings,
    Params,
    suggest_common,
    suggest_settings,
)
from pepbench.plan import Plan

MOST_OPTIONS = 100
"""Dimensions of the sequence, one for each option that is tuned."""

POINTS = 100
"""Points that are computed at once."""


def halton(cell: Cell) -> Iterator[Params]:
    """Trials without end; the n-th has the same learning rate and L2 in all cells of a data set.

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
    for number in itertools.count():
        trial = HaltonTrial(_points(cell.common_seed, number // POINTS)[number % POINTS])
        suggest_settings(cell, trial)
        yield trial.params


def common_settings(plan: Plan, common_seed: int, number: int) -> list[CommonSettings]:
    """The common settings of the first ``number`` trials of :func:`halton`; needs no method."""
    points = (_points(common_seed, n // POINTS)[n % POINTS] for n in range(number))
    return [suggest_common(plan, cast(Trial, HaltonTrial(point))) for point in points]


@functools.lru_cache(16)
def _points(seed: int, block: int) -> list[list[float]]:
    """``POINTS`` points of a sequence, which many cells share."""
    sequence = qmc.Halton(MOST_OPTIONS, scramble=True, seed=seed)
    points: list[list[float]] = sequence.fast_forward(block * POINTS).random(POINTS).tolist()
    return points


@dataclass
class HaltonTrial:
    """A trial that maps coordinates of a point in the unit cube to values, one for each name."""

    point: Sequence[float]
    params: Params = field(default_factory=dict)

    def suggest_float(
        self, name: str, low: float, high: float, *, log: bool = False, step: float | None = None
    ) -> float:
        """A real number from [low, high]."""
        if name not in self.params:
            share = self._coordinate()
            if step is not None:
                self.params[name] = low + _nth(share, _count(low, high, step)) * step
            elif log:
                value = math.exp(math.log(low) + share * math.log(high / low))
                self.params[name] = min(max(value, low), high)
            else:
                self.params[name] = low + share * (high - low)
        return cast(float, self.params[name])

    def suggest_int(
        self, name: str, low: int, high: int, *, log: bool = False, step: int = 1
    ) -> int:
        """A whole number from [low, high]."""
        if name not in self.params:
            share = self._coordinate()
            if log:
                # Every whole number gets the width of what is rounded to it, both ends included.
                least, most = math.log(low - 0.5), math.log(high + 0.5)
                value = round(math.exp(least + share * (most - least)))
                self.params[name] = min(max(value, low), high)
            else:
                self.params[name] = low + _nth(share, _count(low, high, step)) * step
        return cast(int, self.params[name])

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        """One of the choices."""
        if name not in self.params:
            self.params[name] = choices[_nth(self._coordinate(), len(choices))]
        return self.params[name]

    def _coordinate(self) -> float:
        if len(self.params) == len(self.point):
            raise PlanError(
                f"sampler halton tunes {len(self.point)} options at most; fix some "
                "(name:option=value), or take sampler random"
            )
        return self.point[len(self.params)]


def _count(low: float, high: float, step: float) -> int:
    """How many steps fit from ``low`` to ``high``, both ends included."""
    return math.floor((high - low) / step + 1e-9) + 1


def _nth(share: float, count: int) -> int:
    """Index of the one of ``count`` equal parts of [0, 1) that holds ``share``."""
    return min(int(share * count), count - 1)
