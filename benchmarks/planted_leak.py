"""How much a tuning that reads the test rows flatters: a leak, planted into drawn data.

Each study draws rows of one kind and splits them by a column of the file. ``honest`` validates on
rows of its own; ``leaky`` on copies of those test rows that a board would publish. Both are tuned,
and tested on these and on many fresh rows at once. What the published rows promise beyond what the
fresh rows keep is bias. ``tuned − test`` is what a report shows of it: the chosen trial's
validation AUC less the test AUC.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats
from sklearn.metrics import roc_auc_score
from tabulate import tabulate

import pepbench
from datasets.synthetic import Synthetic
from pepbench.analysis.runs import open_runs
from pepbench.records import best_trial

TRAIN, HELD_OUT, FRESH = 3000, 150, 20_000
PLAN: dict[str, Any] = {
    "methods": ["uniform"],
    "budgets": ["30%"],
    "dim": 8,
    "trials": 30,
    "finalists": 1,
    "sampler": "halton",
    "seeds": 1,
    "epochs": 12,
    "patience": 3,
    "batch_size": 256,
}


def rows_of(number: int) -> dict[str, pd.DataFrame]:
    """Rows of a study with the column ``part``, honest and leaky."""
    drawn = Synthetic(
        rows=TRAIN + 2 * HELD_OUT + FRESH, features=150, fields=4, dim=4, seed=number + 1
    )
    blocks = list(drawn.draws())
    frame = pd.DataFrame(np.concatenate([codes for codes, _, _ in blocks])).add_prefix("f")
    frame["clicked"] = np.concatenate([labels for _, _, labels in blocks]).astype(int)
    sizes = [TRAIN, HELD_OUT, HELD_OUT + FRESH]
    frame["part"] = np.repeat(["train", "validation", "test"], sizes)
    leaky = frame.copy()
    held_out, published = (slice(TRAIN + i * HELD_OUT, TRAIN + (i + 1) * HELD_OUT) for i in (0, 1))
    leaky.iloc[held_out, :-1] = frame.iloc[published, :-1].to_numpy()
    return {"honest": frame, "leaky": leaky}


def study(number: int) -> dict[str, dict[str, float]]:
    """AUCs of the chosen model, for each way of validating."""
    found = {}
    for way, frame in rows_of(number).items():
        with tempfile.TemporaryDirectory() as folder:
            file, out = Path(folder) / "rows.csv", Path(folder) / "run"
            frame.to_csv(file, index=False)
            name = f"leak-{way}-{number}"
            options = ["--label=clicked", "--split-by=file:part", f"--from={file}"]
            command = [sys.executable, "-m", "pepbench", "data", "add", name, *options]
            subprocess.run(command, check=True, capture_output=True)
            pepbench.run({**PLAN, "datasets": [name], "seed": number}, out=out)
            runs = open_runs([out])
            final = next(run for run in runs.records if run.spec.role == "final")
            labels = runs.load_labels(final.spec.data.split_fingerprint)
            scores = runs.load_predictions(final.key)
        chosen = best_trial(runs.records)
        assert chosen is not None
        assert chosen.validation is not None
        test = roc_auc_score(labels[:HELD_OUT], scores[:HELD_OUT])
        fresh = roc_auc_score(labels[HELD_OUT:], scores[HELD_OUT:])
        found[way] = {
            "test": test,
            "fresh": fresh,
            "bias": test - fresh,
            "tuned − test": chosen.validation.auc - test,
        }
    return found


def main() -> None:
    """Print means over studies with 95 % intervals, for each way and for their difference."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--jobs", type=int, default=2)
    arguments = parser.parse_args()
    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as cache, ProcessPoolExecutor(arguments.jobs) as pool:
        os.environ["PEPBENCH_CACHE"] = cache
        rows = list(pool.map(study, range(arguments.studies)))
    honest, leaky = (pd.DataFrame([row[way] for row in rows]) for way in ("honest", "leaky"))
    table = pd.concat(
        {"honest": honest, "leaky": leaky, "leaky − honest": leaky - honest}, names=["way"]
    )
    groups = table.groupby("way", sort=False)
    half = groups.sem() * stats.t.isf(0.025, arguments.studies - 1)
    shown = groups.mean().map("{:.4f}".format) + " ± " + half.map("{:.4f}".format)
    print(tabulate(shown, headers="keys", tablefmt="github"))


if __name__ == "__main__":
    main()
