"""Whether verdicts over folds hold their level: the whole pipeline on fresh drawn data sets.

Each study draws a data set, splits it into folds, tunes, trains finalists and final runs with the
engine as it is, and compares

* **itself**: the full table with itself, tuned and trained anew with another plan seed;
* **equal**: two methods that are equal by symmetry, in one plan;
* **worse**: with ``--one-source``, the full table with a mask of 30 % of it. All studies draw their
  rows from one truth, so that the mean over all is the true expected difference, nearly.

Any difference found in the first two is a false one; in the third, intervals should cover the true
one. Both, and power after a shift of all folds by a known difference, are counted for each
candidate standard error. ``--studies`` of the same ``--out`` file are added up, so that a
calibration can be run in pieces.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from tabulate import tabulate

import pepbench
from pepbench.analysis.delong import delong_test
from pepbench.analysis.runs import open_runs

Floats = NDArray[np.float64]

ROWS, FEATURES = 3000, 150
LEVELS = (0.05, 0.01)
SHIFTS = (0.001, 0.002, 0.005, 0.01, 0.02)
"""True differences at which power is counted."""
PLUGIN = Path(__file__).with_name("calibration_plugin.py")
PAIRS: dict[str, dict[str, tuple[tuple[int, str], tuple[int, str]]]] = {
    "synthetic": {
        "itself": ((0, "full"), (1, "full")),
        "equal": ((0, "first-mask"), (0, "last-mask")),
    },
    "one-source": {"worse": ((0, "full"), (0, "first-mask"))},
}
"""For each data set by name: two members, each the number of its plan and its method."""
RESULTS = Path(__file__).with_name("pipeline-calibration.jsonl")
"""Differences of all studies so far."""


class Studies(NamedTuple):
    """A pair in all studies."""

    differences: Floats
    """(studies, J) of test AUC."""
    row_variances: Floats
    """(studies, J), by DeLong, Delong & Clarke-Pearson."""


def _spread(found: Studies) -> tuple[Floats, Floats]:
    folds = found.differences.shape[1]
    error = found.differences.std(1, ddof=1) / np.sqrt(folds)
    return error, np.full(len(error), folds - 1.0)


def _nadeau_bengio(found: Studies) -> tuple[Floats, Floats]:
    error, freedom = _spread(found)
    folds = found.differences.shape[1]
    return error * np.sqrt(1 + folds * n_test_to_n_train(folds)), freedom


def _rows_and_rest(found: Studies) -> tuple[Floats, Floats]:
    folds = found.differences.shape[1]
    rows = found.row_variances.mean(1)
    total = np.maximum(found.differences.var(1, ddof=1), rows)
    # Satterthwaite: the variance over rows is known as if from infinitely many folds.
    rest = np.maximum(total - rows, 1e-3 * total)
    return np.sqrt(total / folds), (folds - 1) * np.square(total / rest)


def n_test_to_n_train(folds: int) -> float:
    """Of a fold, a tenth of all rows validating."""
    return 1 / folds / (0.9 - 1 / folds)


STANDARD_ERRORS: dict[str, Callable[[Studies], tuple[Floats, Floats]]] = {
    "s/√J": _spread,
    "Nadeau & Bengio": _nadeau_bengio,
    "rows and rest": _rows_and_rest,
}
"""By name: standard errors (studies,) and degrees of freedom (studies,)."""


def plan(dataset: str, number: int, folds: int, seed: int, methods: list[str]) -> dict[str, Any]:
    """The plan of one run of a study."""
    return {
        "datasets": [f"{dataset}:rows={ROWS}:features={FEATURES}:dim=4:seed={number + 1}"],
        "methods": methods,
        "budgets": ["30%"],
        "dim": 4,
        "trials": 4,
        "finalists": 2,
        "finalist_seeds": 1,
        "sampler": "halton",
        "seeds": 1,
        "epochs": 12,
        "patience": 3,
        "batch_size": 256,
        "folds": folds,
        "split_seed": number,
        "seed": seed,
    }


def study(task: tuple[str, int, int]) -> dict[str, dict[str, list[float]]]:
    """Differences in each fold of a study and their variances over rows, by pair."""
    dataset, number, folds = task
    members = sorted({member for pair in PAIRS[dataset].values() for member in pair})
    tests: list[dict[tuple[str, int], Floats]] = []
    labels: dict[int, Floats] = {}
    for of_plan, group in groupby(members, itemgetter(0)):
        wanted = plan(dataset, number, folds, 2 * number + of_plan, [name for _, name in group])
        with tempfile.TemporaryDirectory() as folder:
            pepbench.run(wanted, out=folder, plugins=[PLUGIN])
            runs = open_runs([Path(folder)])
            finals = [run for run in runs.records if run.spec.role == "final"]
            tests.append(
                {
                    (run.spec.method.name, run.spec.data.fold): runs.load_predictions(run.key)
                    for run in finals
                }
            )
            for run in finals:
                labels[run.spec.data.fold] = runs.load_labels(run.spec.data.split_fingerprint)
    found = {}
    for pair, ((plan_a, a), (plan_b, b)) in PAIRS[dataset].items():
        compared = [
            delong_test(labels[fold], tests[plan_a][a, fold], tests[plan_b][b, fold])
            for fold in range(folds)
        ]
        found[pair] = {
            "differences": [test.difference for test in compared],
            "row_variances": [test.variance for test in compared],
        }
    return found


def rates(found: Studies, truth: float) -> list[dict[str, Any]]:
    """Rejections of the true difference, and power, of each standard error."""
    means = found.differences.mean(1) - truth
    rows = []
    for name, estimate in STANDARD_ERRORS.items():
        error, freedom = estimate(found)
        for level in LEVELS:
            bound = stats.t.isf(level / 2, freedom) * error
            rejected = np.abs(means) > bound
            low, high = stats.binomtest(int(rejected.sum()), len(means)).proportion_ci()
            row: dict[str, Any] = {
                "standard error": name,
                "level": level,
                "rejected": f"{rejected.mean():.3f} ({low:.3f} to {high:.3f})",
                "half width": f"{np.mean(bound):.4f}",
            }
            for shift in SHIFTS:
                row[f"power at {shift:g}"] = f"{(np.abs(means + shift) > bound).mean():.2f}"
            rows.append(row)
    return rows


def main() -> None:
    """Run further studies, and print what all of them show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--studies", type=int, default=20, help="further ones")
    parser.add_argument("--one-source", action="store_true", help="rows of one truth")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    dataset = "one-source" if arguments.one_source else "synthetic"
    kind = {"dataset": dataset, "folds": arguments.folds}
    first = sum(kind.items() <= line.items() for line in _lines(arguments.out))
    logging.disable(logging.WARNING)
    tasks = [(dataset, i, arguments.folds) for i in range(first, first + arguments.studies)]
    with (
        ProcessPoolExecutor(arguments.jobs) as pool,
        arguments.out.open("a", encoding="utf-8") as file,
    ):
        for found in pool.map(study, tasks):
            file.write(json.dumps({**kind, **found}) + "\n")
            file.flush()
    for dataset, pairs in PAIRS.items():
        lines = [line for line in _lines(arguments.out) if line["dataset"] == dataset]
        for pair in pairs:
            for folds in sorted({line["folds"] for line in lines}):
                of_pair = [line[pair] for line in lines if line["folds"] == folds]
                found = Studies(
                    np.array([one["differences"] for one in of_pair]),
                    np.array([one["row_variances"] for one in of_pair]),
                )
                # It depends on J, since more folds leave more rows for training.
                truth = float(found.differences.mean()) if dataset == "one-source" else 0.0
                print(f"\n{pair}, J = {folds}, {len(of_pair)} studies, truth {truth:.4f}\n")
                print(tabulate(rates(found, truth), headers="keys", tablefmt="github"))


def _lines(path: Path) -> list[dict[str, Any]]:
    text = path.read_text("utf-8") if path.exists() else ""
    return [json.loads(line) for line in text.splitlines()]


if __name__ == "__main__":
    main()
