"""The plan that a check runs: without tuning, so that only the code differs between two runs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pepbench.catalog import Catalog
from pepbench.errors import PlanError
from pepbench.harness.cells import Cell
from pepbench.plan import Plan
from pepbench.records import TrialSpec

BUILT_IN = Plan(
    methods=("full", "uniform", "hash", "mde", "magnitude", "pep:max_steps=400"),
    datasets=("synthetic:rows=120000:features=400",),
    budgets=("20%",),
    dim=16,
    trials=1,
    seeds=5,
    epochs=4,
    patience=3,
    batch_size=256,
)
"""The plain table, one method of each kind of compression, and PEP; takes a minute on one core.

With half the rows, only 76 to 94 % of checks found a loss of 0.003 (docs/check.md).
"""


def check_plan(path: Path | None, plugins: Sequence[Path] = ()) -> Plan:
    """The plan in a file, or the built-in one, with families of methods expanded.

    A check does not tune: methods use the options that the plan fixes, and defaults otherwise.
    ``trials`` is therefore always 1.

    Raises
    ------
    PlanError
        As :meth:`Plan.load`, and for plans with folds.
    """
    plan = BUILT_IN if path is None else Plan.load(path, {})
    if plan.folds > 1:
        raise PlanError(
            f"{path}: folds = {plan.folds}: a check compares one split; write folds = 1"
        )
    plan = plan.with_families_expanded(Catalog(tuple(plugins)))
    return plan.model_copy(update={"trials": 1, "finalists": 1})


def trials_of(cell: Cell) -> list[TrialSpec]:
    """The final runs of a cell with default options, one for each of the plan's seeds."""
    return [cell.trial(cell.default(), seed, "final") for seed in cell.final_seeds()]
