"""A tiny task that needs an interaction, so that a backbone can be trained in a second."""

import numpy as np
import pytest
import torch

from pepbench.data.splits import Rows
from pepbench.records import TrainingSpec
from pepbench.tables.fields import Fields
from pepbench.training.task import TrialTask

CARDINALITIES = (6, 8, 5)


def parity_task(backbone, dim=4, seed=0, **changes):
    """Clicks where just one of the first two fields' codes is odd; the third is noise."""
    rng = np.random.default_rng(0)
    codes = np.stack([rng.integers(0, n, 3000) for n in CARDINALITIES], axis=1)
    labels = ((codes[:, 0] + codes[:, 1]) % 2).astype(np.uint8)
    ids = (codes + np.cumsum([0, *CARDINALITIES[:-1]])).astype(np.int32)
    settings = TrainingSpec(
        learning_rate=1e-2, l2=0.0, batch_size=100, epochs=4, patience=4, clip=100.0
    )
    torch.manual_seed(seed)
    return TrialTask(
        Fields(tuple("abc"), CARDINALITIES, np.bincount(ids[:2000].ravel(), minlength=19)),
        dim,
        Rows(ids[:2000], labels[:2000]),
        Rows(ids[2000:], labels[2000:]),
        backbone,
        settings.model_copy(update=changes),
        seed=seed,
    )


@pytest.fixture(name="parity_task")
def parity_task_fixture():
    return parity_task
