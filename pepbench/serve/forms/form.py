"""The base class of storage forms: stored arrays in, vectors of features out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pepbench.serve.numbers import Floats
from pepbench.serve.parts import Parts


class Form(ABC):
    """A way to store a table, and the lookup in it.

    Parameters
    ----------
    parts
        What is stored.

    Raises
    ------
    ServeError
        If the parts do not fit together.
    """

    name: ClassVar[str]
    distinct: bool = True
    """Whether computing the vector of each distinct feature once pays off."""
    dim: int
    """D."""
    n_features: int | None = None
    """N, where the parts determine it."""

    @abstractmethod
    def __init__(self, parts: Parts) -> None: ...

    @abstractmethod
    def vectors(self, ids: NDArray[np.int64]) -> Floats:
        """Vectors of global ids: (M,) → (M, D)."""

    def lookup(self, ids: NDArray[np.integer]) -> Floats:
        """Vectors of global ids of any shape: (…) → (…, D)."""
        flat = np.ascontiguousarray(ids, dtype=np.int64).ravel()
        if not len(flat):
            return np.zeros((*np.shape(ids), self.dim), dtype=np.float32)
        if self.distinct and len(flat) > 1:
            features, places = distinct_features(flat)
            vectors = self.vectors(features).take(places, axis=0)
        else:
            vectors = self.vectors(flat)
        return vectors.reshape(*np.shape(ids), self.dim)


def distinct_features(ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """The distinct ids of a batch (M,), and where each of the batch (n,) is among them.

    >>> features, places = distinct_features(np.array([7, 3, 7]))
    >>> features.tolist(), places.tolist()
    ([3, 7], [1, 0, 1])
    """
    places = np.arange(len(ids), dtype=np.int32 if len(ids) < 2**31 else np.int64)
    # The last position of a feature represents it, without sorting. The array is not cleared, so
    # that only the pages that hold a feature of the batch are touched.
    last_place: NDArray[np.integer] = np.empty(int(ids.max()) + 1, dtype=places.dtype)
    last_place[ids] = places
    last = last_place.take(ids)
    # Scattering ranks takes half the time of counting flags, taking rows that of choosing by them.
    chosen = np.flatnonzero(last == places)
    rank = np.empty(len(ids), dtype=np.int64)
    rank[chosen] = places[: len(chosen)]
    return ids.take(chosen), rank.take(last)
