"""Training of integers: the table has b bits a number from the first step to the last."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from torch import Tensor, nn

from pepbench.method import (
    Between,
    Fields,
    Fitted,
    Method,
    OneOf,
    RowState,
    RowTable,
    TableEmbedding,
    Task,
    View,
    distinct,
    to_numpy,
    view_of,
    xavier_uniform,
)
from pepbench.tables.layout import Dense
from pepbench.tables.quantised import Quantised, packed_integers

from .lsq import initial_steps, integers, largest

BETA, EPSILON = 0.999, 1e-8
"""Of the second moments of gradients, as in Adam."""


@dataclass(frozen=True)
class AdaptiveLowPrecision(Method):
    """Adaptive low-precision training (ALPT): integers are updated by stochastic rounding.

    Li, Guo, Hou, Zhang, Tang, Tang, Zhang, Li, "Adaptive Low-Precision Training for Embeddings in
    Click-Through Rate Prediction", AAAI 2023, arXiv 2212.05735, algorithm 1. There is no table in
    floating point, not even in training: a feature has integers c of b bits and a step Δ, and the
    vector v = Δ c. After a batch, only its rows are changed::

        w = Δ c − η ∂L/∂v
        Δ ← Δ − η_Δ g Σ ∂L/∂v · ∂Q(w)/∂Δ,    ∂Q(w)/∂Δ = round(w/Δ) − w/Δ, or the bound if clipped
        c ← clip(⌊w / Δ⌋ + 1 with probability w/Δ − ⌊w/Δ⌋, −2^(b−1), 2^(b−1) − 1)

    so that an update smaller than a step is right on average instead of lost. Δ starts as in
    ``lsq``, at 2 · mean|e| / √(2^(b−1) − 1) of the feature's row.

    The count is that of a table of N rows of width ⌊B / N⌋, as for ``uniform``; served are b bits a
    number and four bytes a feature, which at width 1 is more than its integer takes. The memory of
    training is the point: ``training_bytes`` in the notes is what integers, steps and the state of
    their updates take. Integers of at most 8 bits take one byte each in training, those of 16 bits
    two.

    Where we differ: the paper computes ∂L/∂v for Δ in a second pass, at the rounded w; here it is
    that of the one pass, at Δ c. It trains by Adam, whose moments need 8 bytes for each number of
    the table; here η is divided by the root of a moving average of the squared gradient over a
    row, one number a feature, and there is no momentum. The step is updated by a share of itself,
    with η_Δ = ``step_rate`` · η and an average of its own, under which the factor g
    cancels. L2 reaches the rows of a batch only. Integers are updated on the CPU only.
    """

    name = "alpt"
    family = "quantised"
    own_training = "updates its rows in its own way"
    year = 2023
    notes_training_bytes = True

    bits: Annotated[int, OneOf(2, 4, 8, 16, tuned=False), "b, of each integer"] = 8
    step_rate: Annotated[
        float,
        Between(0.01, 1.0, log=True, allow=(0.0, 100.0)),
        "learning rate of steps, as a share of the common one",
    ] = 1.0

    def fit(self, task: Task, budget: int) -> Fitted:
        """Train integers of ⌊budget / N⌋ columns; infeasible below N."""
        if task.device.type != "cpu":
            raise NotImplementedError("alpt updates its integers on the CPU; use --device cpu")
        return super().fit(task, budget)

    def embedding(self, fields: Fields, dim: int, budget: int) -> IntegerRows:
        """The table before training."""
        self.refuse_below(fields.n_features, budget, "one a feature")
        values = xavier_uniform(fields.n_features, min(dim, budget // fields.n_features))
        table = IntegerRows(values, self.bits, self.step_rate)
        table.unused_budget = "widths are whole numbers"
        return table


class IntegerRows(TableEmbedding):
    """A table of integers and a step for each row.

    Parameters
    ----------
    values
        Shape (N, w): initial values, which are rounded stochastically.
    bits
        b.
    step_rate
        Learning rate of steps as a share of that of values.
    """

    codes: Tensor
    """Shape (N, w), int8 or int16."""

    def __init__(self, values: Tensor, bits: int, step_rate: float) -> None:
        super().__init__()
        self.dim = values.shape[1]
        self.bits, self.step_rate = bits, step_rate
        steps = initial_steps(values.abs().mean(dim=1, keepdim=True), bits)
        kind = torch.int8 if bits <= 8 else torch.int16
        self.register_buffer("codes", stochastic_integers(values / steps, bits).to(kind))
        self.steps = RowTable(steps)
        self._state: IntegerRowState | None = None

    def as_table(self, ids: Tensor) -> View:
        """The rows of a batch as floating-point numbers."""
        view = view_of(self.steps, ids)
        if view.rows is not None:
            return view
        features, local = distinct(ids, len(self.codes))
        return View(self.codes[features] * self.steps.detach()[features], local, features)

    def row_states(self, learning_rate: float, l2: float) -> Mapping[nn.Parameter, RowState]:
        """The update of the integers."""
        self._state = IntegerRowState(
            self.steps, self.codes, self.bits, learning_rate, self.step_rate, l2
        )
        return {self.steps: self._state}

    def training_bytes(self) -> int:
        """Bytes of integers, steps, and the state of their updates."""
        state = 0 if self._state is None else self._state.n_bytes
        return self.codes.nbytes + self.steps.nbytes + state

    def n_parameters(self) -> int:
        """Integers: steps are part of how they are stored."""
        return self.codes.numel()

    def export(self) -> Quantised:
        """Packed integers and steps."""
        numbers = packed_integers(to_numpy(self.codes), self.bits, to_numpy(self.steps))
        return Quantised.from_numbers(Dense(numbers.whole()), {"table": numbers})


class IntegerRowState(RowState):
    """The update of rows of integers and their steps (algorithm 1).

    Parameters
    ----------
    steps
        Shape (N, 1).
    codes
        Shape (N, w).
    bits
        b.
    learning_rate, step_rate, l2
        η, η_Δ / η, and the weight of L2.
    """

    def __init__(
        self,
        steps: RowTable,
        codes: Tensor,
        bits: int,
        learning_rate: float,
        step_rate: float,
        l2: float,
    ) -> None:
        super().__init__(steps)
        # Detached: the parameter lives as long as its module, not as long as this state.
        self._steps, self._codes, self._bits = steps.detach(), codes, bits
        self._rates = torch.tensor([learning_rate, learning_rate * step_rate], dtype=steps.dtype)
        self._l2 = l2
        self._averages = torch.zeros(len(steps), 2, dtype=steps.dtype)
        """Moving averages of squared gradients: of a row, and of the logarithm of its step."""
        self._last = torch.zeros(len(steps), dtype=torch.int32)
        self._step_number = 0

    @property
    def n_bytes(self) -> int:
        """Bytes of what is kept from step to step."""
        return self._averages.nbytes + self._last.nbytes

    def gather(self, rows: Tensor) -> Tensor:
        """Rows (M,) as floating-point numbers: (M, w)."""
        return self._codes[rows] * self._steps[rows]

    @torch.no_grad()
    def update(self, rows: np.ndarray, gradient: np.ndarray) -> None:
        """Make one step with the gradient (M, w) of ``rows`` (M,)."""
        self._step_number += 1
        where, of_values = torch.from_numpy(rows), torch.from_numpy(gradient)
        if not len(where):
            return
        steps = self._steps[where]
        values = self._codes[where] * steps
        of_values = of_values + self._l2 * values
        rates = self._adapted_rates(where, of_values.square().mean(dim=1), 0)
        values -= rates * of_values
        of_steps = (of_values * step_slopes(values / steps, self._bits)).sum(dim=1) * steps[:, 0]
        rates = self._adapted_rates(where, of_steps.square(), 1)
        steps = steps * (-rates * of_steps[:, None]).exp()
        self._last[where] = self._step_number
        self._steps[where] = steps
        self._codes[where] = stochastic_integers(values / steps, self._bits).to(self._codes.dtype)

    def _adapted_rates(self, rows: Tensor, squares: Tensor, which: int) -> Tensor:
        """Learning rates (M, 1) by the averages of squared gradients, which are updated."""
        elapsed = self._step_number - self._last[rows]
        average = self._averages[rows, which] * BETA**elapsed + (1 - BETA) * squares
        self._averages[rows, which] = average
        root = (average / (1 - BETA**self._step_number)).sqrt() + EPSILON
        return (self._rates[which] / root)[:, None]

    def catch_up(self, rows: np.ndarray) -> None:
        """Nothing: rows do not change while no batch needs them."""

    def current(self, rows: slice) -> np.ndarray:
        """A copy of the steps of ``rows``, shape (M, 1)."""
        return self.values[rows].copy()

    def sweep(self) -> None:
        """Nothing, for the same reason."""


def stochastic_integers(ratios: Tensor, bits: int) -> Tensor:
    """Integers of b bits, drawn between the two neighbours so that their mean is ``ratios``."""
    top = largest(bits)
    return (ratios + torch.rand_like(ratios)).floor().clamp(-top - 1, top)


def step_slopes(ratios: Tensor, bits: int) -> Tensor:
    """∂Q(w)/∂Δ of numbers w, given as w/Δ."""
    top = largest(bits)
    within = (ratios >= -top - 1) & (ratios <= top)
    return integers(ratios, torch.ones(()), bits) - ratios * within
