"""The cells of a plan: data set × backbone × method × budget, ready to be tuned."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import cast

from pepbench.budget import FULL, Budget
from pepbench.catalog import Catalog, Selection
from pepbench.component import Component
from pepbench.data.dataset import Dataset
from pepbench.data.manage import open_table
from pepbench.data.splits import Splits, open_splits
from pepbench.method import Method
from pepbench.plan import Plan
from pepbench.records import ComponentSpec, DataSpec, Role, TrainingSpec, TrialSpec

DEFAULT_LEARNING_RATE = 1e-3
DEFAULT_L2 = 1e-5


@dataclass(frozen=True, eq=False)
class Cell:
    """One question of the plan."""

    data: DataSpec
    backbone: Selection
    method: Selection
    budget: str
    budget_parameters: int
    full_parameters: int
    splits: Splits
    plan: Plan

    @property
    def name(self) -> tuple[str, str, str, str]:
        """Data set, backbone, method, budget: as records and tables name it."""
        return self.data.spec, self.backbone.spec, self.method.spec, self.budget

    def seed(self, purpose: str) -> int:
        """A seed that depends on the cell and the plan's seed only."""
        return _hashed_seed(str(self.plan.seed), purpose, *self.name)

    def trial(
        self, method: Method, learning_rate: float, l2: float, seed: int, role: Role
    ) -> TrialSpec:
        """The spec of one trial of this cell."""
        plan = self.plan
        return TrialSpec(
            data=self.data,
            backbone=_component_spec(self.backbone.spec, self.backbone.default()),
            method=_component_spec(self.method.spec, method),
            budget=self.budget,
            budget_parameters=self.budget_parameters,
            full_parameters=self.full_parameters,
            dim=plan.dim,
            training=training_spec(plan, learning_rate, l2),
            seed=seed,
            role=role,
            device=plan.device,
        )

    def most_steps(self) -> int:
        """An upper bound on the training steps of all trials and final runs."""
        method = cast(Method, self.method.default())
        per_epoch = -(-len(self.splits.train.labels) // self.plan.batch_size)
        fits = self.plan.trials + self.plan.seeds
        return fits * method.most_steps(per_epoch, self.plan.epochs)


def training_spec(plan: Plan, learning_rate: float, l2: float) -> TrainingSpec:
    """The settings that all methods share."""
    return TrainingSpec(
        learning_rate=learning_rate,
        l2=l2,
        batch_size=plan.batch_size,
        epochs=plan.epochs,
        patience=plan.patience,
        clip=plan.clip,
        optimizer=plan.optimizer,
        precision=plan.precision,
    )


def tuning_seed(plan: Plan) -> int:
    """Seed of every tuning trial: the same initial values and batch order for all methods."""
    return _hashed_seed(str(plan.seed), "tuning")


def final_seeds(plan: Plan) -> list[int]:
    """Seeds of the final runs, the same for every cell, none used in tuning."""
    return [_hashed_seed(str(plan.seed), "final", str(k)) for k in range(plan.seeds)]


def expand(plan: Plan, catalog: Catalog) -> list[Cell]:
    """All cells of a plan, in its order.

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
    cells: list[Cell] = []
    for dataset in datasets:
        table = open_table(cast(Dataset, dataset.default()))
        splits = open_splits(table, plan.split_seed)
        full = splits.fields.n_features * plan.dim
        data = DataSpec(
            spec=dataset.spec,
            table_fingerprint=table.fingerprint,
            split_seed=plan.split_seed,
            split_fingerprint=splits.fingerprint,
        )
        cells += [
            Cell(
                data=data,
                backbone=backbone,
                method=method,
                budget=budget,
                budget_parameters=Budget(budget).parameters(full),
                full_parameters=full,
                splits=splits,
                plan=plan,
            )
            for backbone in backbones
            for method in methods
            for budget in budgets_of(method, plan)
        ]
    return cells


def budgets_of(method: Selection, plan: Plan) -> tuple[str, ...]:
    """The plan's budgets, or 100 % for a method that comes in one size."""
    return (FULL,) if cast(type[Method], method.component).fixed_size else plan.budgets


def _component_spec(spec: str, component: Component) -> ComponentSpec:
    return ComponentSpec(
        spec=spec, name=component.name, options=component.options(), version=component.version
    )


def _hashed_seed(*parts: str) -> int:
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return int.from_bytes(digest[:4], "big")
