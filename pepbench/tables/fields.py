"""The categorical fields of a data set: names, cardinalities, frequencies."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from pepbench.serve.pooling import EXPONENTS, Pool


@dataclass(frozen=True)
class BagField:
    """A multi-valued field: a row has up to ``slots`` values, pooled into one vector."""

    slots: int
    pool: Pool = "mean"


@dataclass(frozen=True, eq=False)
class Fields:
    """Names, cardinalities and training frequencies of F fields with N features in all.

    A feature's *global id* is the offset of its field plus its code within the field; code 0 of
    every field stands for values not seen in training.

    Parameters
    ----------
    names
        Names of the F fields.
    cardinalities
        Number of features n_i of each field, the code for "unseen" included.
    frequencies
        Shape (N,): how often each feature occurs in the training rows, by global id.
    bags
        The multi-valued fields by name. The ids of such a field take several columns, its *slots*;
        those of a field with one value a row take one.
    dense
        Names of the M numbers of each row that a backbone reads as they are.

    Examples
    --------
    >>> fields = Fields(("user", "item"), (3, 2), np.array([0, 5, 1, 0, 6]))
    >>> fields.n_features, fields.offsets.tolist()
    (5, [0, 3])
    >>> Fields(("user", "tags"), (3, 2), np.zeros(5, int), {"tags": BagField(3)}).slots.tolist()
    [1, 3]
    """

    names: tuple[str, ...]
    cardinalities: tuple[int, ...]
    frequencies: NDArray[np.int64]
    bags: Mapping[str, BagField] = field(default_factory=dict)
    dense: tuple[str, ...] = ()

    @property
    def n_fields(self) -> int:
        """F, the number of fields."""
        return len(self.cardinalities)

    @property
    def n_dense(self) -> int:
        """M, the number of dense inputs."""
        return len(self.dense)

    @property
    def n_features(self) -> int:
        """N = Σ n_i, the number of rows of the full embedding table."""
        return sum(self.cardinalities)

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """Shape (F,): global id of each field's code 0."""
        ends = np.cumsum(np.asarray(self.cardinalities, dtype=np.int64))
        return np.concatenate([np.zeros(1, np.int64), ends[:-1]])

    @cached_property
    def field_of_feature(self) -> NDArray[np.int64]:
        """Shape (N,): the field that each global id belongs to."""
        return np.repeat(np.arange(self.n_fields), self.cardinalities)

    @cached_property
    def slots(self) -> NDArray[np.int64]:
        """Shape (F,): columns of ids that each field takes; 1 for fields with one value a row."""
        sizes = [self.bags[name].slots if name in self.bags else 1 for name in self.names]
        return np.array(sizes, dtype=np.int64)

    @cached_property
    def pool_exponents(self) -> NDArray[np.float64]:
        """Shape (F,): the :data:`~pepbench.serve.pooling.EXPONENTS` of the fields."""
        pools = [self.bags[name].pool if name in self.bags else "sum" for name in self.names]
        return np.array([EXPONENTS[pool] for pool in pools])
