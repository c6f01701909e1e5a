"""Whether verdicts over folds hold their level: the whole pipeline on fresh drawn data sets.

Each study draws a data set, splits it into folds, tunes, trains finalists and final runs with the
engine as it is, and compares

* **itself**: the full table with itself, tuned and trained anew with another plan seed;
* **equal**: two methods that are equal by symmetry, in one plan, with the same learning rates, L2
  and seeds.

Any difference found is a false one. Rejections, and power after a shift of all folds by a known
difference, are counted for each candidate standard error. ``--studies`` of the same ``--out`` file
are added up, so that a calibration can be run in pieces.
"""

from __future__ import annotations

import argparse
import json
import logging
import tempfile
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import stats
from tabulate import tabulate

import pepbench
from pepbench.analysis.folds import overlap

Floats = NDArray[np.float64]

ROWS, FEATURES = 3000, 150
LEVELS = (0.05, 0.01)
SHIFTS = (0.001, 0.002, 0.005, 0.01, 0.02)
"""True differences at which power is counted."""
PLUGIN = Path(__file__).with_name("equal_methods.py")
PAIRS = ("itself", "equal")
RESULTS = Path(__file__).with_name("pipeline-calibration.jsonl")
"""Differences of all studies so far."""

STANDARD_ERRORS: dict[str, Callable[[Floats], Floats]] = {
    "s/√J": lambda d: d.std(-1, ddof=1) / np.sqrt(d.shape[-1]),
    "Nadeau & Bengio": lambda d: (
        d.std(-1, ddof=1) * np.sqrt(1 / d.shape[-1] + overlap(d.shape[-1]))
    ),
}
"""By name: from differences (studies, J) to standard errors (studies,)."""


def plan(study: int, folds: int, seed: int, methods: list[str]) -> dict[str, Any]:
    """The plan of one run of a study."""
    return {
        "datasets": [f"synthetic:rows={ROWS}:features={FEATURES}:dim=4:seed={study + 1}"],
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
        "split_seed": study,
        "seed": seed,
    }


def differences(task: tuple[int, int]) -> dict[str, list[float]]:
    """Differences of test AUC in each fold of a study, by pair."""
    study, folds = task
    aucs: dict[tuple[int, str], Floats] = {}
    for seed, methods in (
        (2 * study, ["full", "first-mask", "last-mask"]),
        (2 * study + 1, ["full"]),
    ):
        with tempfile.TemporaryDirectory() as folder:
            pepbench.run(plan(study, folds, seed, methods), out=folder, plugins=[PLUGIN])
            for method in methods:
                aucs[seed % 2, method] = _fold_aucs(Path(folder), method, folds)
    return {
        "itself": (aucs[0, "full"] - aucs[1, "full"]).tolist(),
        "equal": (aucs[0, "first-mask"] - aucs[0, "last-mask"]).tolist(),
    }


def _fold_aucs(folder: Path, method: str, folds: int) -> Floats:
    found = np.full(folds, np.nan)
    for path in (folder / "records").glob("*.json"):
        record = json.loads(path.read_bytes())
        if record["spec"]["role"] == "final" and record["spec"]["method"]["name"] == method:
            found[record["spec"]["data"].get("fold", 0)] = record["test"]["auc"]
    return found


def rates(found: Floats) -> list[dict[str, Any]]:
    """Rejections and power of each standard error, from differences (studies, J)."""
    freedom = found.shape[1] - 1
    rows = []
    for name, error in STANDARD_ERRORS.items():
        for level in LEVELS:
            bound = stats.t.isf(level / 2, freedom) * error(found)
            rejected = np.abs(found.mean(1)) > bound
            low, high = stats.binomtest(int(rejected.sum()), len(found)).proportion_ci()
            row: dict[str, Any] = {
                "standard error": name,
                "level": level,
                "rejected": f"{rejected.mean():.3f} ({low:.3f} to {high:.3f})",
                "half width": f"{np.mean(bound):.4f}",
            }
            for shift in SHIFTS:
                row[f"power at {shift:g}"] = f"{(np.abs(found.mean(1) + shift) > bound).mean():.2f}"
            rows.append(row)
    return rows


def main() -> None:
    """Run further studies, and print what all of them show."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--studies", type=int, default=20, help="further ones")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--out", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    known = [] if not arguments.out.exists() else arguments.out.read_text("utf-8").splitlines()
    first = sum(json.loads(line)["folds"] == arguments.folds for line in known)
    logging.disable(logging.WARNING)
    tasks = [(study, arguments.folds) for study in range(first, first + arguments.studies)]
    with (
        ProcessPoolExecutor(arguments.jobs) as pool,
        arguments.out.open("a", encoding="utf-8") as file,
    ):
        for (study, folds), found in zip(tasks, pool.map(differences, tasks), strict=True):
            file.write(json.dumps({"study": study, "folds": folds, **found}) + "\n")
            file.flush()
    frame = pd.read_json(arguments.out, lines=True)
    for folds, group in frame.groupby("folds"):
        for pair in PAIRS:
            values = np.array(group[pair].tolist())
            print(f"\n{pair}, J = {folds}, {len(values)} studies\n")
            print(tabulate(rates(values), headers="keys", tablefmt="github"))


if __name__ == "__main__":
    main()
