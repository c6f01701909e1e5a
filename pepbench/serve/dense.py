"""Dense fields: numbers that backbones read as they are, scaled by the training rows.

Needs numpy only: training and :mod:`pepbench.serve` scale alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

Transform = Literal["standard", "log1p"]
"""``standard``: less the mean of the training rows, divided by their standard deviation.
``log1p``: ln(1 + x), numbers below zero as zero, as DLRM has Criteo's counts."""

TRANSFORMS: tuple[Transform, ...] = get_args(Transform)


@dataclass(frozen=True)
class DenseScale:
    """How the numbers of a dense field become inputs of a backbone.

    A missing number becomes 0. Where a training row lacks it, there is a second input, which is 1
    for missing numbers.

    Examples
    --------
    >>> DenseScale("standard", mean=2.0, std=4.0, missing=True).inputs(np.array([10.0, np.nan]))
    array([[2., 0.],
           [0., 1.]], dtype=float32)
    """

    transform: Transform
    mean: float = 0.0
    std: float = 1.0
    missing: bool = False
    """Whether training rows lack the number."""

    def inputs(self, numbers: NDArray[np.float64]) -> NDArray[np.float32]:
        """Numbers, NaN where missing, as inputs: (n,) → (n, 1), or (n, 2) if :attr:`missing`."""
        if self.transform == "log1p":
            scaled = np.log1p(np.maximum(numbers, 0.0))
        else:
            scaled = (numbers - self.mean) / self.std
        none = np.isnan(numbers)
        columns = [np.where(none, 0.0, scaled)]
        return np.stack([*columns, none] if self.missing else columns, axis=1).astype(np.float32)


def dense_inputs(
    numbers: NDArray[np.float64], scales: Mapping[str, DenseScale]
) -> NDArray[np.float32]:
    """Inputs of a backbone from the numbers of all dense fields: (n, fields) → (n, M)."""
    columns = [scale.inputs(numbers[:, k]) for k, scale in enumerate(scales.values())]
    return np.hstack(columns)


def read_scales(entries: Any) -> dict[str, DenseScale]:
    """The dense fields that ``meta.json`` describes, by name."""
    scales = {}
    for entry in entries:
        transform = entry["transform"]
        if transform not in TRANSFORMS or not float(entry["std"]) > 0:
            raise ValueError(f"dense field {entry['name']!r}")
        scales[str(entry["name"])] = DenseScale(
            transform, float(entry["mean"]), float(entry["std"]), bool(entry["missing"])
        )
    return scales
