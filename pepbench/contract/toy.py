"""Small tasks with planted interactions, so that methods can be fitted in a second."""

from __future__ import annotations

from dataclasses import dataclass, replace

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
    dim: int = DIM
    """D."""

    @property
    def full_parameters(self) -> int:
        """N·D, the size of the full table."""
        return self.fields.n_features * self.dim

    def task(
        self, seed: int = 0, backbone: Backbone | None = None, **changes: int | float | str
    ) -> TrialTask:
        """A new task on these rows; ``changes`` are to :data:`SETTINGS`."""
        return TrialTask(
            self.fields,
            self.dim,
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
    codes = np.stack(
        [1 + np.minimum(rng.zipf(1.5, N_ROWS) - 1, n - 2) for n in CARDINALITIES], axis=1
    )
    vectors = rng.normal(size=(sum(CARDINALITIES), 4))
    looked_up = vectors[codes + np.cumsum([0, *CARDINALITIES[:-1]])]
    pairs = (looked_up.sum(1) ** 2 - (looked_up**2).sum(1)).sum(1) / 2
    logits = SIGNAL * (pairs - pairs.mean()) / pairs.std()
    return _toy(("a", "b", "c", "d"), CARDINALITIES, codes, _clicks(logits, rng), N_TRAIN, DIM)


def make_small_field_toy() -> tuple[Toy, Toy]:
    """A task with two fields of 3 values, whose product is the signal, and one of 1,000 values.

    The second task is the same, but in its validation rows the value of the large field is unknown,
    so that nothing that was learnt by heart of its values disturbs the measurement.
    """
    rng = np.random.default_rng(5)
    cardinalities = (4, 1001, 4)
    codes = np.stack([rng.integers(1, n, 5000) for n in cardinalities], axis=1)
    labels = _clicks(2.25 * (codes[:, 0] - 2) * (codes[:, 2] - 2), rng)
    task = _toy(("small", "large", "other"), cardinalities, codes, labels, 3000, 16)
    unknown = task.validation.ids.copy()
    unknown[:, 1] = task.fields.offsets[1]
    return task, replace(task, validation=Rows(unknown, task.validation.labels))


def make_parity_toy() -> Toy:
    """Clicks where just one of the first two fields' codes is odd; the third field is noise.

    No model that is linear in the features does better than chance.
    """
    rng = np.random.default_rng(0)
    cardinalities = (6, 8, 5)
    codes = np.stack([rng.integers(0, n, 3000) for n in cardinalities], axis=1)
    labels = ((codes[:, 0] + codes[:, 1]) % 2).astype(np.uint8)
    return _toy(("a", "b", "c"), cardinalities, codes, labels, 2000, 4)


def _toy(
    names: tuple[str, ...],
    cardinalities: tuple[int, ...],
    codes: NDArray[np.int64],
    labels: NDArray[np.uint8],
    n_train: int,
    dim: int,
) -> Toy:
    """A task on rows of codes (n, F), of which the first ``n_train`` are for training."""
    ids = (codes + np.cumsum([0, *cardinalities[:-1]])).astype(np.int32)
    frequencies = np.bincount(ids[:n_train].ravel(), minlength=sum(cardinalities))
    return Toy(
        Fields(names, cardinalities, frequencies),
        Rows(ids[:n_train], labels[:n_train]),
        Rows(ids[n_train:], labels[n_train:]),
        dim,
    )


def _clicks(logits: NDArray[np.floating], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Labels drawn with the probabilities of these logits."""
    clicked: NDArray[np.bool_] = rng.random(len(logits)) < 1 / (1 + np.exp(-logits))
    return clicked.astype(np.uint8)


def permuted(toy: Toy) -> tuple[Toy, NDArray[np.int64]]:
    """``toy`` with its fields in reverse order and its features numbered anew, but for code 0.

    Also returned is the new id of each feature, (N,).
    """
    rng = np.random.default_rng(7)
    fields = toy.fields
    cardinalities = fields.cardinalities[::-1]
    offsets = (np.cumsum(cardinalities) - cardinalities)[::-1]
    new_id = np.concatenate(
        [
            offset + np.append(0, 1 + rng.permutation(n - 1))
            for offset, n in zip(offsets, fields.cardinalities, strict=True)
        ]
    )
    frequencies = np.empty_like(fields.frequencies)
    frequencies[new_id] = fields.frequencies

    def rows(old: Rows) -> Rows:
        return Rows(new_id[old.ids[:, ::-1]].astype(np.int32), old.labels)

    other = Fields(fields.names[::-1], cardinalities, frequencies)
    return replace(
        toy, fields=other, train=rows(toy.train), validation=rows(toy.validation)
    ), new_id


def every_feature(fields: Fields) -> NDArray[np.int64]:
    """Rows of ids that contain every feature, each in its field's column.

    Shape (largest cardinality, F); smaller fields start again from their first feature.

    >>> every_feature(Fields(("a", "b"), (2, 3), np.zeros(5, np.int64))).tolist()
    [[0, 2], [1, 3], [0, 4]]
    """
    codes = np.arange(max(fields.cardinalities))[:, None] % np.asarray(fields.cardinalities)
    ids: NDArray[np.int64] = codes + fields.offsets
    return ids
