"""Ways to search with PEP: steps, seconds and AUC at several budgets, several seeds each.

``python -m benchmarks.pep_search --dataset anime --out study.json``. One search per variant and
seed passes all budgets on its way; what each leaves is trained from its initial values and scored
on the **validation** rows (a study of defaults is a choice, and choices read no test rows).
Differences to the first variant come with the suite's own interval and verdict.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import loky
import numpy as np

from benchmarks.studies import new_task, open_dataset
from pepbench.analysis.significance import compare, verdict
from pepbench.method import MaskedTable, PlainTable, xavier_uniform
from pepbench.pep import PEP
from pepbench.plan import Plan
from pepbench.units import Budget

INIT = -8.0
STALLS_AT = 15_000
VARIANTS: dict[str, dict[str, Any]] = {
    "standard": {"max_steps": STALLS_AT},
    "fast": {"mode": "fast", "max_steps": STALLS_AT},
    "fast, warm-up 3000, rate 10, target 5": {
        "mode": "fast",
        "warmup_steps": 3000,
        "threshold_rate": 10.0,
        "threshold_target": 5.0,
        "max_steps": 6000,
    },
    "fast, warm-up 1000, rate 10, target 5": {
        "mode": "fast",
        "warmup_steps": 1000,
        "threshold_rate": 10.0,
        "threshold_target": 5.0,
        "max_steps": 4000,
    },
    "fast, warm-up 2000, rate 30, target 10": {
        "mode": "fast",
        "warmup_steps": 2000,
        "threshold_rate": 30.0,
        "threshold_target": 10.0,
        "max_steps": 4000,
    },
    "fast, warm-up 3000, rate 30, target 10": {
        "mode": "fast",
        "warmup_steps": 3000,
        "threshold_rate": 30.0,
        "threshold_target": 10.0,
        "max_steps": 5000,
    },
}


def study(name: str, variant: str, seed: int, budgets: tuple[str, ...]) -> list[dict[str, Any]]:
    """All budgets of one variant and seed; scores as arrays."""
    splits, plan = open_dataset(name), Plan()
    task = new_task(splits, plan, seed)
    method = PEP(init=INIT, **VARIANTS[variant])
    initial = xavier_uniform(splits.fields.n_features, plan.dim)
    sizes = {Budget(text).parameters(initial.numel()): text for text in budgets}
    rows = []
    start = time.perf_counter()
    searches = method.search(task, initial, list(sizes))
    for size in sorted(sizes, reverse=True):
        found = next(searches)
        searched = time.perf_counter() - start
        fitted = task.train(task.model(MaskedTable(initial, found.mask)))
        start += time.perf_counter() - start - searched
        rows.append(
            {
                "variant": variant,
                "seed": seed,
                "budget": sizes[size],
                "steps": found.steps,
                "trimmed": found.trimmed,
                "search_seconds": searched,
                "auc": fitted.validation.auc,
                "scores": task.logits(fitted.model, splits.validation),
            }
        )
    return rows


def full_training_steps(name: str, seed: int) -> int:
    """Steps that training the full table takes until it stops."""
    splits, plan = open_dataset(name), Plan()
    task = new_task(splits, plan, seed)
    table = PlainTable(splits.fields.n_features, plan.dim)
    return len(task.train(task.model(table)).curve) * task.steps_per_epoch


def summary(rows: Iterable[dict[str, Any]], labels: np.ndarray) -> list[dict[str, Any]]:
    """A line for each variant and budget, with its difference to the first variant."""
    rows = list(rows)
    lines = []
    for budget in dict.fromkeys(row["budget"] for row in rows):
        reference = None
        for variant in dict.fromkeys(row["variant"] for row in rows):
            mine = [row for row in rows if (row["variant"], row["budget"]) == (variant, budget)]
            scores = np.stack([row["scores"] for row in mine])
            reference = scores if reference is None else reference
            against = compare(labels, scores, reference)
            lines.append(
                {
                    "budget": budget,
                    "variant": variant,
                    "seeds": len(mine),
                    "auc": float(np.mean([row["auc"] for row in mine])),
                    "steps": float(np.mean([row["steps"] for row in mine])),
                    "search_seconds": float(np.mean([row["search_seconds"] for row in mine])),
                    "trimmed": sum(row["trimmed"] for row in mine),
                    "delta": against.difference,
                    "delta_low": against.low,
                    "delta_high": against.high,
                    "verdict": verdict(against.difference, against.p, against.p_equivalent),
                }
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="ml-100k")
    parser.add_argument("--budgets", default="50%,20%,10%,5%,1%")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument(
        "--variants", nargs="+", default=list(VARIANTS), choices=list(VARIANTS), metavar="NAME"
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, help="write the JSON document there, not to stdout")
    arguments = parser.parse_args()
    budgets = tuple(arguments.budgets.split(","))
    seeds = range(1, arguments.seeds + 1)
    with loky.ProcessPoolExecutor(max_workers=arguments.jobs) as pool:
        full = [pool.submit(full_training_steps, arguments.dataset, seed) for seed in seeds]
        futures = [
            pool.submit(study, arguments.dataset, variant, seed, budgets)
            for seed in seeds
            for variant in arguments.variants
        ]
        rows = [row for future in futures for row in future.result()]
        document = {
            "dataset": arguments.dataset,
            "full_training_steps": float(np.mean([future.result() for future in full])),
            "lines": summary(rows, open_dataset(arguments.dataset).validation.labels),
        }
    text = json.dumps(document, indent=1)
    if arguments.out:
        arguments.out.write_text(text + "\n")
    else:
        print(text)


if __name__ == "__main__":
    main()
