"""Small made-up runs: records with predictions of a stated quality."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit

from pepbench.analysis.covariance import measure
from pepbench.analysis.significance import Interval, mean_interval
from pepbench.metrics import auc
from pepbench.objective import Objective
from pepbench.records import (
    ComponentSpec,
    DataSpec,
    Environment,
    PhaseSeconds,
    Record,
    ScoresRecord,
    TrainingSpec,
    TrialSpec,
)

FULL = 10_000
SPLIT = "5eed" * 4


def spec(
    *,
    dataset: str = "toy",
    backbone: str = "fm",
    method: str = "pep",
    budget: str = "10%",
    seed: int = 0,
    role: str = "final",
    dim: int = 16,
    split: str = SPLIT,
    objective: Objective = "auc",
) -> TrialSpec:
    return TrialSpec(
        data=DataSpec(
            spec=dataset, table_fingerprint="7ab1e", split_seed=0, split_fingerprint=split
        ),
        backbone=ComponentSpec(spec=backbone, name=backbone, options={}, version=1),
        method=ComponentSpec(spec=method, name=method.split(":")[0], options={}, version=1),
        budget=budget,
        budget_parameters=round(float(budget.rstrip("%")) / 100 * FULL),
        full_parameters=FULL,
        dim=dim,
        training=TrainingSpec(
            learning_rate=0.001,
            l2=0.0,
            batch_size=256,
            epochs=5,
            patience=2,
            clip=100.0,
            objective=objective,
        ),
        seed=seed,
        role=role,
    )


def record(trial: TrialSpec, status: str = "ok", **figures: Any) -> Record:
    validation = ScoresRecord(auc=0.7, log_loss=0.5) if status == "ok" else None
    environment = Environment(
        python="3.11", torch="2", numpy="2", pepbench="0", git=None, cpu="c", host="h", threads=1
    )
    defaults = {
        "validation": validation,
        "seconds": {
            "search": PhaseSeconds(wall=2.0, cpu=2.0),
            "train": PhaseSeconds(wall=3.0, cpu=3.0),
        },
        "peak_memory_mib": 100.0,
        "environment": environment,
        "created": datetime(2026, 1, 1, tzinfo=UTC),
    }
    return Record(key=trial.key(), spec=trial, status=status, **{**defaults, **figures})


@dataclass
class Run:
    """Records with the files that belong to them."""

    labels: NDArray[np.uint8]
    records: list[Record] = field(default_factory=list)
    predictions: dict[str, NDArray[np.float32]] = field(default_factory=dict)

    def load_predictions(self, key: str) -> NDArray[np.float32]:
        return self.predictions[key]

    def load_labels(self, _split: str) -> NDArray[np.uint8]:
        return self.labels

    def add(self, noise: float, seeds: int = 3, parameters: int | None = None, **cell: Any) -> None:
        """A tuned cell with final runs; more ``noise`` means a lower AUC."""
        self.records.append(record(spec(**cell, seed=99, role="tuning")))
        for seed in range(seeds):
            self.add_final(noise, seed, parameters, **cell)

    def add_final(self, noise: float, seed: int, parameters: int | None, **cell: Any) -> None:
        trial = spec(**cell, seed=seed)
        rows = np.random.default_rng([7, len(self.labels)])
        own = np.random.default_rng([seed, *trial.method.spec.encode(), *trial.budget.encode()])
        signal = self.labels + rows.normal(size=len(self.labels))
        scores = expit(signal + noise * own.normal(size=len(self.labels))).astype(np.float32)
        self.predictions[trial.key()] = scores
        count = trial.budget_parameters if parameters is None else parameters
        self.records.append(
            record(
                trial,
                n_parameters=count,
                n_bytes=4 * count,
                test=ScoresRecord(auc=auc(self.labels, scores), log_loss=0.5 + noise / 100),
            )
        )


def run_of(rows: int = 2000) -> Run:
    labels = (np.random.default_rng(3).random(rows) < 0.4).astype(np.uint8)
    return Run(labels=labels)


def auc_interval(labels: ArrayLike, scores: ArrayLike, users: ArrayLike | None = None) -> Interval:
    """Of the mean AUC of scores (K, n), a line for each seed."""
    lines = [partial(np.asarray, line) for line in np.atleast_2d(scores)]
    measured = measure(labels, lines, users, log_loss=False).auc
    return mean_interval(measured, range(len(lines)))


def typical_run() -> Run:
    """Two data sets, three methods, two budgets, an infeasible and a failed cell."""
    run = run_of()
    for dataset in ("toy", "two"):
        run.add(0.0, dataset=dataset, method="full", budget="100%")
        for budget, noise in (("50%", 0.02), ("10%", 0.6)):
            run.add(noise, dataset=dataset, method="pep", budget=budget)
            run.add(2 * noise, dataset=dataset, method="mde", budget=budget)
    tiny = {"dataset": "toy", "method": "uniform", "budget": "1%", "role": "tuning"}
    run.records.append(record(spec(**tiny), "infeasible", reason="smallest possible is 625"))
    broken = {"dataset": "toy", "method": "mine", "budget": "10%", "role": "tuning"}
    run.records.append(record(spec(**broken), "failed", reason="ValueError: <script>\nno | luck"))
    return run
