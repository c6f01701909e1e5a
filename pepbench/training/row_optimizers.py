"""Optimizers that update a table by rows: lazy Adam with L2, and row-wise Adagrad.

Each keeps its state by row (:class:`~pepbench.tables.rows.RowState`), so that a step costs what its
batch needs. :class:`RowWise` joins them to a dense optimizer of the other parameters.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from pepbench.tables.rows import RowState
from pepbench.training import optimizer_kernels as kernels
from pepbench.training.uncompiled import Uncompiled

BETA1, BETA2, ADAM_EPSILON = 0.9, 0.999, 1e-8
"""Of Adam, as in ``torch.optim.Adam``."""

ADAGRAD_EPSILON = 1e-10
"""Added to the root, as in ``torch.optim.Adagrad``."""

SWEEP_STEPS = 200
"""Every row is brought up to date at least this often, a share of the table in each step."""

LONGEST_STRIDE = 32
"""Steps of decay that a catch-up applies at once."""

GRID = 32_769
"""Initial values for which the first steps without a gradient are computed."""

LINE = 64
"""Bytes of a cache line."""


AdamState = tuple[np.ndarray, np.ndarray, np.ndarray]
"""Values (N, w), both moments (N, 2, w), and the step (N,) that each row is up to date with."""


class RowAdam(RowState):
    """Adam with L2 (Kingma & Ba 2015) on a parameter (N, …) by rows: lazy, with catch-up.

    Rows of the batch are updated exactly. What dense Adam would have done to a row meanwhile
    (its L2 shrinks untouched values, and raises PEP's thresholds) is applied lazily: when the row
    is next needed, and for every row once in :data:`SWEEP_STEPS` steps, in strides whose error is
    far below one per cent of the movement
    (:func:`pepbench.training.optimizer_kernels.adam_catch_up`).
    """

    def __init__(self, parameter: nn.Parameter, learning_rate: float, l2: float) -> None:
        super().__init__(parameter)
        self.learning_rate, self.l2 = learning_rate, l2
        self.step_number = 0
        n_rows, width = self.values.shape
        # Both moments of a row side by side: a row costs fewer cache misses.
        self._moments = aligned_zeros((n_rows, 2, width), self.values.dtype)
        self._last = np.zeros(n_rows, dtype=np.int32)
        stride = np.arange(LONGEST_STRIDE + 1)
        self._powers = np.stack(
            [
                BETA1**stride,
                BETA2**stride,
                BETA2 ** ((stride + 1) / 2),
                BETA2 ** np.minimum(stride, 5),
            ]
        )
        # After 20,000 steps β₂ᵗ is 2e-9: the correction no longer shows in single precision.
        step = np.maximum(np.arange(20_001), 1)
        self._scales = np.stack([learning_rate / (1 - BETA1**step), 1 / np.sqrt(1 - BETA2**step)])
        self._grid = Grid.over(self.values)

    def update(self, rows: np.ndarray, gradient: np.ndarray) -> None:
        """Make one step with the gradient (M, w) of ``rows`` (M,), which must be up to date."""
        self.step_number += 1
        if self.step_number <= kernels.EXACT_STEPS:
            self._advance_grid()
        state = (self.values, self._moments, self._last)
        settings = (self.learning_rate, self.l2, BETA1, BETA2, ADAM_EPSILON)
        kernels.adam_update_rows(*state, rows, gradient, self.step_number, *settings)

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
        """Bring ``rows`` (M,) up to the last step."""
        self._replay((self.values, self._moments, self._last), rows, self._grid)

    def current(self, rows: slice) -> np.ndarray:
        """A copy of ``rows``, shape (M, w), as catching up would leave them; changes nothing."""
        values, moments, last = (
            array[rows].copy() for array in (self.values, self._moments, self._last)
        )
        self._replay((values, moments, last), np.arange(len(values)), self._grid)
        return values

    def _advance_grid(self) -> None:
        grid = self._grid
        no_grid = Grid.over(grid.values[:0])
        state = (grid.values, grid.moments, grid.last)
        self._replay(state, np.arange(len(grid.values)), no_grid)

    def _replay(self, state: AdamState, rows: np.ndarray, grid: Grid) -> None:
        kernels.adam_catch_up(
            *state,
            rows,
            self.step_number,
            self.learning_rate,
            self.l2,
            ADAM_EPSILON,
            self._powers,
            self._scales,
            grid.values,
            grid.moments,
            min(self.step_number, kernels.EXACT_STEPS),
            grid.reach,
        )


@dataclass(frozen=True, eq=False)
class Grid:
    """Where the first steps without a gradient take each of many initial values.

    That depends on the initial value alone, so a grid of values is replayed step by step, and rows
    that no batch has needed yet are interpolated from it.
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
        """A grid at step 0 over all values of ``table``; empty for a table that is no larger."""
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


class RowAdagrad(RowState):
    """Adagrad (Duchi, Hazan, Singer 2011) with the mean of a row's squared gradient, as industry
    trains its tables (Naumov et al. 2019, arXiv 1906.00091).

    State is N numbers instead of N·w. L2 reaches the rows of a batch only: with it, a row that is
    never seen keeps its initial values, where the dense form would shrink them.
    """

    def __init__(self, parameter: nn.Parameter, learning_rate: float, l2: float) -> None:
        super().__init__(parameter)
        self.learning_rate, self.l2 = learning_rate, l2
        self._sums = np.zeros(len(self.values), dtype=self.values.dtype)

    def update(self, rows: np.ndarray, gradient: np.ndarray) -> None:
        """Make one step with the gradient (M, w) of ``rows`` (M,)."""
        rate, l2 = self.learning_rate, self.l2
        kernels.adagrad_update_rows(
            self.values, self._sums, rows, gradient, rate, l2, ADAGRAD_EPSILON
        )

    def catch_up(self, rows: np.ndarray) -> None:
        """Nothing: rows do not change while no batch needs them."""

    def current(self, rows: slice) -> np.ndarray:
        """A copy of ``rows``, shape (M, w)."""
        return self.values[rows].copy()

    def sweep(self) -> None:
        """Nothing, for the same reason."""


class RowWise(Uncompiled):
    """An optimizer by rows on row tables, and a dense one on the other parameters.

    Parameters
    ----------
    parameters
        All that are updated.
    rows
        The state of each row table among them.
    dense
        The optimizer of the others, if there are any.
    """

    def __init__(
        self,
        parameters: Sequence[nn.Parameter],
        rows: Mapping[nn.Parameter, RowState],
        dense: torch.optim.Optimizer | None,
    ) -> None:
        super().__init__(parameters, {})
        self.rows, self.dense = rows, dense

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget all gradients."""
        super().zero_grad(set_to_none)
        for state in self.rows.values():
            state.gradients.clear()

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Make one update."""
        if self.dense is not None:
            self.dense.step()
        for parameter, state in self.rows.items():
            # As in torch's optimizers, a parameter that is held does not age.
            if parameter.requires_grad:
                state.step()
                state.sweep()

    def flush(self) -> None:
        """Bring every row of every table up to date, before a table is read whole."""
        for state in self.rows.values():
            state.flush()
