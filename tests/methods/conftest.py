"""A small task with planted interactions, so that methods can be fitted in a second."""

from dataclasses import dataclass

import numpy as np
import pytest

from pepbench.backbones.fm import FM
from pepbench.data.splits import Rows
from pepbench.fields import Fields
from pepbench.records import TrainingSpec
from pepbench.training.task import TrialTask

CARDINALITIES = (12, 40, 5, 30)
DIM = 8


@dataclass(frozen=True)
class Toy:
    fields: Fields
    train: Rows
    validation: Rows

    def task(self, seed=0, backbone=None, **changes):
        settings = TrainingSpec(
            learning_rate=1e-2, l2=1e-6, batch_size=256, epochs=4, patience=2, clip=100.0
        )
        return TrialTask(
            self.fields,
            DIM,
            self.train,
            self.validation,
            backbone or FM(),
            settings.model_copy(update=changes),
            seed,
        )


@pytest.fixture(scope="session")
def toy():
    rng = np.random.default_rng(3)
    offsets = np.cumsum([0, *CARDINALITIES[:-1]])
    codes = np.stack(
        [1 + np.minimum(rng.zipf(1.5, 8000) - 1, n - 2) for n in CARDINALITIES], axis=1
    )
    ids = (codes + offsets).astype(np.int32)
    vectors = rng.normal(size=(sum(CARDINALITIES), 4))
    looked_up = vectors[ids]
    pairs = (looked_up.sum(1) ** 2 - (looked_up**2).sum(1)).sum(1) / 2
    logits = 1.5 * (pairs - pairs.mean()) / pairs.std()
    labels = (rng.random(8000) < 1 / (1 + np.exp(-logits))).astype(np.uint8)
    frequencies = np.bincount(ids[:6000].ravel(), minlength=sum(CARDINALITIES))
    names = tuple("abcd")
    return Toy(
        Fields(names, CARDINALITIES, frequencies),
        Rows(ids[:6000], labels[:6000]),
        Rows(ids[6000:], labels[6000:]),
    )
