"""What a backbone is for: interactions that a linear model cannot see."""

import numpy as np
import pytest
import torch

from pepbench.backbones.lr import LR
from pepbench.catalog import Catalog
from pepbench.data.splits import Rows
from pepbench.fields import Fields
from pepbench.method import PlainTable
from pepbench.records import TrainingSpec
from pepbench.training.task import TrialTask

CARDINALITIES = (6, 8, 5)
SPECS = sorted(
    {*Catalog().entries("backbone")} - {"lr"}
    | {"autoint:deep=true", "dcnv2:low_rank=4", "dcnv2:low_rank=4:experts=2", "dlrm:vectors=true"}
)


def task(backbone, **changes):
    """Clicks where the first two fields' codes are both even or both odd; the third is noise."""
    rng = np.random.default_rng(0)
    codes = np.stack([rng.integers(0, n, 3000) for n in CARDINALITIES], axis=1)
    labels = ((codes[:, 0] + codes[:, 1]) % 2).astype(np.uint8)
    ids = (codes + np.cumsum([0, *CARDINALITIES[:-1]])).astype(np.int32)
    settings = TrainingSpec(
        learning_rate=1e-2, l2=0.0, batch_size=100, epochs=4, patience=4, clip=100.0
    )
    torch.manual_seed(0)
    return TrialTask(
        Fields(tuple("abc"), CARDINALITIES, np.bincount(ids[:2000].ravel(), minlength=19)),
        4,
        Rows(ids[:2000], labels[:2000]),
        Rows(ids[2000:], labels[2000:]),
        backbone,
        settings.model_copy(update=changes),
        seed=0,
    )


@pytest.mark.parametrize("spec", SPECS)
def test_learns_an_interaction(spec):
    toy = task(Catalog().select("backbone", spec).default())
    assert toy.train(toy.model(PlainTable(19, 4))).validation.auc > 0.98


def test_lr_cannot_learn_an_interaction():
    toy = task(LR())
    assert toy.train(toy.model(PlainTable(19, 4))).validation.auc < 0.6


@pytest.mark.parametrize("optimizer", ["adam", "lazy-adam"])
def test_lr_leaves_the_embedding_as_it_was(optimizer):
    toy = task(LR(), optimizer=optimizer, epochs=2)
    embedding = PlainTable(19, 4)
    before = embedding.table.detach().clone()
    model = toy.train(toy.model(embedding)).model
    assert model.backbone.first_order.weights.abs().max() > 0
    assert torch.equal(embedding.table, before)
