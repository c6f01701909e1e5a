"""Figures of checks that were never run."""

import hashlib
from datetime import UTC, datetime

import numpy as np
from sklearn.metrics import roc_auc_score

from pepbench.check.baseline import Baseline, CellFigures, Metric, Ranks
from pepbench.check.plan import BUILT_IN
from pepbench.records import ComponentSpec, DataSpec, Environment

ENVIRONMENT = Environment(
    python="3.12.0",
    torch="2.13.0",
    numpy="2.4.0",
    pepbench="0.1",
    git="0123456789abcdef",
    cpu="a processor",
    host="here",
    threads=1,
)
DATA = DataSpec(spec="data", table_fingerprint="t", split_seed=0, split_fingerprint="s")
PLAN = """
methods = ["full", "hash"]
datasets = ["synthetic:rows=2000:features=60:fields=4"]
budgets = ["40%"]
dim = 4
epochs = 2
seeds = 2
batch_size = 256
"""
"""A plan of a second or so."""

LABELS = np.random.default_rng(1).integers(0, 2, 2000)


def scores(seeds=3, noise=1.0, stream=0):
    """Normal scores, (seeds, rows): their AUC is Φ(1 / (√2·noise))."""
    return LABELS + noise * np.random.default_rng((2, stream)).standard_normal((seeds, len(LABELS)))


def a_cell(values=None, name="full", budget="100%", **changes):
    values = scores() if values is None else values
    aucs = [float(roc_auc_score(LABELS, line)) for line in values]
    figures = {
        "data": DATA,
        "backbone": ComponentSpec(spec="fm", name="fm", options={}, version=1),
        "method": ComponentSpec(spec=name, name=name, options={}, version=1),
        "budget": budget,
        "seeds": list(range(len(values))),
        "status": "ok",
        "n_parameters": [10] * len(values),
        "n_bytes": [40] * len(values),
        "backbone_parameters": [5] * len(values),
        "auc": aucs,
        "log_loss": [0.5] * len(values),
        "predictions_sha256": [hashlib.sha256(line.tobytes()).hexdigest() for line in values],
        "ranks": Ranks.of(values),
    }
    return CellFigures(**figures | changes)


def a_metric(values=(1.0, 1.01, 0.99, 1.02, 0.98, 1.03, 0.97), **changes):
    figures = {
        "kind": "time",
        "subject": "data, fm, full, 100%: train",
        "unit": "steps/s",
        "typical": 100.0,
        "values": list(values),
    }
    return Metric(**figures | changes)


def a_baseline(cells=None, metrics=None):
    return Baseline(
        created=datetime(2026, 1, 2, tzinfo=UTC),
        environment=ENVIRONMENT,
        plan=BUILT_IN,
        cells=[a_cell()] if cells is None else cells,
        metrics=[a_metric()] if metrics is None else metrics,
    )
