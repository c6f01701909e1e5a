"""What PEP's schedules cost and give: AUC, steps and CPU time of a fit at several budgets.

``python -m benchmarks.pep_search --dataset anime`` prints a table; ``--shapes`` takes the drawn
data sets of :data:`SHAPES` instead, from which the defaults of ``schedule=epochs`` come. One search
per method and seed passes all budgets on its way; a fit's time is that of the search so far and of
the training of what it leaves. Scores are of **validation** rows unless ``--test`` is given, since
a study of defaults is a choice, and choices read no test rows.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple, cast

import loky
import pandas as pd

from benchmarks.studies import new_task, open_dataset
from pepbench.catalog import Catalog
from pepbench.method import Method, PlainTable
from pepbench.metrics import auc
from pepbench.plan import Plan
from pepbench.units import FULL, Budget

REFERENCE = "full"
EPOCHS = "pep:schedule=epochs"
FARTHER = f"{EPOCHS}:threshold_target=10"
METHODS = ("magnitude", EPOCHS)
VARIANTS = (
    *METHODS,
    FARTHER,
    f"{FARTHER}:retrain=initial",
    f"{FARTHER}:search_epochs=8",
    f"{FARTHER}:threshold_l2=10",
)
"""What the drawn data sets are to choose from."""


class Shape(NamedTuple):
    """A data set, and how a factorisation machine is trained on it."""

    dataset: str
    batch_size: int
    dim: int = 16


SHAPES = (
    Shape("synthetic:seed=1", 1024),
    Shape("synthetic:rows=60000:features=3000:zipf=1.1:seed=2", 512),
    Shape("synthetic:rows=150000:features=8000:fields=12:zipf=1.2:seed=3", 4096),
    Shape("synthetic:rows=120000:features=30000:fields=20:zipf=1.05:seed=4", 1024),
)
"""Drawn data sets that differ in rows, features, fields, Zipf exponent and batch size."""


def fits(
    shape: Shape, spec: str, seed: int, budgets: tuple[str, ...], test: bool
) -> list[dict[str, Any]]:
    """A line for each budget of one method and seed."""
    splits, plan = open_dataset(shape.dataset), Plan(dim=shape.dim, batch_size=shape.batch_size)
    # A process is slower in its first steps, which load compiled code.
    first = new_task(splits, plan, seed)
    first.train(first.model(PlainTable(splits.fields.n_features, plan.dim)), epochs=1)
    task = new_task(splits, plan, seed)
    method = cast(Method, Catalog().select("method", spec).default())
    rows = splits.open_test() if test else splits.validation
    sizes = [Budget(text).parameters(task.full_parameters) for text in budgets]
    lines = []
    results = method.fit_many(task, sizes) if method.shares_search else None
    for text, size in zip(budgets, sizes, strict=True):
        fitted = next(results) if results else method.fit(task, size)
        lines.append(
            {
                "dataset": shape.dataset,
                "batch_size": shape.batch_size,
                "method": spec,
                "budget": text,
                "seed": seed,
                "auc": auc(rows.labels, task.logits(fitted.model, rows)),
                "steps": task.samples / shape.batch_size,
                "cpu": sum(cpu for _, cpu in task.clock.seconds.values()),
                "search_cpu": task.clock.seconds.get("search", (0.0, 0.0))[1],
                "search_steps": fitted.notes.get("search_steps", 0),
                "trimmed": fitted.notes.get("trimmed", False),
                "epochs": len(fitted.curve),
            }
        )
    return lines


def table(lines: list[dict[str, Any]]) -> pd.DataFrame:
    """Means over seeds: ΔAUC to the full table; steps and CPU time as multiples of its fit's."""
    frame = pd.DataFrame(lines)
    own = ["dataset", "batch_size", "seed"]
    full = frame[frame.method == REFERENCE][[*own, "auc", "steps", "cpu"]]
    frame = frame.merge(full, on=own, suffixes=("", "_full"))
    frame["delta"] = frame.auc - frame.auc_full
    frame["steps_ratio"] = frame.steps / frame.steps_full
    frame["cpu_ratio"] = frame.cpu / frame.cpu_full
    columns = ["auc", "delta", "steps_ratio", "cpu_ratio", "search_steps", "trimmed"]
    cell = ["dataset", "batch_size", "budget", "method"]
    return frame.groupby(cell, sort=False)[columns].mean().round(4).reset_index()


def study(
    shapes: tuple[Shape, ...],
    methods: list[str],
    seeds: int,
    budgets: tuple[str, ...],
    test: bool,
    jobs: int,
) -> Iterator[dict[str, Any]]:
    """All lines, the full table's among them."""
    with loky.ProcessPoolExecutor(max_workers=jobs) as pool:
        futures = [
            pool.submit(fits, shape, spec, seed, (FULL,) if spec == REFERENCE else budgets, test)
            for shape in shapes
            for seed in range(1, seeds + 1)
            for spec in (REFERENCE, *methods)
        ]
        for future in futures:
            yield from future.result()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--batch-size", type=int, default=Plan().batch_size)
    parser.add_argument("--dim", type=int, default=16)
    parser.add_argument("--shapes", action="store_true", help="take the drawn data sets instead")
    parser.add_argument("--methods", nargs="+", metavar="SPEC")
    parser.add_argument("--budgets", default="50%,20%,10%,5%,1%")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--test", action="store_true", help="score test rows")
    parser.add_argument("--jobs", type=int, default=1)
    parser.add_argument("--out", type=Path, help="write all fits there, as JSON")
    given = parser.parse_args()
    shapes = SHAPES if given.shapes else (Shape(given.dataset, given.batch_size, given.dim),)
    budgets = tuple(given.budgets.split(","))
    methods = given.methods or list(VARIANTS if given.shapes else METHODS)
    lines = list(study(shapes, methods, given.seeds, budgets, given.test, given.jobs))
    if given.out:
        given.out.write_text(json.dumps(lines, indent=1) + "\n")
    print(table(lines).to_markdown(index=False))


if __name__ == "__main__":
    main()
