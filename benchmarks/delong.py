"""DeLong's covariances of many score vectors at once, compared with a transcription of the paper.

``python -m benchmarks.delong`` measures 25 methods × 5 seeds on 10M rows from files: every vector
is sorted once, then all covariances come from one pass. The alternative does what a user of the
published algorithm would write: for each method, midranks of all its vectors and of the reference's
by class (Sun & Xu 2014, with scipy's ranks), then numpy's covariance, again for every comparison.
It is timed on fewer rows and methods (``--compare``), where both do the same comparisons.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from tabulate import tabulate

from benchmarks.timing import interleaved
from pepbench.analysis.covariance import measure
from pepbench.analysis.significance import compare_runs
from pepbench.harness.environment import PeakMemory

Floats = NDArray[np.floating[Any]]
SHARE_POSITIVE = 0.25
METHODS, SEEDS = 25, 5


def labels_of(rows: int) -> NDArray[np.bool_]:
    """A quarter of the rows is positive."""
    return np.random.default_rng(0).random(rows, np.float32) < SHARE_POSITIVE


def scores_of(labels: NDArray[np.bool_], common: Floats, run: int) -> Floats:
    """Probabilities of one run (float32); runs share most of what they know of a row."""
    own = np.random.default_rng([1, run]).standard_normal(len(labels), np.float32)
    return 1 / (1 + np.exp(-(labels + common + np.float32(0.3) * own)))


def published(labels: NDArray[np.bool_], scores: Floats) -> tuple[Floats, Floats]:
    """AUCs (R,) and covariance (R, R) of score vectors (R, n), from midranks by class."""
    positive, negative = scores[:, labels], scores[:, ~labels]
    m, n = positive.shape[1], negative.shape[1]
    among_all = stats.rankdata(np.hstack([positive, negative]), axis=1)
    v10 = (among_all[:, :m] - stats.rankdata(positive, axis=1)) / n
    v01 = 1 - (among_all[:, m:] - stats.rankdata(negative, axis=1)) / m
    return v10.mean(axis=1), np.cov(v10) / m + np.cov(v01) / n


def write_scores(folder: Path, labels: NDArray[np.bool_], runs: int) -> list[Path]:
    """Score vectors as the program keeps them, a file for each run."""
    common = np.random.default_rng(1).standard_normal(len(labels), np.float32)
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{run}.npy" for run in range(runs)]
    for run, path in enumerate(paths):
        np.save(path, scores_of(labels, common, run))
    return paths


def all_at_once(labels: NDArray[np.bool_], paths: Sequence[Path], seeds: int) -> int:
    """Measure all runs, then compare each method with the first."""
    loads = [partial(np.load, path) for path in paths]
    measured = measure(labels, loads, log_loss=False).auc
    for start in range(seeds, len(paths), seeds):
        compare_runs(measured, range(start, start + seeds), range(seeds))
    return len(labels) * len(paths)


def one_by_one(labels: NDArray[np.bool_], paths: Sequence[Path], seeds: int) -> int:
    """Each method with the first, with the published algorithm."""
    for start in range(seeds, len(paths), seeds):
        chosen = [*paths[:seeds], *paths[start : start + seeds]]
        published(labels, np.stack([np.load(path) for path in chosen]))
    return len(labels) * len(paths)


def largest(rows: int, methods: int, seeds: int) -> dict[str, Any]:
    """Time and memory of the whole; scores are written to files before."""
    labels = labels_of(rows)
    with tempfile.TemporaryDirectory() as name:
        paths = write_scores(Path(name), labels, methods * seeds)
        all_at_once(labels_of(1000), write_scores(Path(name, "warm"), labels_of(1000), 2), 1)
        memory, wall, cpu = PeakMemory(), time.perf_counter(), time.process_time()
        all_at_once(labels, paths, seeds)
        return {
            "rows": rows,
            "methods": methods,
            "seeds": seeds,
            "wall seconds": time.perf_counter() - wall,
            "CPU seconds": time.process_time() - cpu,
            "peak MiB": memory.mib(),
            "load": os.getloadavg()[0],
        }


def beside(rows: int, methods: int, seeds: int, rounds: int) -> dict[str, Any]:
    """Median score vectors' rows per second, ours and theirs, in turns; and how far they differ."""
    labels = labels_of(rows)
    with tempfile.TemporaryDirectory() as name:
        paths = write_scores(Path(name), labels, methods * seeds)
        speeds = interleaved(
            {
                "ours": partial(all_at_once, labels, paths, seeds),
                "published": partial(one_by_one, labels, paths, seeds),
            },
            rounds,
        )
        scores = np.stack([np.load(path) for path in paths[:4]])
        measured = measure(labels, [partial(np.asarray, line) for line in scores]).auc
    aucs, covariance = published(labels, scores)
    ours = np.sum([part.covariance for part in measured.parts], axis=0)
    return {
        "rows": rows,
        "methods": methods,
        "seeds": seeds,
        **speeds,
        "ratio": speeds["ours"] / speeds["published"],
        "load": os.getloadavg()[0],
        "largest difference of AUCs": float(abs(aucs - measured.means).max()),
        "of covariances, relative": float(abs(covariance / ours - 1).max()),
    }


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--methods", type=int, default=METHODS)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--compare", type=int, default=200_000, metavar="ROWS")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    found = {
        "whole": largest(chosen.rows, chosen.methods, chosen.seeds),
        "beside": beside(chosen.compare, 5, chosen.seeds, chosen.rounds),
    }
    if chosen.json:
        print(json.dumps(found, indent=2))
        return
    for table in found.values():
        print(tabulate([table], headers="keys", tablefmt="github", floatfmt=".4g"), "\n")


if __name__ == "__main__":
    main()
