"""A small task with planted interactions, so that methods can be fitted in a second."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pepbench.backbones.backbone import Backbone
from pepbench.backbones.fm import FM
from pepbench.data.splits import Rows
from pepbench.records import TrainingSpec
from pepbench.tables.fields import Fields
from pepbench.training.task import TrialTask

CARDINALITIES = (12, 40, 5, 30)
DIM = 8
N_ROWS, N_TRAIN = 8000, 6000
SIGNAL = 1.5
"""Standard deviation of the logits, which come from interactions of two fields alone."""
SETTINGS = TrainingSpec(
    learning_rate=1e-2, l2=1e-6, batch_size=256, epochs=4, patience=2, clip=100.0
)


@dataclass(frozen=True)
class Toy:
    """Fields, training rows and validation rows of the toy task."""

    fields: Fields
    train: Rows
    validation: Rows

    @property
    def full_parameters(self) -> int:
        """N·D, the size of the full table."""
        return self.fields.n_features * DIM

    def task(
        self, seed: int = 0, backbone: Backbone | None = None, **changes: int | float | str
    ) -> TrialTask:
        """A new task on these rows; ``changes`` are to :data:`SETTINGS`."""
        return TrialTask(
            self.fields,
            DIM,
            self.train,
            self.validation,
            backbone or FM(),
            SETTINGS.model_copy(update=changes),
            seed,
        )


def make_toy() -> Toy:
    """Zipf-distributed features, logits of a factorisation machine of width 4; always the same.

    Labels depend on pairs of features only, so first-order weights explain little.
    """
    rng = np.random.default_rng(3)
    offsets = np.cumsum([0, *CARDINALITIES[:-1]])
    codes = np.stack(
        [1 + np.minimum(rng.zipf(1.5, N_ROWS) - 1, n - 2) for n in CARDINALITIES], axis=1
    )
    ids = (codes + offsets).astype(np.int32)
    vectors = rng.normal(size=(sum(CARDINALITIES), 4))
    looked_up = vectors[ids]
    pairs = (looked_up.sum(1) ** 2 - (looked_up**2).sum(1)).sum(1) / 2
    logits = SIGNAL * (pairs - pairs.mean()) / pairs.std()
    labels = (rng.random(N_ROWS) < 1 / (1 + np.exp(-logits))).astype(np.uint8)
    frequencies = np.bincount(ids[:N_TRAIN].ravel(), minlength=sum(CARDINALITIES))
    return Toy(
        Fields(("a", "b", "c", "d"), CARDINALITIES, frequencies),
        Rows(ids[:N_TRAIN], labels[:N_TRAIN]),
        Rows(ids[N_TRAIN:], labels[N_TRAIN:]),
    )


def every_feature(fields: Fields) -> NDArray[np.int64]:
    """Rows of ids that contain every feature, each in its field's column.

    Shape (largest cardinality, F); smaller fields start again from their first feature.

    >>> every_feature(Fields(("a", "b"), (2, 3), np.zeros(5, np.int64))).tolist()
    [[0, 2], [1, 3], [0, 4]]
    """
    codes = np.arange(max(fields.cardinalities))[:, None] % np.asarray(fields.cardinalities)
    ids: NDArray[np.int64] = codes + fields.offsets
    return ids
