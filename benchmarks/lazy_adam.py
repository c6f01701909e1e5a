"""Row-wise against dense optimizers: the suite's own equivalence test, on validation rows.

``python -m benchmarks.lazy_adam --datasets anime,synthetic --json``. The full table is trained with
each optimizer and the same seeds; ``lazy-adam`` stands in for ``adam`` on large tables, so the two
must be shown equivalent. A study of defaults is a choice, and choices read no test rows.
"""

from __future__ import annotations

import argparse
import json
import time
from typing import Any

import numpy as np
import torch

from benchmarks.studies import new_task, open_dataset
from pepbench.analysis.significance import compare, verdict
from pepbench.component import OptimizerKind
from pepbench.method import PlainTable
from pepbench.plan import Plan

KINDS: tuple[OptimizerKind, ...] = ("adam", "lazy-adam")


def trained(name: str, kind: OptimizerKind, seeds: int) -> dict[str, Any]:
    """Scores (seeds, n) on the validation rows, and how long the trainings took."""
    splits, plan = open_dataset(name), Plan(optimizer=kind)
    scores, epochs = [], []
    start = time.perf_counter()
    for seed in range(1, seeds + 1):
        task = new_task(splits, plan, seed)
        fitted = task.train(task.model(PlainTable(splits.fields.n_features, plan.dim)))
        scores.append(task.logits(fitted.model, splits.validation))
        epochs.append(len(fitted.curve))
    return {
        "scores": np.stack(scores),
        "epochs": float(np.mean(epochs)),
        "seconds": time.perf_counter() - start,
    }


def study(name: str, seeds: int) -> dict[str, Any]:
    """The comparison on one data set, lazy minus dense."""
    labels = np.asarray(open_dataset(name).validation.labels)
    dense, lazy = (trained(name, kind, seeds) for kind in KINDS)
    result = compare(labels, lazy["scores"], dense["scores"])
    return {
        "dataset": name,
        "seeds": seeds,
        "epochs": dict(zip(KINDS, (dense["epochs"], lazy["epochs"]), strict=True)),
        "seconds": dict(zip(KINDS, (dense["seconds"], lazy["seconds"]), strict=True)),
        "difference": result.difference,
        "low": result.low,
        "high": result.high,
        "p_equivalent": result.p_equivalent,
        "verdict": verdict(result.difference, result.p, result.p_equivalent),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", default="anime,synthetic")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--json", action="store_true", help="print one JSON document")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    lines = [study(name, arguments.seeds) for name in arguments.datasets.split(",")]
    if arguments.json:
        print(json.dumps(lines, indent=2))
        return
    for line in lines:
        print(
            f"{line['dataset']}: lazy minus dense {line['difference']:+.5f} "
            f"[{line['low']:+.5f}, {line['high']:+.5f}], p(TOST) {line['p_equivalent']:.2g}, "
            f"{line['verdict']}; epochs {line['epochs']}"
        )


if __name__ == "__main__":
    main()
