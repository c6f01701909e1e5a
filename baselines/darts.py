"""A differentiable search over the widths of fields."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, brentq, milp
from scipy.special import softmax
from torch import Tensor, nn

from pepbench.method import (
    LEAST_USE,
    Between,
    Embedding,
    Fields,
    Fitted,
    Method,
    OneOf,
    RowTable,
    Task,
    lookup_rows,
    to_numpy,
    xavier_uniform,
)
from pepbench.tables.layout import Layout

from .mixed import MixedTable
from .search import SearchSplit, bilevel_steps


@dataclass(frozen=True)
class DARTS(Method):
    """Learns for each field which of the widths 1, 2, 4, …, D it needs, by gradient descent.

    AutoDim: Zhao, Liu, Liu, Tang, Guo, Shi, Wang, Gao, Long, "AutoDim: Field-aware Embedding
    Dimension Search in Recommender Systems", WWW 2021, arXiv 2006.14827; the bi-level search is
    that of DARTS, Liu, Simonyan, Yang, ICLR 2019, arXiv 1806.09055, eqs. 3, 4 and 6. Candidate c of
    a field is the first c columns of its table (AutoDim: one for each c, §2.1.1), brought to D by a
    linear map W_ic and to unit variance by batch norm without affine parameters (eqs. 1 and 2).
    With logits α_ic and Gumbel noise g_c the vector of field i is their mixture (eqs. 4 and 5)::

        v_i = s Σ_c p_ic BN(W_ic e_i[:c]),   p_i = softmax((α_i + g) / τ),   τ from 1 to 0.01

    First-order bi-level search (eqs. 9 and 10, ξ = 0): a step of the weights on a training batch, a
    step of α on a validation batch, in turn. AutoDim has no budget B. Here the loss of α gets the
    augmented Lagrangian of E = B, with the expected size E = Σ_i Σ_c softmax(α_i)_c size_ic::

        λ h + h² / 2,   h = log(E / B),   λ ← λ + rate · h   after each step, of either sign

    and α starts at −μ log(1 + c) with the μ for which E = B, so that the search is spent near the
    budget. At the end, a multiple-choice knapsack (AutoDim: the largest logit, eq. 11) takes the
    widths that maximise Σ_i log softmax(α_i) among those that use 90 to 100 % of B (or of what is
    possible), and a :class:`~pepbench.baselines.mixed.MixedTable` is trained from scratch.

    Where we differ besides: the learnt scale s, one for all fields and candidates, since vectors of
    unit variance drown a factorisation machine (it starts where the sum of all inner products has
    variance one); τ falls evenly over the steps of the search, whatever their number, to AutoDim's
    last value (its 5e-5 a step takes some 20,000); α is not decayed. A field of width D has no
    projection. ``search_split="train"`` holds a tenth of the training rows out from the weights and
    trains α on it. Early stopping sees the validation rows in both cases. No paper gives
    ``multiplier_rate``; 1e-4, an earlier default, left E far from B. The defaults of ``alpha_rate``
    and ``search_epochs`` are round numbers, not tuned on any data set.
    """

    name = "darts"
    family = "search"
    year = 2021
    version = 2

    zero: Annotated[
        bool, OneOf(True, False, tuned=False), "let a field go without a vector (width 0)"
    ] = False
    alpha_rate: Annotated[
        float,
        Between(1.0, 100.0, log=True, allow=(0.0, 1000.0)),
        "learning rate of α, as a factor on the common one",
    ] = 10.0
    multiplier_rate: Annotated[
        float,
        Between(1e-3, 1e-1, log=True, tuned=False, allow=(0.0, 1.0)),
        "how fast λ follows the distance to the budget",
    ] = 1e-2
    search_epochs: Annotated[
        int, Between(1, 1000, tuned=False), "epochs of the weights during the search"
    ] = 10
    max_steps: Annotated[
        int,
        Between(1, 10**9, tuned=False),
        "most steps of the weights during the search; α makes as many",
    ] = 20_000
    search_split: SearchSplit = "validation"

    def most_steps(self, steps_per_epoch: int, epochs: int) -> int:
        """Both levels of the search, and the last training."""
        search = min(self.search_epochs * steps_per_epoch, self.max_steps)
        return 2 * search + steps_per_epoch * epochs

    def fit(self, task: Task, budget: int) -> Fitted:
        """Search, choose within the budget, train from scratch."""
        fields = task.fields
        choices = candidates(task.dim, self.zero)
        sizes = candidate_sizes(fields, choices, task.dim)
        smallest = int(sizes.min(axis=1).sum())
        self.refuse_below(smallest, budget, "projections included")
        with task.phase("search"):
            table = MixtureTable(fields, choices, task.dim, BudgetPenalty(sizes, budget))
            steps = self.search(task, table)
            log_shares = to_numpy(table.logits.log_softmax(dim=1)).astype(np.float64)
            chosen = knapsack(log_shares, sizes, budget, least=LEAST_USE)
            expected = float(table.pull.expected_size(table.logits.detach()))
        widths = [choices[c] for c in chosen]
        mixed = MixedTable(fields.field_of_feature, widths, task.dim)
        mixed.unused_budget = "no choice of widths comes closer"
        fitted = task.train(task.model(mixed))
        return fitted.with_notes(
            search_steps=2 * steps,
            search_split=self.search_split,
            expected_size=expected,
            multiplier=table.pull.multiplier,
            widths=" ".join(map(str, widths)),
        ).with_budget_note(task, budget)

    def search(self, task: Task, table: MixtureTable) -> int:
        """Train weights and α in turn; returns the steps of each."""
        model, alpha = task.model(table), table.logits
        steps = min(self.search_epochs * task.steps_per_epoch, self.max_steps)

        def alpha_optimizer() -> torch.optim.Optimizer:
            return task.optimizer(model, {alpha: self.alpha_rate}, {alpha: 0.0}, "adam")

        for step in bilevel_steps(task, model, alpha, alpha_optimizer, self.search_split, steps):
            table.pull.ascend(alpha.detach(), self.multiplier_rate)
            task.report_size(step, lambda: int(table.pull.expected_size(alpha.detach())))
            table.temperature = 1.0 + (0.01 - 1.0) * step / steps
        return steps


def candidates(dim: int, zero: bool = False) -> tuple[int, ...]:
    """The widths to choose from: powers of two below D, and D.

    >>> candidates(8), candidates(12, zero=True)
    ((1, 2, 4, 8), (0, 1, 2, 4, 8, 12))
    """
    powers = [2**k for k in range(dim.bit_length()) if 2**k < dim]
    return (*([0] if zero else []), *powers, dim)


def candidate_sizes(fields: Fields, choices: tuple[int, ...], dim: int) -> NDArray[np.int64]:
    """Parameters of each field at each width c, (F, C): n_i c, plus c·D for a projection."""
    widths = np.asarray(choices, dtype=np.int64)
    projections = np.where(widths < dim, widths * dim, 0)
    sizes: NDArray[np.int64] = np.outer(fields.cardinalities, widths) + projections
    return sizes


def balanced(choices: Sequence[int], sizes: NDArray[np.number], budget: int) -> Tensor:
    """Logits (F, C), −μ log(1 + c) with |μ| ≤ 50, for which the expected size is ``budget``."""
    logs = np.log1p(np.asarray(choices, dtype=np.float64))

    def excess(mu: float) -> float:
        return float((softmax(-mu * logs) * sizes).sum()) - budget

    low, high = -50.0, 50.0
    mu = low if excess(low) < 0 else high if excess(high) > 0 else brentq(excess, low, high)
    return torch.from_numpy(np.tile(-mu * logs, (len(sizes), 1))).float()


def knapsack(
    scores: NDArray[np.float64], sizes: NDArray[np.int64], budget: int, least: float = 0.0
) -> NDArray[np.int64]:
    """The multiple-choice knapsack: one choice a field, of most total score within ``budget``.

    Parameters
    ----------
    scores, sizes
        Shape (F, C): of each choice of each field; the result has the choices (F,).
    budget
        No less than the smallest sizes together.
    least
        Share of ``budget`` that must be used, or else of the largest size within it.

    >>> knapsack(np.log([[0.1, 0.9], [0.4, 0.6]]), np.array([[1, 5], [1, 5]]), 7).tolist()
    [1, 0]
    >>> knapsack(np.log([[0.9, 0.1], [0.8, 0.2]]), np.array([[1, 5], [1, 5]]), 7, 0.8).tolist()
    [0, 1]
    """
    chosen = _solved(scores, sizes, least * budget, budget)
    if chosen is None and least > 0:
        largest = _solved(sizes.astype(np.float64), sizes, 0.0, budget)
        if largest is not None:
            used = sizes[np.arange(len(sizes)), largest].sum()
            chosen = _solved(scores, sizes, least * used, budget)
    # Too tight for the solver's tolerance only: the smallest are feasible.
    return np.asarray(sizes.argmin(axis=1), dtype=np.int64) if chosen is None else chosen


def _solved(
    scores: NDArray[np.float64], sizes: NDArray[np.int64], low: float, high: int
) -> NDArray[np.int64] | None:
    """The choices of most total score and a size from ``low`` to ``high``; None if none is."""
    n_fields, n_choices = sizes.shape
    one_each = np.kron(np.eye(n_fields), np.ones(n_choices))
    allowed = high
    while True:
        answer = milp(
            -scores.ravel(),
            integrality=np.ones(sizes.size),
            bounds=Bounds(0, 1),
            constraints=[
                LinearConstraint(one_each, 1, 1),
                LinearConstraint(sizes.reshape(1, -1) / high, low / high, allowed / high),
            ],
            options={"mip_rel_gap": 0.0},
        )
        if answer.x is None:
            return None
        chosen = np.asarray(answer.x).reshape(sizes.shape).argmax(axis=1)
        excess = int(sizes[np.arange(n_fields), chosen].sum()) - high
        if excess <= 0:
            return np.asarray(chosen, dtype=np.int64)
        # The solver's feasibility is good to one part in a million, ours is exact.
        allowed -= excess


class BudgetPenalty:
    """The augmented Lagrangian λ h + h² / 2 of h = log(E / B) = 0, with E a choice's expected size.

    The square damps λ's oscillation (Nocedal & Wright, Numerical Optimization, §17.3).

    Parameters
    ----------
    sizes
        Shape (F, C): parameters of each choice of each field.
    budget
        B.
    """

    def __init__(self, sizes: NDArray[np.int64], budget: int) -> None:
        self.sizes = torch.from_numpy(sizes.astype(np.float32))
        self.budget = budget
        self.multiplier = 0.0

    def expected_size(self, logits: Tensor) -> Tensor:
        """E = Σ_i Σ_c softmax(α_i)_c size_ic."""
        return (logits.softmax(dim=1) * self.sizes.to(logits.device)).sum()

    def excess(self, logits: Tensor) -> Tensor:
        """H = log(E / B)."""
        return torch.log(self.expected_size(logits).clamp(min=1e-12) / self.budget)

    def __call__(self, logits: Tensor) -> Tensor:
        """The penalty, with a gradient to α."""
        return (self.multiplier + self.excess(logits) / 2) * self.excess(logits)

    def ascend(self, logits: Tensor, rate: float) -> None:
        """A step of dual ascent: λ rises while E > B, and falls while E < B."""
        self.multiplier += rate * float(self.excess(logits))


class MixtureTable(Embedding):
    """The table during the search: each field a mixture of its candidates.

    Parameters
    ----------
    fields
        Cardinalities.
    choices
        The candidate widths.
    dim
        D.
    pull
        The penalty on α, which starts at its budget.
    """

    field_of_feature: Tensor

    def __init__(
        self, fields: Fields, choices: tuple[int, ...], dim: int, pull: BudgetPenalty
    ) -> None:
        super().__init__()
        self.dim = dim
        self.choices = choices
        self.pull = pull
        self.temperature = 1.0
        n_fields = fields.n_fields
        self.table = RowTable(xavier_uniform(fields.n_features, dim))
        of_feature = torch.from_numpy(fields.field_of_feature)
        self.register_buffer("field_of_feature", of_feature, persistent=False)
        self.logits = nn.Parameter(balanced(choices, pull.sizes.numpy(), pull.budget))
        self.projections = nn.ParameterList(
            torch.stack([xavier_uniform(width, dim) for _ in range(n_fields)])
            for width in choices
            if width > 0
        )
        pairs = max(n_fields * (n_fields - 1) // 2, 1)
        self.scale = nn.Parameter(torch.tensor((dim * pairs) ** -0.25))
        # Far below the initial variance, which for large N would vanish beside the usual 1e-5.
        self.epsilon = 1e-3 * 2.0 / (fields.n_features + dim)

    def shares(self) -> Tensor:
        """Shares p of the candidates, (F, C); in training with Gumbel noise, one draw a batch."""
        if not self.training:
            return self.logits.softmax(dim=1)
        noise = -torch.log(torch.empty_like(self.logits).exponential_())
        return ((self.logits + noise) / self.temperature).softmax(dim=1)

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors of global ids: (B, F) → (B, F, D); normalised over the batch."""
        vectors, shares = lookup_rows(self.table, ids), self.shares()
        if not len(ids):  # no row of the batch has a value
            return vectors
        if ids.shape[1] == len(shares):
            return self._mixed(vectors.transpose(0, 1), shares, slice(None)).transpose(0, 1)
        # Values of multi-valued fields, in one column: normalised over those of each field.
        field_of_value = self.field_of_feature[ids[:, 0]]
        places = [(field_of_value == field).nonzero()[:, 0] for field in range(len(shares))]
        mixtures = [
            self._mixed(vectors[chosen].transpose(0, 1), shares, slice(field, field + 1))[0]
            for field, chosen in enumerate(places)
            if len(chosen)
        ]
        return torch.zeros_like(vectors[:, 0]).index_add(0, torch.cat(places), torch.cat(mixtures))[
            :, None
        ]

    def _mixed(self, by_field: Tensor, shares: Tensor, fields: slice) -> Tensor:
        """The mixtures of some fields' vectors: (F', n, D) → (F', n, D)."""
        mixture = by_field.new_zeros(by_field.shape)
        # A candidate of width 0 adds nothing.
        widths = [width for width in self.choices if width > 0]
        shares = shares[fields, -len(widths) :]
        for c, (width, projection) in enumerate(zip(widths, self.projections, strict=True)):
            wide = by_field[:, :, :width] @ projection[fields]
            variance, mean = torch.var_mean(wide, dim=1, keepdim=True, correction=0)
            factor = shares[:, c, None, None] * torch.rsqrt(variance + self.epsilon)
            mixture = mixture + (wide - mean) * factor
        return self.scale * mixture

    def penalty(self) -> Tensor | None:
        """The pull towards the budget, in steps of α."""
        return self.pull(self.logits) if self.logits.requires_grad else None

    def export(self) -> Layout:
        """None: the mixture is for the search only, its vectors depend on the batch."""
        raise NotImplementedError("darts: the mixture of the search cannot be stored")
