"""Encoding: which raw values of a field become features, decided by the training rows alone.

Within a field, code 0 is for all values that do not become a feature; features count from 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from pepbench.serve.transforms import squared_logs

MOST_VALUES = 2**31 - 1
"""Values of a field, and most counts of rows."""
MOST_BINS = 2**16
MANTISSA_BITS = 16
"""Numbers to be binned are rounded to this relative precision (1.5e-5), so that a column of real
numbers has a bounded vocabulary. Whole numbers up to 131,072 are exact."""


class FieldEncoding(BaseModel):
    """How a field's raw values become features.

    A missing value is a raw value like any other: it has a feature if it is frequent enough in
    training.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    min_count: int = Field(default=1, ge=1, le=MOST_VALUES)
    """Fewest training rows of a value with a feature of its own."""
    top: int | None = Field(default=None, ge=1, le=MOST_VALUES)
    """Most values with a feature of their own; the most frequent ones are taken."""
    bins: int | None = Field(default=None, ge=2, le=MOST_BINS)
    """For numbers: number of intervals with about equally many training rows."""
    missing: tuple[str, ...] = ()
    """Words that stand for a missing value, besides null, NaN and nothing."""


@dataclass(frozen=True)
class Grouping:
    """The features of one field."""

    codes: NDArray[np.int64]
    """Shape (raw cardinality,): code of each raw value within the field."""
    cardinality: int
    """Number of features, code 0 included."""


def group(
    encoding: FieldEncoding, counts: NDArray[np.int64], values: Sequence[str] | None
) -> Grouping:
    """Group a field's raw values into features.

    Parameters
    ----------
    encoding
        The field's encoding.
    counts
        Shape (raw cardinality,): number of training rows with each raw value.
    values
        The raw values as text; needed only for bins.

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
    frequent = counts >= encoding.min_count
    if encoding.top is not None and encoding.top < len(counts):
        # Stable: of equally frequent values, the one that appears first is taken.
        frequent[np.argsort(-counts, kind="stable")[encoding.top :]] = False
    return Grouping(np.where(frequent, np.cumsum(frequent), 0), 1 + int(frequent.sum()))


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
    """Edges that cut numbers into intervals with about equally many rows: (≤ bins − 1,).

    An edge belongs to the interval above it. Each interval has training rows.

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


def numbers_of(values: Sequence[str]) -> NDArray[np.float64]:
    """Raw values as numbers, (n,); NaN for the missing one."""
    texts = pa.array(values, pa.string())
    filled = pc.if_else(pc.equal(texts, ""), "nan", texts)
    return np.asarray(filled.cast(pa.float64()).to_numpy(zero_copy_only=False))


def truncated_mantissa(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Truncate numbers to 16 binary digits after the leading one: (n,) → (n,).

    Computed on the bits, so that all machines agree.

    >>> truncated_mantissa(np.array([131071.0, 0.1, -3.0])).tolist()
    [131071.0, 0.09999942779541016, -3.0]
    """
    mask = np.uint64(2**64 - 2 ** (52 - MANTISSA_BITS))
    cut = np.ascontiguousarray(numbers, dtype=np.float64).view(np.uint64) & mask
    return np.asarray(cut.view(np.float64) + 0.0)


def log_squared(numbers: NDArray[np.int64]) -> pa.StringArray:
    """⌊(ln v)²⌋ of counts v > 2, else v itself after ``SP``: (n,) → (n,).

    The buckets of the winners of the Criteo challenge.

    >>> log_squared(np.array([-2, 0, 2, 3, 1_000])).to_pylist()
    ['SP-2', 'SP0', 'SP2', '1', '47']
    """
    large = numbers > 2
    texts = pa.array(np.where(large, squared_logs(numbers), numbers)).cast(pa.string())
    return pc.if_else(pa.array(large), texts, pc.binary_join_element_wise("SP", texts, ""))
