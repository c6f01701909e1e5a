"""The cells of a plan: data set × fold × backbone × method × budget, ready to be tuned."""

from __future__ import annotations

import hashlib
import itertools
import re
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from typing import cast

from pepbench.backbones.backbone import Backbone
from pepbench.catalog import Catalog, Kind, Selection
from pepbench.component import Component
from pepbench.data.dataset import Dataset
from pepbench.data.manage import open_table
from pepbench.data.split_schemes import Fold
from pepbench.data.splits import Splits, split_facts
from pepbench.errors import PlanError, unknown_name
from pepbench.method import Method
from pepbench.plan import Plan
from pepbench.records import (
    DEFAULT_L2,
    DEFAULT_LEARNING_RATE,
    DRAWN,
    CellName,
    ComponentSpec,
    DataSpec,
    PruningSpec,
    Role,
    TrainingSpec,
    TrialSpec,
)
from pepbench.units import FULL, Budget

Place = tuple[CellName, int]
"""Name and fold of a cell."""


@dataclass(frozen=True)
class TrialSettings:
    """What tuning chooses for a trial: a point of a cell's search space."""

    method: Method
    backbone: Backbone
    learning_rate: float
    l2: float
    batch_size: int


@dataclass(frozen=True, eq=False)
class Cell:
    """A cell of a plan in one fold: data set × backbone × method × budget."""

    data: DataSpec
    backbone: Selection
    method: Selection
    budget: str
    budget_parameters: int
    full_parameters: int
    splits: Splits
    """Of the fold; its rows may have been evicted from the cache, its fields and counts not."""
    plan: Plan
    """With the exceptions for this cell applied."""
    neighbour: CellName | None = None
    """The cell of the next larger budget in the same fold; its best trial is tried here too."""

    @property
    def name(self) -> CellName:
        """As records and tables name it."""
        return CellName(self.data.spec, self.backbone.spec, self.method.spec, self.budget)

    @property
    def place(self) -> Place:
        """Its name and its fold: what no other cell of a run has."""
        return self.name, self.data.fold

    def __str__(self) -> str:
        """The cell as shown in progress messages."""
        fold = f" fold {self.data.fold + 1}/{self.data.folds}" if self.data.folds > 1 else ""
        return f"{self.name}{fold}"

    @property
    def sampler_seed(self) -> int:
        """The same for all budgets of a method, so that their first trials coincide.

        Each budget has its own where one starts from another's best trial, which would else be
        drawn again.
        """
        name = self.name if self.plan.warm_start else self.name[:3]
        return self._seed("sampler", *name)

    @property
    def common_seed(self) -> int:
        """The same for all methods and budgets of a data set and backbone in a fold."""
        return self._seed("common", *self.name[:2])

    @property
    def tuning_seed(self) -> int:
        """Of every tuning trial of a fold: equal initial values and batches for all methods."""
        return tuning_seed(self.plan, self.data)

    def finalist_seeds(self) -> list[int]:
        """Further seeds of finalists, the same for every cell of a fold, none used elsewhere."""
        return finalist_seeds(self.plan, self.data)

    def final_seeds(self) -> list[int]:
        """Seeds of the final runs, the same for every cell of a fold, none used elsewhere."""
        return final_seeds(self.plan, self.data)

    def _seed(self, *purpose: str) -> int:
        return _fold_seed(self.plan, self.data, *purpose)

    def default(self) -> TrialSettings:
        """The method as its paper has it, under the default settings."""
        return TrialSettings(
            method=cast(Method, self.method.default()),
            backbone=cast(Backbone, self.backbone.default()),
            learning_rate=DEFAULT_LEARNING_RATE,
            l2=DEFAULT_L2,
            batch_size=self.plan.batch_size,
        )

    def trial(
        self, settings: TrialSettings, seed: int, role: Role, pruning: PruningSpec | None = None
    ) -> TrialSpec:
        """The spec of one trial of this cell."""
        plan = self.plan
        training = training_spec(plan, settings.learning_rate, settings.l2, settings.batch_size)
        return TrialSpec(
            data=self.data,
            backbone=_component_spec(self.backbone.spec, settings.backbone, self._tuned()),
            method=_component_spec(self.method.spec, settings.method),
            budget=self.budget,
            budget_parameters=self.budget_parameters,
            full_parameters=self.full_parameters,
            dim=plan.dim,
            training=training,
            seed=seed,
            role=role,
            device=plan.device,
            pruning=pruning,
        )

    def _tuned(self) -> tuple[str, ...]:
        if not self.plan.tune_backbone:
            return ()
        return tuple(self.backbone.default().tuned_options(self.backbone.fixed))


def training_spec(
    plan: Plan, learning_rate: float, l2: float, batch_size: int | None = None
) -> TrainingSpec:
    """The settings that all methods share; ``batch_size`` is the plan's unless given."""
    return TrainingSpec(
        learning_rate=learning_rate,
        l2=l2,
        batch_size=batch_size or plan.batch_size,
        epochs=plan.epochs,
        patience=plan.patience,
        clip=plan.clip,
        optimizer=plan.optimizer,
        precision=plan.precision,
    )


