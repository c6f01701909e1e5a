"""Trained numbers as they are stored: as floats, as halves, or as integers with scales or steps.

A lookup restores only the rows that it needs; the stored arrays may be memory-mapped.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from pepbench.errors import ServeError
from pepbench.serve.packing import unpacked_at

Floats = NDArray[np.floating]
"""Floating-point numbers of any precision."""
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


class PackedIntegers(Numbers):
    """Integers of b bits times learnt steps, plus an offset for each column if there is one.

    ``codes`` (⌈n·b / 8⌉,) holds the integers plus 2^(b−1), row after row, each in b bits, the
    lowest first. ``steps`` (S,) belong to consecutive rows: one to each row, one to all, or one to
    as many rows as ``runs`` (S,) says. ``offsets`` has one number for each column, or none.
    """

    bits: ClassVar[int]
    """b."""
    dtypes: ClassVar = {
        "codes": (np.uint8,),
        "steps": (np.float32,),
        "runs": (np.uint32,),
        "offsets": (np.float32,),
    }

    def __init__(self, stored: Stored, shape: tuple[int, ...]) -> None:
        if len(shape) != 2:
            raise ServeError("packed integers need rows and columns; export the table again")
        super().__init__(stored, shape)
        self._codes: NDArray[np.uint8] = stored["codes"].ravel()  # type: ignore[assignment]
        self._steps: Floats = stored["steps"].ravel()  # type: ignore[assignment]
        self._offsets: Floats = stored["offsets"].ravel()  # type: ignore[assignment]
        self._ends = np.cumsum(stored["runs"].ravel(), dtype=np.int64)
        if len(self._ends) and int(self._ends[-1]) != shape[0]:
            raise ServeError("steps belong to another number of rows; export the table again")

    def blocks(self, index: NDArray[np.integer], width: int) -> Floats:
        """Runs of ``width`` columns, numbered row after row: (…) → (…, width)."""
        n_runs = self.size // width
        # Numbers share bytes, so the bytes alone would let the last index pass by some.
        if index.size and (index.min() < 0 or index.max() >= n_runs):
            raise IndexError(f"index out of range of {n_runs}")
        per_row = self.columns // width
        places = index[..., None] * width + np.arange(width)
        codes = unpacked_at(self._codes, places * self.bits, np.array(self.bits))
        restored: Floats = (codes - (1 << (self.bits - 1))).astype(np.float32)
        restored *= self._steps_of(index // per_row)[..., None]
        if len(self._offsets):
            restored += self._offsets.reshape(-1, width).take(index % per_row, axis=0)
        return restored

    def at(self, index: NDArray[np.integer]) -> Floats:
        """Entries, numbered row after row: (…) → (…)."""
        restored: Floats = self.blocks(index, 1)[..., 0]
        return restored

    def _steps_of(self, rows: NDArray[np.integer]) -> Floats:
        if len(self._ends):
            return self._steps.take(np.searchsorted(self._ends, rows, side="right"))
        return self._steps.take(rows if len(self._steps) > 1 else np.zeros_like(rows))

    def _lengths(self) -> Mapping[str, int]:
        steps, runs, offsets = (self.stored[k].size if k in self.stored else 0 for k in _PER_STEP)
        rows, columns = self.shape
        return {
            "codes": -(-self.size * self.bits // 8),
            "steps": runs or (1 if steps == 1 else rows),
            "runs": runs,
            "offsets": columns if offsets else 0,
        }


_PER_STEP = ("steps", "runs", "offsets")


def _packed_kind(bits: int) -> type[PackedIntegers]:
    class _Packed(PackedIntegers):
        pass

    _Packed.scheme, _Packed.bits = f"packed{bits}", bits
    return _Packed


PACKED = {bits: _packed_kind(bits) for bits in (1, 2, 3, 4, 5, 6, 7, 8, 16)}
"""Packed integers by their number of bits."""

_KINDS: tuple[type[Numbers], ...] = (Plain, Half, Int8, Int4, *PACKED.values())

SCHEMES = {kind.scheme: kind for kind in _KINDS}
"""By the name in ``meta.json``."""


def plain(array: Floats) -> Numbers:
    """An array in memory as numbers.

    >>> plain(np.eye(2)).rows(np.array([1])).tolist()
    [[0.0, 1.0]]
    """
    return Plain({"values": array}, array.shape)
