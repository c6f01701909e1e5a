"""The cells of a plan: data set × fold × backbone × method × budget, ready to be tuned.

Long because the rows of a fold, which are encoded when a cell first needs them, are defined beside
the cells that share them.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import cast

from pepbench.backbones.backbone import Backbone
from pepbench.catalog import Catalog, Kind, Selection
from pepbench.component import Component
from pepbench.data.dataset import Dataset
from pepbench.data.manage import open_table
from pepbench.data.split_schemes import Fold
from pepbench.data.splits import Splits, split_facts
from pepbench.data.table import Table
from pepbench.errors import PlanError, unknown_name
from pepbench.harness.trial_seeds import (
    common_seed,
    final_seeds,
    finalist_seeds,
    fold_seed,
    tuning_seed,
)
from pepbench.method import Method
from pepbench.plan import Plan
from pepbench.records import (
    DEFAULT_L2,
    DEFAULT_LEARNING_RATE,
    DRAWN,
    CellName,
    ComponentSpec,
    DataSpec,
    Place,
    PruningSpec,
    Role,
    TrainingSpec,
    TrialSpec,
)
from pepbench.tables.fields import Fields
from pepbench.units import FULL, Budget

SMALL_ROWS = 100_000
"""Folds of tables with at most so many rows are encoded before the first trial: that takes less
than a second, and what is wrong with one of them is then said at once."""


@dataclass(frozen=True)
class TrialSettings:
    """What tuning chooses for a trial: a point of a cell's search space."""

    method: Method
    backbone: Backbone
    learning_rate: float
    l2: float
    batch_size: int


@dataclass(frozen=True, eq=False)
class PlannedFold:
    """A fold of a data set, which all its cells share; encoded when it is first needed."""

    dataset: str
    """As the plan names it."""
    table: Table
    split_seed: int
    fold: Fold
    source: str
    """Origin of the rows."""

    @cached_property
    def splits(self) -> Splits:
        """Its rows may be evicted from the cache again, its fields and counts not."""
        return split_facts(self.table, self.split_seed, self.fold)

    @property
    def known(self) -> bool:
        """Whether :attr:`splits` is there already."""
        return "splits" in vars(self)

    @cached_property
    def data(self) -> DataSpec:
        """As records name it."""
        return DataSpec(
            spec=self.dataset,
            table_fingerprint=self.table.fingerprint,
            split_seed=self.split_seed,
            split_fingerprint=self.splits.fingerprint,
            fold=self.fold.number,
            folds=self.fold.of,
            source=self.source,
            training_rows=self.splits.meta.n_rows["train"],
            split_scheme=self.table.meta.split_scheme,
        )


@dataclass(frozen=True, eq=False)
class Cell:
    """A cell of a plan in one fold: data set × backbone × method × budget."""

    rows: PlannedFold
    backbone: Selection
    method: Selection
    budget: str
    plan: Plan
    """With the exceptions for this cell applied."""
    neighbour: CellName | None = None
    """The cell of the next larger budget in the same fold; its best trial is tried here too."""

    @property
    def name(self) -> CellName:
        """As records and tables name it."""
        return CellName(self.rows.dataset, self.backbone.spec, self.method.spec, self.budget)

    @property
    def fold(self) -> Fold:
        """Which fold it is in."""
        return self.rows.fold

    @property
    def data(self) -> DataSpec:
        """The fold's rows, as records name them."""
        return self.rows.data

    @property
    def splits(self) -> Splits:
        """The fold's rows."""
        return self.rows.splits

    @property
    def full_parameters(self) -> int:
        """Size of the fold's full table."""
        return self.splits.fields.n_features * self.plan.dim

    @property
    def budget_parameters(self) -> int:
        """The budget in the fold, at most its full table.

        Full tables of different folds differ a little in size; :func:`expand` refuses budgets above
        that of the first.
        """
        return Budget(self.budget).within(self.full_parameters)

    @property
    def place(self) -> Place:
        """Its name and its fold: what no other cell of a run has."""
        return self.name, self.fold.number

    def __str__(self) -> str:
        """The cell as shown in progress messages."""
        return f"{self.name} {self.fold}" if self.fold.of > 1 else str(self.name)

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
        return common_seed(self.plan, self.fold, *self.name[:2])

    @property
    def tuning_seed(self) -> int:
        """Of every tuning trial of a fold: equal initial values and batches for all methods."""
        return tuning_seed(self.plan, self.fold)

    def finalist_seeds(self) -> list[int]:
        """Further seeds of finalists, the same for every cell of a fold, none used elsewhere."""
        return finalist_seeds(self.plan, self.fold)

    def final_seeds(self) -> list[int]:
        """Seeds of the final runs, the same for every cell of a fold, none used elsewhere."""
        return final_seeds(self.plan, self.fold)

    def _seed(self, *purpose: str) -> int:
        return fold_seed(self.plan, self.fold, *purpose)

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
        objective=plan.objective,
    )