def family(cell: Cell) -> tuple[str, str, str, int]:
    """Data set, backbone, method, fold: cells that agree in these may share searches and trials."""
    return *cell.name[:3], cell.data.fold


def expand(plan: Plan, catalog: Catalog) -> list[Cell]:
    """All cells of a plan, in its order; of a data set fold by fold.

    Raises
    ------
    PlanError
        For unknown names, illegal options and budgets above a full table.
    DataError
        For data sets that are not in the cache.
    """
    # Every name is checked before the first data set is opened, which may take a while.
    methods = [catalog.select("method", spec) for spec in plan.methods]
    backbones = [catalog.select("backbone", spec) for spec in plan.backbones]
    datasets = [catalog.select("dataset", spec) for spec in plan.datasets]
    for selection in (*methods, *backbones):
        selection.default()
    _refuse_unknown_names(plan, catalog)
    cells: list[Cell] = []
    for dataset in datasets:
        known = cast(Dataset, dataset.default())
        table = open_table(known)
        for fold in plan.folds_to_run:
            splits = split_facts(table, plan.split_seed, Fold(fold, plan.folds))
            data = DataSpec(
                spec=dataset.spec,
                table_fingerprint=table.fingerprint,
                split_seed=plan.split_seed,
                split_fingerprint=splits.fingerprint,
                fold=fold,
                folds=plan.folds,
                source=DRAWN if known.generated else known.source or known.name,
            )
            for backbone, method in itertools.product(backbones, methods):
                cells += _of_method(plan, data, splits, backbone, method)
    if not cells:
        raise PlanError("except leaves out all cells; narrow its patterns")
    return cells


def _of_method(
    plan: Plan, data: DataSpec, splits: Splits, backbone: Selection, method: Selection
) -> list[Cell]:
    """The cells of one data set, backbone and method."""
    full = splits.fields.n_features * plan.dim
    cells = [
        Cell(
            data=data,
            backbone=backbone,
            method=method,
            budget=budget,
            budget_parameters=Budget(budget).parameters(full),
            full_parameters=full,
            splits=splits,
            plan=own,
        )
        for budget in budgets_of(method, plan)
        if (own := plan.of_cell(data.spec, backbone.spec, method.spec, budget)) is not None
    ]
    return _with_neighbours(cells) if plan.warm_start else cells


def _with_neighbours(cells: list[Cell]) -> list[Cell]:
    """The cells, largest budget first, each with the name of the one before it."""
    ordered = sorted(cells, key=lambda cell: -cell.budget_parameters)
    neighbours: list[CellName | None] = [None, *(cell.name for cell in ordered)]
    return [replace(cell, neighbour=name) for cell, name in zip(ordered, neighbours, strict=False)]


def _refuse_unknown_names(plan: Plan, catalog: Catalog) -> None:
    """Refuse patterns that match no component that exists, since they are misspelt.

    They need not match a cell of the plan: flags may have left it out.
    """
    for number, exception in enumerate(plan.exceptions, 1):
        for kind, patterns, specs in (
            ("method", exception.methods, plan.method_labels()),
            ("dataset", exception.datasets, plan.datasets),
            ("backbone", exception.backbones, plan.backbones),
        ):
            known = [*specs, *catalog.entries(cast(Kind, kind))]
            for pattern in patterns:
                # Fixed options and rounding (hash:hash_seed=1, full+int8) are not listed.
                name = re.split("[:+]", pattern, maxsplit=1)[0]
                if not any(fnmatchcase(one, form) for one in known for form in (pattern, name)):
                    raise PlanError(
                        f"except {number} ({exception.describe()}): "
                        + unknown_name(kind, pattern, known)
                    )


def budgets_of(method: Selection, plan: Plan) -> tuple[str, ...]:
    """The plan's budgets, or 100 % for a method of fixed size."""
    return (FULL,) if cast(type[Method], method.component).fixed_size else plan.budgets


def _component_spec(spec: str, component: Component, tuned: tuple[str, ...] = ()) -> ComponentSpec:
    return ComponentSpec(
        spec=spec,
        name=component.name,
        options=component.options(),
        version=component.version,
        tuned=tuned,
    )


def tuning_seed(plan: Plan, data: DataSpec) -> int:
    """As :attr:`Cell.tuning_seed`."""
    return _fold_seed(plan, data, "tuning")


def finalist_seeds(plan: Plan, data: DataSpec) -> list[int]:
    """As :meth:`Cell.finalist_seeds`."""
    return [_fold_seed(plan, data, "finalist", str(k)) for k in range(plan.finalist_seeds)]


def final_seeds(plan: Plan, data: DataSpec) -> list[int]:
    """As :meth:`Cell.final_seeds`."""
    return [_fold_seed(plan, data, "final", str(k)) for k in range(plan.seeds)]


def _fold_seed(plan: Plan, data: DataSpec, *purpose: str) -> int:
    """A seed that depends on the plan's seed, the fold and the purpose."""
    fold = (f"fold {data.fold + 1} of {data.folds}",) if data.folds > 1 else ()
    return _hashed_seed(str(plan.seed), *fold, *purpose)


def _hashed_seed(*parts: str) -> int:
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return int.from_bytes(digest[:4], "big")
