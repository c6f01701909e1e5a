"""Torch's compiler, which takes a second to import, is left alone."""

import subprocess
import sys

import pytest

PROGRAM = """
import sys
import numpy as np
import torch
from pepbench.backbones.deepfm import DeepFM
from pepbench.method import Batch, Fields, Model, PlainTable
from pepbench.training.optimizers import make_optimizer
from pepbench.training.step import train_step
fields = Fields(("a", "b"), (6, 4), np.arange(10))
batch = Batch(torch.tensor([[0, 6], [5, 9]]), torch.tensor([0.0, 1.0]))
for kind in ("adam", "lazy-adam", "adagrad", "row-adagrad"):
    model = Model(PlainTable(10, 4), DeepFM().build(fields, 4))
    optimizer = make_optimizer(kind, model, 1e-3, 0.0)
    before = model.embedding.table.detach().clone()
    train_step(model, batch, optimizer, 100.0)
    assert not torch.equal(model.embedding.table, before)
assert "torch._dynamo" not in sys.modules
"""


@pytest.mark.slow
def test_a_step_of_a_deep_backbone_does_not_import_it():
    subprocess.run([sys.executable, "-c", PROGRAM], check=True)
