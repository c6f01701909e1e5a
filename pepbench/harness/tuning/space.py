"""The search space of a cell: common settings, the method's options, the backbone's options."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import numpy as np

from pepbench.backbones.backbone import Backbone
from pepbench.component import Trial, Value
from pepbench.errors import PlanError
from pepbench.harness.cells import Cell, TrialSettings
from pepbench.method import Method
from pepbench.plan import Plan
from pepbench.records import TrialSpec

COMMON = ("learning_rate", "l2", "batch_size")
"""Settings that every method tunes; the first three dimensions of a sequence."""

GRID_POINTS = 3
"""Points of each numeric range in a grid, both ends among them."""

MOST_GRID_POINTS = 100_000

BACKBONE = "backbone."
"""Prefix of the backbone's options, since a method may have options of the same name."""

CommonSettings = tuple[float, float, int]
"""Values of :data:`COMMON`."""

Params = dict[str, Value]
"""Settings as Optuna writes them: values by name."""


def suggest_settings(cell: Cell, trial: Trial) -> TrialSettings:
    """The settings that ``trial`` chooses."""
    plan = cell.plan
    common = suggest_common(plan, trial)
    method = cast(type[Method], cell.method.component).suggest(trial, cell.method.fixed)
    backbone = cast(Backbone, cell.backbone.default())
    if plan.tune_backbone:
        kind = cast(type[Backbone], cell.backbone.component)
        backbone = kind.suggest(_prefixed(trial, BACKBONE), cell.backbone.fixed)
    return TrialSettings(method, backbone, *common)


def suggest_common(plan: Plan, trial: Trial) -> CommonSettings:
    """The settings of :data:`COMMON` that ``trial`` chooses."""
    learning_rate = trial.suggest_float("learning_rate", *plan.tune_learning_rate, log=True)
    l2 = trial.suggest_float("l2", *plan.tune_l2, log=True)
    sizes = list(plan.tune_batch_size)
    batch_size = trial.suggest_categorical("batch_size", sizes) if sizes else plan.batch_size
    return learning_rate, l2, batch_size


def params_of(cell: Cell, settings: TrialSettings) -> Params:
    """What Optuna must choose so that :func:`suggest_settings` gives ``settings``."""
    params: Params = {
        "learning_rate": settings.learning_rate,
        "l2": settings.l2,
        **settings.method.tuned_options(cell.method.fixed),
    }
    if cell.plan.tune_batch_size:
        params["batch_size"] = settings.batch_size
    if cell.plan.tune_backbone:
        tuned = settings.backbone.tuned_options(cell.backbone.fixed)
        params |= {BACKBONE + name: value for name, value in tuned.items()}
    return params


def settings_of(cell: Cell, spec: TrialSpec) -> TrialSettings:
    """The settings of a trial of this cell, or of one with the same search space."""
    return TrialSettings(
        method=cast(Method, cell.method.component.from_options(spec.method.options)),
        backbone=cast(Backbone, cell.backbone.component.from_options(spec.backbone.options)),
        learning_rate=spec.training.learning_rate,
        l2=spec.training.l2,
        batch_size=spec.training.batch_size,
    )


def grid(cell: Cell) -> list[Params]:
    """All combinations of ``GRID_POINTS`` points of each range.

    Their order is drawn by the cell's seed. Where one option depends on another, each branch has
    its own combinations.

    Raises
    ------
    PlanError
        If there are more than ``MOST_GRID_POINTS``.
    """
    points = list(itertools.islice(_grid_in_order(cell), MOST_GRID_POINTS + 1))
    if len(points) > MOST_GRID_POINTS:
        raise PlanError(
            f"the grid of {' '.join(cell.name)} has more than {MOST_GRID_POINTS:,} points; fix "
            "options (name:option=value), or take sampler random"
        )
    order = np.random.default_rng(cell.sampler_seed).permutation(len(points))
    return [points[i] for i in order]


def _grid_in_order(cell: Cell) -> Iterator[Params]:
    """Count through the grid like an odometer: the last suggestion with points left moves on."""
    turns: list[int] = []
    while True:
        trial = _GridTrial(turns)
        suggest_settings(cell, trial)
        yield trial.params
        turns = trial.turns
        while turns and turns[-1] + 1 == trial.sizes[len(turns) - 1]:
            turns.pop()
        if not turns:
            return
        turns[-1] += 1


@dataclass
class _GridTrial:
    """A trial that chooses grid points by their numbers, and the first where none is given."""

    turns: list[int]
    sizes: list[int] = field(default_factory=list)
    params: Params = field(default_factory=dict)

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
        if name in self.params:  # as with Optuna, the same name is the same choice
            return self.params[name]
        distinct = list(dict.fromkeys(values))
        place = len(self.sizes)
        self.sizes.append(len(distinct))
        if place == len(self.turns):
            self.turns.append(0)
        self.params[name] = distinct[self.turns[place]]
        return self.params[name]


def spaced(low: float, high: float, log: bool) -> list[float]:
    """``GRID_POINTS`` numbers from ``low`` to ``high``, both as they are.

    >>> spaced(0.01, 1.0, log=True)
    [0.01, 0.1, 1.0]
    """
    inner = (np.geomspace if log else np.linspace)(low, high, GRID_POINTS)[1:-1]
    return [low, *(float(f"{value:.12g}") for value in inner), high]


def _prefixed(trial: Trial, prefix: str) -> Trial:
    """The same trial under names with a prefix."""

    def rename(suggest: Callable[..., Any]) -> Callable[..., Any]:
        return lambda name, *arguments, **options: suggest(prefix + name, *arguments, **options)

    names = ("suggest_float", "suggest_int", "suggest_categorical")
    return cast(Trial, SimpleNamespace(**{name: rename(getattr(trial, name)) for name in names}))
