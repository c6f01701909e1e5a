"""Dense fields: numbers that are scaled by the training rows of a split and not looked up."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pepbench.data.arrays import read_rows
from pepbench.data.split_schemes import TRAIN
from pepbench.data.table import Table
from pepbench.serve.dense import DenseScale

LARGEST = 1e150
"""Largest size of a number: squares of larger ones are no longer finite."""


def scales_of(
    table: Table, parts: NDArray[np.uint8], blocks: list[tuple[int, int]]
) -> dict[str, DenseScale]:
    """The scales of a table's dense fields, if any, from the training rows alone.

    Parameters
    ----------
    table
        Read block by block.
    parts
        Shape (n,): the part of each row.
    blocks
        Bounds of the blocks to read.
    """
    transforms = table.meta.dense
    if not transforms:
        return {}
    n_missing, total, squares = (np.zeros(len(transforms)) for _ in range(3))
    least, most = np.full(len(transforms), np.inf), np.full(len(transforms), -np.inf)
    n_train = int(np.count_nonzero(parts == TRAIN))
    for start, stop in blocks:
        of_block = read_rows(table.dense, start, stop)[parts[start:stop] == TRAIN]
        n_missing += np.isnan(of_block).sum(axis=0)
        total += np.nansum(of_block, axis=0)
        least = np.fmin(least, np.fmin.reduce(of_block, axis=0, initial=np.inf))
        most = np.fmax(most, np.fmax.reduce(of_block, axis=0, initial=-np.inf))
    counts = np.maximum(n_train - n_missing, 1)
    # The mean of equal numbers need not be equal to them: a deviation of rounding errors would do.
    means = np.where(least == most, least, total / counts)
    for start, stop in blocks:
        of_block = read_rows(table.dense, start, stop)[parts[start:stop] == TRAIN]
        squares += np.nansum((of_block - means) ** 2, axis=0)
    deviations = np.sqrt(squares / counts)
    return {
        name: DenseScale(
            transform,
            mean=float(means[k]) if transform == "standard" else 0.0,
            std=float(deviations[k]) or 1.0 if transform == "standard" else 1.0,
            missing=bool(n_missing[k]),
        )
        for k, (name, transform) in enumerate(transforms.items())
    }


def input_names(scales: dict[str, DenseScale]) -> tuple[str, ...]:
    """Names of the inputs of all fields: (M,).

    >>> input_names({"age": DenseScale("standard", missing=True), "price": DenseScale("log1p")})
    ('age', 'age is missing', 'price')
    """
    return tuple(
        name
        for field, scale in scales.items()
        for name in ([field, f"{field} is missing"] if scale.missing else [field])
    )
