"""Training with integers in view: quantised rows whose step size is learnt."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Annotated, Any

import numpy as np
import torch
from torch import Tensor, nn

from pepbench.method import (
    ComposedVectors,
    Fields,
    Method,
    OneOf,
    RowTable,
    lookup_rows,
    to_numpy,
    xavier_uniform,
)
from pepbench.tables.layout import Dense
from pepbench.tables.quantised import Quantised, packed_integers


@dataclass(frozen=True)
class LearnedStepSize(Method):
    """Learned step size quantisation (LSQ): rows are integers of b bits times a learnt step.

    Esser, McKinstry, Bablani, Appuswamy, Modha, "Learned Step Size Quantization", ICLR 2020, arXiv
    1902.08153, applied to the embedding table. A row e that is trained in floating point is seen
    by the backbone as (eqs. 1 and 2)::

        v = s · round(clip(e / s, −Q_N, Q_P)),    Q_N = 2^(b−1),  Q_P = 2^(b−1) − 1

    Gradients pass straight through the rounding (eqs. 3 and 5): ∂v/∂e is 1 within the clipping
    range, else 0; ∂v/∂s is round(e/s) − e/s within it, −Q_N or Q_P outside. s starts at
    2 · mean|e| / √Q_P (section 2.1).

    The count is that of a table of N rows of width ⌊B / N⌋, as for ``uniform``; integers cost b
    bits each, and steps four bytes: compare it over bytes. Training needs the table of e, in
    floating point.

    Where we differ: the paper has one step for each layer's weights and trains with SGD. A layer
    here is a field (``step``). The plan's optimizer does not see the length of a gradient, so a
    step could become negative within a few updates; what is trained is log s, which makes each
    update a change by a share of s. For the same reason the factor 1 / √(n Q_P) on the gradient of
    a step that n numbers share (section 2.2) is left out. L2 is on e alone: on log s, it would pull
    s towards 1.
    """

    name = "lsq"
    family = "quantised"
    year = 2020
    version = 2

    bits: Annotated[int, OneOf(2, 4, 8, tuned=False), "b, of each integer"] = 4
    step: Annotated[str, OneOf("field", "feature", "table"), "what has a step of its own"] = "field"

    def embedding(self, fields: Fields, dim: int, budget: int) -> QuantisedRows:
        """A quantised table of ⌊budget / N⌋ columns; infeasible below N."""
        self.refuse_below(fields.n_features, budget, "one a feature")
        values = xavier_uniform(fields.n_features, min(dim, budget // fields.n_features))
        runs = {
            "field": np.asarray(fields.cardinalities),
            "feature": np.ones(fields.n_features, dtype=np.int64),
            "table": np.array([fields.n_features]),
        }
        table = QuantisedRows(values, self.bits, runs[self.step])
        table.unused_budget = "widths are whole numbers"
        return table


class QuantisedRows(ComposedVectors):
    """A table in floating point, of which the backbone sees integers times steps.

    Parameters
    ----------
    values
        Shape (N, w): initial values.
    bits
        b.
    runs
        Shape (S,): how many rows in turn share each of the S steps.
    """

    step_of: Tensor
    """Shape (N,): the step of each row."""
    log_steps: nn.Parameter
    """Shape (S, 1)."""

    def __init__(self, values: Tensor, bits: int, runs: np.ndarray) -> None:
        super().__init__()
        self.n_features, self.dim = values.shape
        self.bits, self.runs = bits, runs
        lengths = torch.from_numpy(runs)
        step_of = torch.repeat_interleave(torch.arange(len(runs)), lengths)
        self.register_buffer("step_of", step_of, persistent=False)
        self.table = RowTable(values)
        means = values.new_zeros(len(runs)).index_add_(0, step_of, values.abs().mean(dim=1))
        steps = initial_steps(means / lengths, bits)
        # One for each row is a table of rows, too.
        kind = RowTable if len(runs) == self.n_features else nn.Parameter
        self.log_steps = kind(steps.log()[:, None])

    def vectors(self, features: Tensor) -> Tensor:
        """Quantised rows of distinct features: (M,) → (M, w)."""
        if isinstance(self.log_steps, RowTable):
            log_steps = lookup_rows(self.log_steps, features)
        else:
            log_steps = self.log_steps[self.step_of[features]]
        return quantise(lookup_rows(self.table, features), log_steps.exp(), self.bits)

    def decays(self) -> dict[nn.Parameter, float]:
        """No L2 on logarithms of steps."""
        return {self.log_steps: 0.0}

    def n_parameters(self) -> int:
        """Numbers in the table: steps are part of how they are stored."""
        return self.table.numel()

    @torch.no_grad()
    def export(self) -> Quantised:
        """Packed integers and steps."""
        steps = self.log_steps.exp()
        codes = integers(self.table, steps[self.step_of], self.bits)
        runs = None if len(self.runs) in (1, self.n_features) else self.runs
        numbers = packed_integers(to_numpy(codes), self.bits, to_numpy(steps), runs)
        return Quantised.from_numbers(Dense(to_numpy(self.table)), {"table": numbers})


def largest(bits: int) -> int:
    """Q_P, the largest of the integers of b bits; the smallest is −Q_P − 1."""
    return (1 << (bits - 1)) - 1


def initial_steps(mean_magnitudes: Tensor, bits: int) -> Tensor:
    """Steps from the mean |e| of the numbers that share them: 2 · mean|e| / √Q_P."""
    return mean_magnitudes * (2.0 / math.sqrt(max(largest(bits), 1)))


def integers(values: Tensor, steps: Tensor, bits: int) -> Tensor:
    """The integers that stand for values, which are still floating-point numbers (eq. 1).

    >>> integers(torch.tensor([-9.0, -0.6, 0.9, 9.0]), torch.tensor(0.5), 3).tolist()
    [-4.0, -1.0, 2.0, 3.0]
    """
    top = largest(bits)
    ratios: Tensor = values / steps
    return ratios.clamp(-top - 1, top).round()


def quantise(values: Tensor, steps: Tensor, bits: int) -> Tensor:
    """Values as integers times steps, with the gradients of LSQ (eqs. 2, 3 and 5).

    Parameters
    ----------
    values
        Shape (M, w).
    steps
        Broadcast to ``values``.
    bits
        b.
    """
    result: Tensor = _Quantise.apply(values, steps, bits)  # type: ignore[no-untyped-call]
    return result


class _Quantise(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, values: Tensor, steps: Tensor, bits: int) -> Tensor:
        codes = integers(values, steps, bits)
        ctx.save_for_backward(values, steps, codes)
        ctx.bits = bits
        return codes * steps

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        values, steps, codes = ctx.saved_tensors
        ratios = values / steps
        within = (ratios >= -largest(ctx.bits) - 1) & (ratios <= largest(ctx.bits))
        of_steps = gradient * (codes - ratios * within)
        return gradient * within, of_steps.sum_to_size(steps.shape), None
