"""PEP's search, step by step, against the modules that the paper's authors released."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from pepbench.backbones.fm import FMModule
from pepbench.method import Batch, Model
from pepbench.pep import ThresholdedTable, Thresholds
from pepbench.tables.fields import Fields
from pepbench.training.optimizers import make_optimizer
from pepbench.training.step import train_step

DEFAULT = Path(__file__).parents[2] / "shared" / "fixtures" / "pep_trace.npz"
TRACE = Path(os.environ.get("PEPBENCH_PEP_TRACE", DEFAULT))
KINDS = ("global", "dimension", "feature", "field", "feature_dim", "field_dim")


@pytest.fixture(scope="module")
def trace():
    if not TRACE.exists():
        pytest.skip(f"no trace at {TRACE}; set PEPBENCH_PEP_TRACE")
    return np.load(TRACE, allow_pickle=False)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.slow
def test_search_follows_the_released_code(trace, kind):
    cardinalities = tuple(int(n) for n in trace["field_dims"])
    fields = Fields(("a", "b", "c", "d"), cardinalities, np.zeros(sum(cardinalities), np.int64))
    ids = torch.from_numpy(trace["ids_per_field"] + fields.offsets).long()
    # Single-precision labels, as in the released code: the loss (not its gradient) is rounded.
    labels = torch.from_numpy(trace["labels"]).float()
    v0 = torch.from_numpy(trace["v0"])

    thresholds = Thresholds(kind, fields, v0.shape[1], -4.0).double()
    table = ThresholdedTable(v0, thresholds)
    backbone = FMModule(fields.n_features).double()
    with torch.no_grad():
        backbone.first_order.weights.copy_(torch.from_numpy(trace["linear0"]))
        backbone.first_order.bias.copy_(torch.from_numpy(trace["bias0"]))
    model = Model(table, backbone)
    optimizer = make_optimizer("adam", model, learning_rate=1e-2, l2=1e-5)

    marks = set(trace["marks"].tolist())
    losses, counts = [], []
    for number, rows in enumerate(trace["batch_rows"], start=1):
        losses.append(
            float(train_step(model, Batch(ids[rows], labels[rows]), optimizer, clip=100.0))
        )
        counts.append(int(torch.count_nonzero(table.table_in_use)))
        if number in marks:
            for name, ours in (
                ("v", table.values),
                ("s", thresholds.raw),
                ("table", table.thresholded()),
            ):
                theirs = trace[f"{kind}/{name}@{number}"]
                np.testing.assert_allclose(ours.detach().numpy(), theirs, rtol=0, atol=1e-9)
    np.testing.assert_allclose(losses, trace[f"{kind}/loss"], rtol=0, atol=1e-9)
    np.testing.assert_array_equal(counts, trace[f"{kind}/nnz_before_step"])
