"""Compiled loops over blocks of codes, where numpy expressions would make several copies."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pepbench.compiling import compiled
from pepbench.tables.prefetch import PREFETCH_ROWS, prefetch_row


@compiled()
def chosen_rows(ids: NDArray[np.int32], order: NDArray[np.int64], out: NDArray[np.int64]) -> None:
    """Rows ``order`` (k,) of ``ids`` (n, F) into ``out`` (k, F).

    With software prefetch: twice as fast as numpy's indexing and conversion.
    """
    for k in range(len(order)):
        if k + PREFETCH_ROWS < len(order):
            prefetch_row(ids, order[k + PREFETCH_ROWS])
        row = order[k]
        for field in range(ids.shape[1]):
            out[k, field] = ids[row, field]


@compiled()
def count_training(
    codes: NDArray[np.int32],
    parts: NDArray[np.uint8],
    offsets: NDArray[np.int64],
    counts: NDArray[np.int64],
) -> None:
    """Count the raw values in training rows of codes (n, S), into ``counts`` (Σ cardinalities,).

    ``offsets`` (S,) are those of the fields of the columns. Codes below zero are no values.
    """
    for row in range(codes.shape[0]):
        if parts[row] == 0:
            for slot in range(codes.shape[1]):
                if codes[row, slot] >= 0:
                    counts[offsets[slot] + codes[row, slot]] += 1


@compiled()
def encode_part(
    codes: NDArray[np.int32],
    parts: NDArray[np.uint8],
    part: int,
    offsets: NDArray[np.int64],
    features: NDArray[np.int32],
    unseen: NDArray[np.int64],
    out: NDArray[np.int32],
) -> int:
    """Write the global ids of one part's rows to ``out``; returns how many are ``unseen``.

    ``offsets`` and ``unseen`` (S,) are those of the fields of the columns. Codes below zero stay.
    """
    n, n_unseen = 0, 0
    for row in range(codes.shape[0]):
        if parts[row] == part:
            for slot in range(codes.shape[1]):
                if codes[row, slot] < 0:
                    out[n, slot] = codes[row, slot]
                    continue
                feature = features[offsets[slot] + codes[row, slot]]
                out[n, slot] = feature
                n_unseen += feature == unseen[slot]
            n += 1
    return n_unseen


@compiled()
def first_outside(
    ids: NDArray[np.int32],
    low: NDArray[np.int64],
    high: NDArray[np.int64],
    padded: NDArray[np.bool_],
) -> tuple[int, int]:
    """Row and column of the first id (n, S) outside its column's [low, high); (-1, -1) if none.

    Columns that are ``padded`` (S,) may hold −1, too.
    """
    for row in range(ids.shape[0]):
        for slot in range(ids.shape[1]):
            if ids[row, slot] < low[slot] or ids[row, slot] >= high[slot]:
                if padded[slot] and ids[row, slot] == -1:
                    continue
                return row, slot
    return -1, -1
