"""Adam by the row: exact on the rows of a batch, made good later on all others."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from torch import nn

from pepbench.tables import kernels
from pepbench.tables.rows import RowState

SWEEP_STEPS = 200
"""Every row is brought up to date at least this often, a share of the table in each step."""

LONGEST_STRIDE = 32
"""Steps of untouched decay that are made good at once."""

GRID = 32_769
"""Initial values for which the first steps without a gradient are worked out."""

LINE = 64
"""Bytes of a cache line."""


@dataclass(frozen=True)
class AdamSettings:
    """Of Adam with L2 in the gradient."""

    learning_rate: float
    l2: float
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8


class RowAdam(RowState):
    """Adam with L2 (Kingma & Ba 2015) on a parameter (N, …) by the row.

    Rows of the batch are updated exactly. What dense Adam would have done to a row meanwhile
    (its L2 shrinks untouched values, and raises PEP's thresholds) is made good when it is next
    needed, and for every row once in :data:`SWEEP_STEPS` steps, in strides whose error is far
    below a per cent of the movement (:func:`pepbench.tables.kernels.adam_catch_up`).
    """

    def __init__(self, parameter: nn.Parameter, settings: AdamSettings) -> None:
        super().__init__(parameter)
        self.settings = settings
        self.step_number = 0
        n_rows, width = self.values.shape
        # Both moments of a row side by side: a row costs fewer cache misses.
        self._moments = aligned_zeros((n_rows, 2, width), self.values.dtype)
        self._last = np.zeros(n_rows, dtype=np.int32)
        self._powers = _powers(settings)
        self._scales = _scales(settings)
        self._grid = Grid.over(self.values)

    def update(self, rows: np.ndarray, gradient: np.ndarray) -> None:
        """Make one step with the gradient (M, w) of ``rows`` (M,), which must be up to date."""
        self.step_number += 1
        if self.step_number <= kernels.EXACT_STEPS:
            self._advance_grid()
        settings = self.settings
        kernels.adam_update_rows(
            self.values,
            self._moments,
            self._last,
            rows,
            gradient,
            self.step_number,
            settings.learning_rate,
            settings.l2,
            settings.beta1,
            settings.beta2,
            settings.epsilon,
        )

    def sweep(self) -> None:
        """Bring the next share of the table, :attr:`swept`, up to date.

        Not in the first steps: rows that no batch needs pass them at once (:class:`Grid`).
        """
        if self.step_number < kernels.EXACT_STEPS:
            return
        n_rows = len(self._last)
        share = -(-n_rows // SWEEP_STEPS)
        start = self.swept.stop if self.swept.stop < n_rows else 0
        self.swept = slice(start, min(start + share, n_rows))
        self.catch_up(np.arange(start, self.swept.stop))

    def catch_up(self, rows: np.ndarray) -> None:
        """Bring ``rows`` up to the last step."""
        self._replay(self.values, self._moments, self._last, rows, self._grid)

    def _advance_grid(self) -> None:
        grid = self._grid
        no_grid = Grid.over(grid.values[:0])
        self._replay(grid.values, grid.moments, grid.last, np.arange(len(grid.values)), no_grid)

    def _replay(
        self,
        values: np.ndarray,
        moments: np.ndarray,
        last: np.ndarray,
        rows: np.ndarray,
        grid: Grid,
    ) -> None:
        settings = self.settings
        kernels.adam_catch_up(
            values,
            moments,
            last,
            rows,
            self.step_number,
            settings.learning_rate,
            settings.l2,
            settings.epsilon,
            self._powers,
            self._scales,
            grid.values,
            grid.moments,
            min(self.step_number, kernels.EXACT_STEPS),
            grid.reach,
        )


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the first steps take values without a gradient: it depends on the initial value alone,
    so a grid of values is replayed step by step, and rows that no batch has needed interpolate.
    """

    values: np.ndarray
    """Shape (G, 1)."""
    moments: np.ndarray
    """Shape (G, 2, 1)."""
    last: np.ndarray
    """Shape (G,)."""
    reach: float
    """The grid covers initial values from −reach to reach."""

    @classmethod
    def over(cls, table: np.ndarray) -> Grid:
        """A grid at step 0 over all values of ``table``; none for a table that is no larger."""
        reach = float(np.abs(table).max(initial=0.0))
        size = GRID if reach > 0 and table.size > GRID else 0
        values = np.linspace(-reach, reach, size, dtype=table.dtype)[:, None].copy()
        moments = np.zeros((size, 2, 1), dtype=table.dtype)
        return cls(values, moments, np.zeros(size, dtype=np.int32), reach)


def aligned_zeros(shape: tuple[int, ...], dtype: np.dtype) -> np.ndarray:
    """Zeros that start at a cache line, so that a row as long as a line lies in one."""
    n_bytes = math.prod(shape) * dtype.itemsize
    # numpy, not torch: it asks the system for large pages, of which scattered rows miss fewer.
    raw = np.zeros(n_bytes + LINE, dtype=np.uint8)
    start = -raw.ctypes.data % LINE
    return raw[start : start + n_bytes].view(dtype).reshape(shape)


def _powers(settings: AdamSettings) -> np.ndarray:
    stride = np.arange(LONGEST_STRIDE + 1)
    return np.stack(
        [
            settings.beta1**stride,
            settings.beta2**stride,
            settings.beta2 ** ((stride + 1) / 2),
            settings.beta2 ** np.minimum(stride, 5),
        ]
    )


def _scales(settings: AdamSettings) -> np.ndarray:
    # After 20,000 steps β₂ᵗ is 2e-9, and the correction no longer shows in single precision.
    step = np.maximum(np.arange(20_001), 1)
    first, second = 1 - settings.beta1**step, 1 - settings.beta2**step
    return np.stack([settings.learning_rate / first, 1 / np.sqrt(second)])
