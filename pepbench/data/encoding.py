"""Which raw values of a field become features: decided by the training rows alone.

Within a field, code 0 is for everything that did not become one; the others are counted from 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

MANTISSA_BITS = 16
"""Numbers to be binned are kept to this relative precision (1.5e-5), so that a column of real
numbers has a bounded vocabulary. Whole numbers up to 131,072 are exact."""


class FieldEncoding(BaseModel):
    """How a field's raw values are turned into features.

    A missing value is a raw value like any other: it has a feature of its own if training has it
    often enough.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_count: int = Field(default=1, ge=1)
    """In how many training rows a value must stand."""
    top: int | None = Field(default=None, ge=1)
    """How many values to keep, the most frequent ones."""
    bins: int | None = Field(default=None, ge=2)
    """For numbers: how many intervals of about equally many training rows to cut them into."""


@dataclass(frozen=True)
class Grouping:
    """The features of one field."""

    codes: NDArray[np.int64]
    """Shape (raw cardinality,): code within the field of each raw value."""
    cardinality: int
    """Features, code 0 included."""


def group(
    encoding: FieldEncoding, counts: NDArray[np.int64], values: Sequence[str] | None
) -> Grouping:
    """Decide on a field's features.

    Parameters
    ----------
    encoding
        How.
    counts
        Shape (raw cardinality,): in how many training rows each raw value stands.
    values
        The raw values as text; looked at only where numbers are binned.

    Examples
    --------
    >>> group(FieldEncoding(min_count=2), np.array([5, 1, 2]), None).codes.tolist()
    [1, 0, 2]
    >>> group(FieldEncoding(top=1), np.array([5, 1, 2]), None).codes.tolist()
    [1, 0, 0]
    >>> group(FieldEncoding(bins=2), np.array([1, 1, 1, 1]), ["3", "", "1", "2"]).codes.tolist()
    [2, 3, 1, 1]
    """
    if encoding.bins is not None:
        assert values is not None
        return _binned(encoding, counts, values)
    kept = counts >= encoding.min_count
    if encoding.top is not None and encoding.top < len(counts):
        # Stable: among equally frequent values the one that appears first is kept.
        kept[np.argsort(-counts, kind="stable")[encoding.top :]] = False
    return Grouping(np.where(kept, np.cumsum(kept), 0), 1 + int(kept.sum()))


def _binned(encoding: FieldEncoding, counts: NDArray[np.int64], values: Sequence[str]) -> Grouping:
    numbers = numbers_of(values)
    real = ~np.isnan(numbers)
    edges = quantile_edges(numbers[real], counts[real], encoding.bins or 2)
    codes = np.zeros(len(values), dtype=np.int64)
    codes[real] = 1 + np.searchsorted(edges, numbers[real], side="right")
    n_bins = len(edges) + 1 if real.any() else 0
    missing = ~real & (counts >= encoding.min_count)
    codes[missing] = n_bins + 1
    return Grouping(codes, 1 + n_bins + int(missing.any()))


def quantile_edges(
    numbers: NDArray[np.float64], counts: NDArray[np.int64], bins: int
) -> NDArray[np.float64]:
    """Where to cut numbers so that each interval holds about as many rows: (≤ bins − 1,).

    An edge belongs to the interval above it. No interval is without training rows.

    >>> quantile_edges(np.array([1.0, 2.0, 3.0]), np.array([2, 1, 1]), 2).tolist()
    [2.0]
    """
    seen = counts > 0
    order = np.argsort(numbers[seen], kind="stable")
    ordered, weights = numbers[seen][order], counts[seen][order]
    if len(ordered) == 0:
        return np.empty(0)
    below = np.cumsum(weights) - weights
    wanted = np.arange(1, bins) * int(weights.sum())
    # In whole numbers: the first value with at least k/bins of the rows below it.
    cuts = np.searchsorted(below * bins, wanted, side="left")
    return np.unique(ordered[cuts[cuts < len(ordered)]])


def interval_names(features: NDArray[np.int32], values: Sequence[str]) -> list[str]:
    """For each raw value the smallest and largest one with the same feature: (n,) → (n,).

    >>> interval_names(np.array([7, 8, 7, 9]), ["1", "5", "3", ""])
    ['1 to 3', '5', '1 to 3', '']
    """
    numbers = numbers_of(values)
    bounds: dict[int, tuple[float, float]] = {}
    for feature, number in zip(features.tolist(), numbers.tolist(), strict=True):
        low, high = bounds.get(feature, (number, number))
        bounds[feature] = min(low, number), max(high, number)
    return [
        "" if low != low else f"{low:g}" if low == high else f"{low:g} to {high:g}"
        for low, high in (bounds[feature] for feature in features.tolist())
    ]


def numbers_of(values: Sequence[str]) -> NDArray[np.float64]:
    """Raw values as numbers, (n,); NaN for the missing one."""
    texts = pa.array(values, pa.string())
    filled = pc.if_else(pc.equal(texts, ""), "nan", texts)
    return np.asarray(filled.cast(pa.float64()).to_numpy(zero_copy_only=False))


def truncated_mantissa(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cut numbers, towards zero, to 16 binary digits after the leading one: (n,) → (n,).

    Bit by bit, so that all machines agree.

    >>> truncated_mantissa(np.array([131071.0, 0.1, -3.0])).tolist()
    [131071.0, 0.09999942779541016, -3.0]
    """
    mask = np.uint64(2**64 - 2 ** (52 - MANTISSA_BITS))
    cut = np.ascontiguousarray(numbers, dtype=np.float64).view(np.uint64) & mask
    return np.asarray(cut.view(np.float64) + 0.0)


def log_squared(numbers: NDArray[np.int64]) -> pa.StringArray:
    """⌊(ln v)²⌋ for v > 2, else v itself behind ``SP``, as the winners of the Criteo challenge
    bucketed counts: (n,) → (n,).

    >>> log_squared(np.array([-2, 0, 2, 3, 1_000])).to_pylist()
    ['SP-2', 'SP0', 'SP2', '1', '47']
    """
    logarithms = np.log(np.maximum(numbers, 1))
    large = pa.array(numbers > 2)
    buckets = pa.array(np.floor(logarithms**2).astype(np.int64)).cast(pa.string())
    small = pc.if_else(large, None, pa.array(numbers).cast(pa.string()))
    return pc.if_else(large, buckets, pc.binary_join_element_wise("SP", small, ""))
