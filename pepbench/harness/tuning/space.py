"""What tuning chooses from: the common settings, then the method's options, then the backbone's."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

import numpy as np

from pepbench.backbones.backbone import Backbone
from pepbench.component import Trial, Value
from pepbench.errors import PlanError
from pepbench.harness.cells import Cell, Choice
from pepbench.method import Method
from pepbench.records import TrialSpec

LEARNING_RATES = (3e-4, 1e-2)
"""Range of the common learning rate, searched on a logarithmic scale for every method."""

L2S = (1e-7, 1e-3)
"""Range of the common L2, likewise."""

GRID_POINTS = 3
"""Of each numeric range, both ends among them; of categories all."""

MOST_GRID_POINTS = 100_000

BACKBONE = "backbone."
"""Before the names of the backbone's options, which a method may have too."""

Point = dict[str, Value]
"""A choice as Optuna writes it: values by name."""


def suggested(cell: Cell, trial: Trial) -> Choice:
    """The point that ``trial`` chooses."""
    plan = cell.plan
    learning_rate = trial.suggest_float("learning_rate", *LEARNING_RATES, log=True)
    l2 = trial.suggest_float("l2", *L2S, log=True)
    batch_size = plan.batch_size
    if plan.tune_batch_size:
        batch_size = trial.suggest_categorical("batch_size", list(plan.tune_batch_size))
    method = cast(type[Method], cell.method.component).suggest(trial, cell.method.fixed)
    backbone = cast(Backbone, cell.backbone.default())
    if plan.tune_backbone:
        kind = cast(type[Backbone], cell.backbone.component)
        backbone = kind.suggest(_Prefixed(trial, BACKBONE), cell.backbone.fixed)
    return Choice(method, backbone, learning_rate, l2, batch_size)


def point_of(cell: Cell, choice: Choice) -> Point:
    """What Optuna must choose so that :func:`suggested` gives ``choice``."""
    point: Point = {
        "learning_rate": choice.learning_rate,
        "l2": choice.l2,
        **choice.method.tuned_options(cell.method.fixed),
    }
    if cell.plan.tune_batch_size:
        point["batch_size"] = choice.batch_size
    if cell.plan.tune_backbone:
        tuned = choice.backbone.tuned_options(cell.backbone.fixed)
        point |= {BACKBONE + name: value for name, value in tuned.items()}
    return point


def choice_of(cell: Cell, spec: TrialSpec) -> Choice:
    """The choice by which a trial was made, of this cell or of one with the same space."""
    return Choice(
        method=cast(Method, cell.method.component.from_options(spec.method.options)),
        backbone=cast(Backbone, cell.backbone.component.from_options(spec.backbone.options)),
        learning_rate=spec.training.learning_rate,
        l2=spec.training.l2,
        batch_size=spec.training.batch_size,
    )


def grid(cell: Cell) -> list[Point]:
    """All combinations of a few points of each range, in an order drawn by the cell's seed.

    Spaces in which one option depends on another are walked branch by branch.

    Raises
    ------
    PlanError
        If there are more than ``MOST_GRID_POINTS``.
    """
    points = list(itertools.islice(_walk(cell), MOST_GRID_POINTS + 1))
    if len(points) > MOST_GRID_POINTS:
        raise PlanError(
            f"the grid of {' '.join(cell.name)} has more than {MOST_GRID_POINTS:,} points; fix "
            "options (name:option=value), or take sampler random"
        )
    order = np.random.default_rng(cell.sampler_seed).permutation(len(points))
    return [points[i] for i in order]


def _walk(cell: Cell) -> Iterator[Point]:
    """The grid like an odometer: the last suggestion that has points left moves on."""
    turns: list[int] = []
    while True:
        walker = _Walker(turns)
        suggested(cell, walker)
        yield walker.point
        turns = walker.turns
        while turns and turns[-1] + 1 == walker.sizes[len(turns) - 1]:
            turns.pop()
        if not turns:
            return
        turns[-1] += 1


@dataclass
class _Walker:
    """A trial that chooses the grid point of given numbers, and the first where none is given."""

    turns: list[int]
    sizes: list[int] = field(default_factory=list)
    point: Point = field(default_factory=dict)

    def suggest_float(
        self, name: str, low: float, high: float, *, log: bool = False, step: float | None = None
    ) -> float:
        values = spaced(low, high, log)
        if step is not None:
            values = [low + round((value - low) / step) * step for value in values]
        return cast(float, self._choose(name, [min(value, high) for value in values]))

    def suggest_int(
        self, name: str, low: int, high: int, *, log: bool = False, step: int = 1
    ) -> int:
        values = [low + round((value - low) / step) * step for value in spaced(low, high, log)]
        return cast(int, self._choose(name, [v if v <= high else v - step for v in values]))

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self._choose(name, choices)

    def _choose(self, name: str, values: Sequence[Any]) -> Any:
        if name in self.point:  # as with Optuna, the same name is the same choice
            return self.point[name]
        distinct = list(dict.fromkeys(values))
        place = len(self.sizes)
        self.sizes.append(len(distinct))
        if place == len(self.turns):
            self.turns.append(0)
        self.point[name] = distinct[self.turns[place]]
        return self.point[name]


def spaced(low: float, high: float, log: bool) -> list[float]:
    """``GRID_POINTS`` numbers from ``low`` to ``high``, both as they are.

    >>> spaced(0.01, 1.0, log=True)
    [0.01, 0.1, 1.0]
    """
    inner = (np.geomspace if log else np.linspace)(low, high, GRID_POINTS)[1:-1]
    return [low, *(float(f"{value:.12g}") for value in inner), high]


class _Prefixed:
    """A trial whose names begin with a prefix."""

    def __init__(self, trial: Trial, prefix: str) -> None:
        self.trial, self.prefix = trial, prefix

    def suggest_float(
        self, name: str, low: float, high: float, *, log: bool = False, step: float | None = None
    ) -> float:
        return self.trial.suggest_float(self.prefix + name, low, high, log=log, step=step)

    def suggest_int(
        self, name: str, low: int, high: int, *, log: bool = False, step: int = 1
    ) -> int:
        return self.trial.suggest_int(self.prefix + name, low, high, log=log, step=step)

    def suggest_categorical(self, name: str, choices: Sequence[Any]) -> Any:
        return self.trial.suggest_categorical(self.prefix + name, choices)
