"""Trained numbers as they are stored: as floats, as halves, or as integers with scales. A lookup

restores only the rows that it needs; the stored arrays may be memory-mapped.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pepbench.errors import ServeError

Floats = NDArray[np.floating]
Stored = Mapping[str, NDArray[np.generic]]

GROUP = 64
"""Numbers that share a scale where an array has no rows."""


class Numbers(ABC):
    """A stored array that is read in parts; its rows run along the last axis.

    Parameters
    ----------
    stored
        Its stored arrays, by their names in the scheme.
    shape
        Shape of the array that they stand for.

    Raises
    ------
    ServeError
        If the stored arrays do not fit this shape.
    """

    scheme: ClassVar[str]
    dtypes: ClassVar[Mapping[str, tuple[type[np.generic], ...]]]
    """Names and types of the stored arrays."""

    def __init__(self, stored: Stored, shape: tuple[int, ...]) -> None:
        self.shape = shape
        self.stored = stored
        wanted = self._lengths()
        for name, types in self.dtypes.items():
            array = stored.get(name)
            if array is None or array.dtype not in types or array.size != wanted[name]:
                raise ServeError(
                    f"{name} of an array of shape {list(shape)} should be {wanted[name]} numbers "
                    f"of {types[0].__name__}; export the table again"
                )

    @property
    def size(self) -> int:
        """Numbers in the array."""
        return math.prod(self.shape)

    @property
    def columns(self) -> int:
        """Numbers in a row."""
        return self.shape[-1]

    def rows(self, index: NDArray[np.integer]) -> Floats:
        """Rows of a two-dimensional array: (…) → (…, columns)."""
        if not self.columns:
            return np.zeros((*np.shape(index), 0), dtype=np.float32)
        return self.blocks(index, self.columns)

    def pieces(self, rows: NDArray[np.integer]) -> Floats:
        """For each row, c pieces from c rows, piece j from ``rows`` (M, j): (M, c) → (M, columns).

        >>> plain(np.array([[1.0, 2.0], [3.0, 4.0]])).pieces(np.array([[1, 0]])).tolist()
        [[3.0, 2.0]]
        """
        count = rows.shape[1]
        places = rows * count + np.arange(count)
        return self.blocks(places, self.columns // count).reshape(len(rows), -1)

    @abstractmethod
    def blocks(self, index: NDArray[np.integer], width: int) -> Floats:
        """Runs of ``width`` columns, numbered row after row: (…) → (…, width)."""

    @abstractmethod
    def at(self, index: NDArray[np.integer]) -> Floats:
        """Entries of a one-dimensional array: (…) → (…)."""

    def whole(self) -> Floats:
        """The whole array, in memory."""
        if len(self.shape) == 1:
            return self.at(np.arange(self.size))
        return self.rows(np.arange(math.prod(self.shape[:-1]))).reshape(self.shape)

    def _lengths(self) -> Mapping[str, int]:
        """How many entries each of the stored arrays has."""
        return dict.fromkeys(self.dtypes, self.size)

    @property
    def _n_scales(self) -> int:
        return -(-self.size // GROUP) if len(self.shape) == 1 else math.prod(self.shape[:-1])


class Plain(Numbers):
    """Floats as they are."""

    scheme = "float"
    dtypes: ClassVar = {"values": (np.float32, np.float64)}

    def __init__(self, stored: Stored, shape: tuple[int, ...]) -> None:
        super().__init__(stored, shape)
        self._values: Floats = stored["values"].reshape(shape)  # type: ignore[assignment]

    def blocks(self, index: NDArray[np.integer], width: int) -> Floats:
        """Runs of ``width`` columns, numbered row after row: (…) → (…, width)."""
        return self._values.reshape(-1, width).take(index, axis=0)

    def at(self, index: NDArray[np.integer]) -> Floats:
        """Entries of a one-dimensional array: (…) → (…)."""
        return self._values.take(index)

    def whole(self) -> Floats:
        """The whole array, without a copy."""
        return self._values


class Half(Plain):
    """IEEE half precision."""

    scheme = "fp16"
    dtypes: ClassVar = {"values": (np.float16,)}

    def blocks(self, index: NDArray[np.integer], width: int) -> Floats:
        """Runs of ``width`` columns, numbered row after row: (…) → (…, width)."""
        return super().blocks(index, width).astype(np.float32)

    def at(self, index: NDArray[np.integer]) -> Floats:
        """Entries of a one-dimensional array: (…) → (…)."""
        return super().at(index).astype(np.float32)

    def whole(self) -> Floats:
        """The whole array, in memory."""
        return super().whole().astype(np.float32)


class Int8(Numbers):
    """One byte a number, times the scale of its row, or of its run of 64."""

    scheme = "int8"
    dtypes: ClassVar = {"codes": (np.int8,), "scales": (np.float32,)}

    def __init__(self, stored: Stored, shape: tuple[int, ...]) -> None:
        super().__init__(stored, shape)
        self._codes: NDArray[np.integer] = stored["codes"].ravel()  # type: ignore[assignment]
        self._scales: Floats = stored["scales"].ravel()  # type: ignore[assignment]

    def blocks(self, index: NDArray[np.integer], width: int) -> Floats:
        """Runs of ``width`` columns, numbered row after row: (…) → (…, width)."""
        restored = self._unscaled(index, width)
        restored *= self._scales.take(index // (self.columns // width))[..., None]
        return restored

    def at(self, index: NDArray[np.integer]) -> Floats:
        """Entries of a one-dimensional array: (…) → (…)."""
        restored: Floats = self._unscaled(index, 1)[..., 0]
        restored *= self._scales.take(index // GROUP)
        return restored

    def _unscaled(self, index: NDArray[np.integer], width: int) -> Floats:
        """Runs of ``width`` codes: (…) → (…, width)."""
        return self._codes.reshape(-1, width).take(index, axis=0).astype(np.float32)

    def _lengths(self) -> Mapping[str, int]:
        return {"codes": self.size, "scales": self._n_scales}


class Int4(Int8):
    """Half a byte a number, the first in the lower bits, times a scale as for eight bits."""

    scheme = "int4"
    dtypes: ClassVar = {"codes": (np.uint8,), "scales": (np.float32,)}

    def _unscaled(self, index: NDArray[np.integer], width: int) -> Floats:
        """Runs of ``width`` codes: (…) → (…, width)."""
        n_runs = self.size // width
        # Two numbers share a byte, so the bytes alone would let the last index pass by one.
        if index.size and (index.min() < 0 or index.max() >= n_runs):
            raise IndexError(f"index out of range of {n_runs}")
        places = index[..., None] * width + np.arange(width)
        octets = self._codes.take(places >> 1)
        nibbles = (octets >> ((places & 1) << 2).astype(np.uint8)) & 15
        restored: Floats = nibbles.astype(np.float32)
        restored -= 8
        return restored

    def _lengths(self) -> Mapping[str, int]:
        return {"codes": -(-self.size // 2), "scales": self._n_scales}


SCHEMES: dict[str, type[Numbers]] = {kind.scheme: kind for kind in (Plain, Half, Int8, Int4)}
"""By the name in ``meta.json``."""


def plain(array: Floats) -> Numbers:
    """An array in memory as numbers.

    >>> plain(np.eye(2)).rows(np.array([1])).tolist()
    [[0.0, 1.0]]
    """
    return Plain({"values": array}, array.shape)
