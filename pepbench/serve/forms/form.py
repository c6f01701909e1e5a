"""The seam of storage forms: arrays in, vectors of features out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pepbench.errors import ServeError
from pepbench.serve.numbers import Floats, Numbers

Constant = int | str


@dataclass(frozen=True, eq=False)
class Parts:
    """All that is stored of a table."""

    numbers: Mapping[str, Numbers]
    """Trained numbers."""
    structure: Mapping[str, NDArray[np.generic]]
    """Index arrays."""
    constants: Mapping[str, Constant]
    """Single numbers and words."""

    def array(self, name: str, kind: type[np.generic] = np.unsignedinteger) -> NDArray[np.integer]:
        """An index array, which must be there and of whole numbers ≥ 0."""
        array = self.structure.get(name)
        if array is None or not np.issubdtype(array.dtype, kind):
            raise ServeError(f"array {name!r} is missing or of another type; export it again")
        return array  # type: ignore[return-value]

    def octets(self, name: str) -> NDArray[np.uint8]:
        """An array of packed bits."""
        return self.array(name, np.uint8)  # type: ignore[return-value]

    def number(self, name: str, n_dimensions: int = 2) -> Numbers:
        """Trained numbers, which must be there and of so many dimensions."""
        numbers = self.numbers.get(name)
        if numbers is None or len(numbers.shape) != n_dimensions:
            raise ServeError(f"array {name!r} is missing or of another shape; export it again")
        return numbers

    def numbered(self, stem: str) -> list[Numbers]:
        """Trained numbers ``stem_0``, ``stem_1``, … as far as they go."""
        found: list[Numbers] = []
        while f"{stem}_{len(found)}" in self.numbers:
            found.append(self.numbers[f"{stem}_{len(found)}"])
        return found

    def count(self, name: str, most: int = 2**40) -> int:
        """A constant that is a whole number from 0 to ``most``."""
        value = self.constants.get(name)
        if not isinstance(value, int) or not 0 <= value <= most:
            raise ServeError(f"constant {name!r} is missing or out of range; export it again")
        return value

    def word(self, name: str, *allowed: str) -> str:
        """A constant that is one of some words."""
        value = self.constants.get(name)
        if value not in allowed:
            raise ServeError(f"constant {name!r} is not one of {', '.join(allowed)}")
        return str(value)

    def below(self, prefix: str) -> Parts:
        """The parts whose names begin with ``prefix``, without it; all constants."""

        def cut(named: Mapping[str, object]) -> dict[str, object]:
            start = len(prefix)
            return {k[start:]: v for k, v in named.items() if k.startswith(prefix)}

        return Parts(
            cut(self.numbers),  # type: ignore[arg-type]
            cut(self.structure),  # type: ignore[arg-type]
            {**self.constants, **cut(self.constants)},  # type: ignore[dict-item]
        )


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
    """Whether it pays to make the vector of each feature of a batch only once."""
    dim: int
    """D."""
    n_features: int | None = None
    """N, where the parts tell it."""

    @abstractmethod
    def __init__(self, parts: Parts) -> None: ...

    @abstractmethod
    def vectors(self, ids: NDArray[np.int64]) -> Floats:
        """Vectors of global ids: (M,) → (M, D)."""

    @property
    def index_bytes(self) -> int:
        """Memory of what was built beside the stored arrays."""
        return 0

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
    # Each feature's last place stands for it: no sorting. The array is not cleared, so that only
    # those of its pages are ever touched in which a feature of the batch is.
    last_place: NDArray[np.integer] = np.empty(int(ids.max()) + 1, dtype=places.dtype)
    last_place[ids] = places
    last = last_place.take(ids)
    # Scattering ranks takes half the time of counting flags, taking rows that of choosing by them.
    chosen = np.flatnonzero(last == places)
    rank = np.empty(len(ids), dtype=np.int64)
    rank[chosen] = places[: len(chosen)]
    return ids.take(chosen), rank.take(last)


def require(condition: bool, what: str) -> None:
    """Refuse parts that contradict each other."""
    if not condition:
        raise ServeError(f"the table contradicts itself: {what}; export it again")
