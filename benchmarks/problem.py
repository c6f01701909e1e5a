"""What is trained in the benchmark: rows drawn from Zipf's law, and the sizes of the problem."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import cycle

import numpy as np
import torch

from pepbench.backbones.deepfm import DeepFM
from pepbench.data.splits import Rows
from pepbench.method import Batch
from pepbench.tables.fields import Fields

ZIPF = 1.1
BATCHES = 40
"""Of which the rows consist; all contenders go through them again and again."""


@dataclass(frozen=True)
class Size:
    """Shape of a problem."""

    features: int
    dim: int
    fields: int
    batch: int


SIZES = (
    Size(10_000, 32, 7, 1024),
    Size(100_000, 16, 39, 4096),
    Size(1_000_000, 16, 39, 4096),
    Size(10_000_000, 16, 39, 4096),
)


@dataclass(frozen=True, eq=False)
class Problem:
    """Rows to train on, and what is trained on them."""

    size: Size
    fields: Fields
    rows: Rows

    @property
    def initial_bound(self) -> float:
        """Initial values are U(−b, b): Xavier-uniform over the whole table."""
        return float(np.sqrt(6.0 / (self.fields.n_features + self.size.dim)))

    @property
    def deepfm(self) -> DeepFM:
        """The paper's deep network for data such as MovieLens, or such as Criteo."""
        few = self.size.fields < 20
        return DeepFM() if few else DeepFM(units=400, layers=3, dropout=0.5)

    def batches(self) -> Iterator[Batch]:
        """Batches without end, made beforehand in the types that torch wants."""
        return cycle(self._batches)

    @cached_property
    def _batches(self) -> list[Batch]:
        ids = torch.from_numpy(self.rows.ids.astype(np.int64)).split(self.size.batch)
        labels = torch.from_numpy(self.rows.labels).float().split(self.size.batch)
        return [Batch(i, y) for i, y in zip(ids, labels, strict=True)]

    @property
    def validation(self) -> Rows:
        """A quarter of the rows again, for scoring."""
        n = BATCHES // 4 * self.size.batch
        return Rows(self.rows.ids[:n], self.rows.labels[:n])

    @cached_property
    def distinct_features(self) -> float:
        """Features that a batch looks up, repeats not counted; mean over the batches."""
        blocks = np.split(self.rows.ids, BATCHES)
        return float(np.mean([len(np.unique(block)) for block in blocks]))


def zipf_problem(size: Size, seed: int = 0) -> Problem:
    """Rows whose features follow Zipf's law within each field, scattered over the ids."""
    rng = np.random.default_rng(seed)
    cardinality = size.features // size.fields
    weights = np.arange(1, cardinality + 1, dtype=np.float64) ** -ZIPF
    edges = np.cumsum(weights) / weights.sum()
    n = BATCHES * size.batch
    ids = np.empty((n, size.fields), dtype=np.int32)
    for field in range(size.fields):
        ranks = np.searchsorted(edges, rng.random(n))
        ids[:, field] = rng.permutation(cardinality)[ranks] + field * cardinality
    labels = (rng.random(n) < 0.3).astype(np.uint8)
    total = cardinality * size.fields
    names = tuple(f"f{field}" for field in range(size.fields))
    frequencies = np.bincount(ids.ravel(), minlength=total)
    fields = Fields(names, (cardinality,) * size.fields, frequencies)
    return Problem(size, fields, Rows(ids, labels))
