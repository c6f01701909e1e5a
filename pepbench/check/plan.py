"""What a check runs: a plan without tuning, so that two runs differ by the code alone."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pepbench.catalog import Catalog
from pepbench.harness.cells import Cell, expand, final_seeds
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
"""One plain table, one of each kind of compression, and PEP: a minute of one core.

With half the rows, a loss of 0.003 was found in 76 to 94 % of checks only (docs/check.md).
"""


def check_plan(path: Path | None, plugins: Sequence[Path] = ()) -> Plan:
    """The plan to check: a file's, or the built-in one; families of methods are spelt out.

    A check tunes nothing: every method keeps the options that its spec fixes and the defaults of
    the others. ``trials`` is therefore always 1.

    Raises
    ------
    PlanError
        As :meth:`Plan.load`.
    """
    plan = BUILT_IN if path is None else Plan.load(path, {})
    methods = Catalog(tuple(plugins)).ungrouped("method", plan.methods)
    return plan.model_copy(update={"methods": methods, "trials": 1})


def cells_of(plan: Plan, plugins: Sequence[Path] = ()) -> list[Cell]:
    """The plan's cells; built-in data sets that are missing from the cache are made.

    Raises
    ------
    PlanError, DataError
        As :func:`pepbench.harness.cells.expand`.
    """
    return expand(plan, Catalog(tuple(plugins)))


def trials_of(cell: Cell) -> list[TrialSpec]:
    """The final runs of a cell with default options, one for each of the plan's seeds."""
    return [cell.trial(cell.default(), seed, "final") for seed in final_seeds(cell.plan)]