def family(cell: Cell) -> tuple[str, str, str, int]:
    """Data set, backbone, method, fold: cells that agree in these may share searches and trials."""
    return *cell.name[:3], cell.fold.number


def expand(plan: Plan, catalog: Catalog) -> list[Cell]:
    """All cells of a plan, in its order; of a data set fold by fold.

    The first fold of each data set is encoded, and all folds of small ones.

    Raises
    ------
    PlanError
        For unknown names, illegal options and budgets above the first fold's full table.
    DataError
        For data sets that are not in the cache, or whose rows allow fewer folds.
    """
    # Every name is checked before the first data set is opened, which may take a while.
    methods = [catalog.select("method", spec) for spec in plan.methods]
    backbones = [catalog.select("backbone", spec) for spec in plan.backbones]
    datasets = [catalog.select("dataset", spec) for spec in plan.datasets]
    for selection in (*methods, *backbones):
        selection.default()
    _refuse_unknown_names(plan, catalog)
    for dataset in datasets:
        if plan.objective == "gauc" and cast(Dataset, dataset.default()).user_field is None:
            raise PlanError(
                f"objective gauc: data set {dataset.spec!r} declares no users; take auc or logloss"
            )
    cells: list[Cell] = []
    for dataset in datasets:
        known = cast(Dataset, dataset.default())
        table = open_table(known)
        source = DRAWN if known.generated else known.source or known.name
        folds = [
            PlannedFold(dataset.spec, table, plan.split_seed, Fold(number, plan.folds), source)
            for number in plan.folds_to_run
        ]
        for rows in folds if table.meta.n_rows <= SMALL_ROWS else folds[:1]:
            _ = rows.splits
        fields = folds[0].splits.fields
        for backbone in backbones:
            _refuse_unread_inputs(backbone, dataset.spec, fields)
        for rows, backbone, method in itertools.product(folds, backbones, methods):
            cells += _of_method(plan, rows, backbone, method, fields.n_features)
    if not cells:
        raise PlanError("except leaves out all cells; narrow its patterns")
    return cells


def _of_method(
    plan: Plan, rows: PlannedFold, backbone: Selection, method: Selection, n_features: int
) -> list[Cell]:
    """The cells of one fold, backbone and method; features are those of the first fold."""
    cells = [
        Cell(rows, backbone, method, budget, own)
        for budget in budgets_of(method, plan)
        if (own := plan.of_cell(rows.dataset, backbone.spec, method.spec, budget)) is not None
    ]
    budgets, full = [Budget(cell.budget) for cell in cells], n_features * plan.dim
    for budget in budgets:
        budget.refuse_lost_sign(n_features, full)
    sizes = [budget.parameters(full) for budget in budgets]
    return _with_neighbours(cells, sizes) if plan.warm_start else cells


def _with_neighbours(cells: list[Cell], sizes: list[int]) -> list[Cell]:
    """The cells, largest budget first, each with the name of the one before it."""
    order = sorted(range(len(cells)), key=lambda n: -sizes[n])
    ordered = [cells[n] for n in order]
    neighbours: list[CellName | None] = [None, *(cell.name for cell in ordered)]
    return [replace(cell, neighbour=name) for cell, name in zip(ordered, neighbours, strict=False)]


def _refuse_unread_inputs(backbone: Selection, dataset: str, fields: Fields) -> None:
    """Refuse a backbone that would leave fields of a data set unread."""
    takes = cast(type[Backbone], backbone.component).takes
    for kind, names in (("dense", fields.dense), ("multi-valued", tuple(fields.bags))):
        if names and kind not in takes:
            raise PlanError(
                f"backbone {backbone.spec} takes no {kind} fields, and {dataset} has "
                f"{', '.join(names)}; if its module reads them, let the class say "
                f'takes = ("{kind}",)'
            )


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
