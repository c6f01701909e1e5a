"""Tables of which a batch needs few rows: look at them, and update them, by the row.

A batch of B rows and F fields looks up at most B·F of N features. :func:`view_of` cuts those rows
out of a parameter, so that the work of a step depends on the batch, not on the table. An optimiser
that keeps state by the row (:class:`RowAdam`) attaches itself to a parameter; without one, a view
is the whole parameter.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from pepbench import kernels

SWEEP_STEPS = 200
"""Every row is brought up to date at least this often, a share of the table in each step."""

LONGEST_STRIDE = 32
"""Steps of untouched decay that are made good at once."""


class RowTable(nn.Parameter):
    """A parameter (N, …) that training reads through :func:`view_of` only.

    That is what allows an optimiser to work on its rows; elsewhere it is a parameter like others.
    """


class View(NamedTuple):
    """Rows of a table, and where a batch finds its own among them."""

    table: Tensor
    """Shape (M, w): the whole table, or its rows that the batch needs."""
    ids: Tensor
    """Shape (B, F): rows of ``table``."""
    rows: Tensor | None
    """Shape (M,): global ids of the rows; None if the table is whole."""


def view_of(parameter: RowTable, ids: Tensor) -> View:
    """The rows of ``parameter`` (N, w) that ``ids`` (B, F) need, with gradients.

    The whole parameter where no row-wise optimiser is attached, or no gradient is wanted.
    """
    state = _state_of(parameter)
    if state is None or not torch.is_grad_enabled():
        return View(parameter, ids, None)
    rows, local = distinct(ids, parameter.shape[0])
    state.catch_up(rows.numpy())
    table: Tensor = _Gather.apply(parameter, rows, state)  # type: ignore[no-untyped-call]
    return View(table, local, rows)


def swept_rows(parameter: RowTable) -> slice:
    """The rows that the last step brought up to date because it was their turn."""
    state = _state_of(parameter)
    return slice(0, 0) if state is None else state.swept


def distinct(ids: Tensor, n_rows: int) -> tuple[Tensor, Tensor]:
    """The distinct ids of a batch (M,), and the batch in terms of them (B, F).

    Remembered for as long as ``ids`` lives, since several tables are looked up with them.
    """
    if ids in _DISTINCT:
        known: tuple[Tensor, Tensor] = _DISTINCT[ids]
        return known
    if n_rows not in _SLOTS:
        _SLOTS[n_rows] = np.full(n_rows, -1, dtype=np.int32)
    flat = ids.reshape(-1).numpy()
    unique = np.empty(len(flat), dtype=np.int64)
    local = np.empty(len(flat), dtype=np.int64)
    count = kernels.unique_rows(flat, _SLOTS[n_rows], unique, local)
    found = torch.from_numpy(unique[:count]), torch.from_numpy(local).view(ids.shape)
    _DISTINCT[ids] = found
    return found


class _Gather(torch.autograd.Function):
    """Rows of a parameter; their gradient goes to the row-wise optimiser, not to ``.grad``."""

    @staticmethod
    def forward(ctx, parameter: Tensor, rows: Tensor, state: RowAdam) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.rows, ctx.state = rows, state
        return parameter.index_select(0, rows)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[None, None, None]:  # type: ignore[no-untyped-def]
        ctx.state.gradients.append((ctx.rows, gradient))
        return None, None, None


@dataclass(frozen=True)
class AdamSettings:
    """Of Adam with L2 in the gradient."""

    learning_rate: float
    l2: float
    beta1: float = 0.9
    beta2: float = 0.999
    epsilon: float = 1e-8


class RowAdam:
    """Adam with L2 on a parameter (N, …) by the row, on the CPU.

    Rows of the batch are updated exactly. What dense Adam would have done to a row meanwhile
    (its L2 shrinks untouched values, and raises PEP's thresholds) is made good when it is next
    needed, and for every row once in :data:`SWEEP_STEPS` steps, in strides whose error is far
    below a per cent of the movement (:func:`pepbench.kernels.adam_catch_up`).
    """

    def __init__(self, parameter: nn.Parameter, settings: AdamSettings) -> None:
        previous = _state_of(parameter)
        if previous is not None:
            previous.flush()
        self.settings = settings
        self.step_number = 0
        self.gradients: list[tuple[Tensor, Tensor]] = []
        self._values = parameter.detach().view(len(parameter), -1).numpy()
        # Both moments of a row side by side: a row costs fewer cache misses.
        shape = (len(parameter), 2, self._values.shape[1])
        self._moments = np.zeros(shape, dtype=self._values.dtype)
        self._last = np.zeros(len(parameter), dtype=np.int32)
        self.swept = slice(0, 0)
        self._powers = _powers(settings)
        self._corrections = _corrections(settings)
        _STATES[parameter] = self

    def merged_gradient(self) -> tuple[Tensor, Tensor] | None:
        """Distinct rows and their gradients (M, …) since the last step; None without any."""
        if not self.gradients:
            return None
        if len(self.gradients) > 1:
            rows = torch.cat([rows for rows, _ in self.gradients])
            every = torch.cat([gradient for _, gradient in self.gradients])
            unique, inverse = torch.unique(rows, return_inverse=True)
            total = every.new_zeros(len(unique), *every.shape[1:]).index_add_(0, inverse, every)
            self.gradients = [(unique, total)]
        return self.gradients[0]

    def step(self) -> None:
        """Update the rows that have gradients, and bring a share of the others up to date."""
        merged = self.merged_gradient()
        self.gradients = []
        settings = self.settings
        if merged is not None:
            rows, gradient = merged
            kernels.adam_update_rows(
                self._values,
                self._moments,
                self._last,
                rows.numpy(),
                gradient.contiguous().view(len(rows), -1).numpy(),
                self.step_number + 1,
                settings.learning_rate,
                settings.l2,
                settings.beta1,
                settings.beta2,
                settings.epsilon,
            )
        self.step_number += 1

    def sweep(self) -> None:
        """Bring the next share of the table, :attr:`swept`, up to date."""
        n_rows = len(self._last)
        share = -(-n_rows // SWEEP_STEPS)
        start = self.swept.stop if self.swept.stop < n_rows else 0
        self.swept = slice(start, min(start + share, n_rows))
        self.catch_up(np.arange(start, self.swept.stop))

    def flush(self) -> None:
        """Bring every row up to date."""
        self.catch_up(np.arange(len(self._last)))

    def catch_up(self, rows: np.ndarray) -> None:
        """Bring ``rows`` up to the last step."""
        settings = self.settings
        kernels.adam_catch_up(
            self._values,
            self._moments,
            self._last,
            rows,
            self.step_number,
            settings.learning_rate,
            settings.l2,
            settings.epsilon,
            self._powers,
            self._corrections,
        )


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


def _corrections(settings: AdamSettings) -> np.ndarray:
    # After 20,000 steps β₂ᵗ is 2e-9, and the correction no longer shows in single precision.
    step = np.arange(20_001)
    corrections = np.stack([1 - settings.beta1**step, 1 - settings.beta2**step])
    corrections[:, 0] = corrections[:, 1]
    return corrections


def _state_of(parameter: nn.Parameter) -> RowAdam | None:
    state: RowAdam | None = _STATES.get(parameter)  # type: ignore[no-untyped-call]
    return state


_STATES: WeakIdKeyDictionary = WeakIdKeyDictionary()
_DISTINCT: WeakIdKeyDictionary = WeakIdKeyDictionary()
_SLOTS: dict[int, np.ndarray] = {}
