"""Sums of a row from each of two small tables, both pruned."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pepbench.method import (
    Between,
    Embedding,
    Fields,
    Fitted,
    Infeasible,
    Layout,
    MaskedTable,
    Method,
    OneOf,
    Task,
    largest_entries,
    lookup,
    to_numpy,
    xavier_uniform,
)
from pepbench.serve.addresses import Positions, TwoRows
from pepbench.tables.layout import Constant, Masked, part

from .hashing import HashSeed, drawn_seed


@dataclass(frozen=True)
class CERP(Method):
    """Adds a row of one small table to a row of another, and prunes both by learnt thresholds.

    Liang, Chen, Nguyen, Li, Yin, "Learning Compact Compositional Embeddings via Regularized
    Pruning for Recommendation", ICDM 2023, arXiv 2309.03518. Feature x has two rows, one in each
    of the tables P and Q of b buckets::

        v_x = P̂[x mod b] + Q̂[⌊x / ⌈N/b⌉⌋]

    with b ≥ √N, so that no two features have the same pair. Both tables are under soft
    thresholds of their entries as in PEP, P̂ = sign(P) · relu(|P| − σ(s_P)), trained with P. The
    pruning regulariser, a sum over the vectors v that a batch looks up::

        L = BCE − γ_t · Σ_v ‖tanh(η v)‖²

    rewards sums that are not zero, so that the two tables keep entries in different places. It
    grows with the batch, and BCE, a mean, does not: with 4,096 rows a batch, γ weighs hundreds of
    times what it does in the release, with 10 users. γ_t halves every epoch. The search stops at
    the first step with at most B non-zeros, and the entries left are trained again from their
    initial values.

    γ = 1, η = 100 and s = −100 at the start are the released values, as is the end after 50 epochs.
    There L2 alone moves the thresholds until they matter, as fast as Adam at 1e-3 lets them: some
    90,000 steps with batches of 10 users. Here the thresholds have an Adam of their own, with
    the released L2 of 1e-5 and a learning rate that takes them from −100 to 0 in ``travel_epochs``,
    whatever the number of steps in an epoch. Its default was set on drawn data, where 2, 5 and 15
    epochs end within 0.008 in test AUC of each other.

    Where we differ besides: b follows from the budget, b = B / (2·D·density) within [√N, N/2],
    instead of one b for all budgets. Where the last step overshoots, the entries pruned by the
    least are kept, and at the end of the search those of the largest |P| − σ(s): the budget is met
    exactly. Q has no rows that no feature uses. x is a feature's place in a random order, field by
    field, another for each seed, so that nothing depends on how features are numbered; in the
    released code it is the number itself. The released loss is BPR, and its regulariser counts
    a user once where a batch has six of its rows.
    """

    name = "cerp"
    family = "pruning"
    year = 2023
    version = 3

    density: Annotated[
        float,
        Between(0.1, 0.9, allow=(0.01, 1.0)),
        "share of the entries of P and Q that is left at the end: it sets the buckets b",
    ] = 0.4
    init: Annotated[
        float,
        Between(-100.0, -4.0, tuned=False, allow=(-200.0, -1.0)),
        "initial thresholds s, before σ",
    ] = -100.0
    travel_epochs: Annotated[
        float,
        Between(2.0, 20.0, log=True, allow=(0.01, 1000.0)),
        "epochs in which Adam can take the thresholds from init to 0",
    ] = 5.0
    gamma: Annotated[
        float,
        Between(1e-2, 10.0, log=True, allow=(0.0, 1000.0)),
        "weight γ of the pruning regulariser in the first epoch",
    ] = 1.0
    decay: Annotated[float, Between(0.1, 1.0, tuned=False), "factor on γ after every epoch"] = 0.5
    eta: Annotated[
        float,
        Between(1.0, 1000.0, log=True, tuned=False),
        "η: how sharply tanh separates zero from other values",
    ] = 100.0
    search_epochs: Annotated[int, Between(1, 1000, tuned=False), "most epochs of the search"] = 50
    max_steps: Annotated[int, Between(1, 10**9, tuned=False), "most steps of the search"] = 20_000
    at_limit: Annotated[
        str,
        OneOf("trim", "infeasible", tuned=False),
        "above the budget at the end of the search: keep the largest |P| − σ(s), or give up",
    ] = "trim"
    hash_seed: HashSeed = -1

    def most_steps(self, steps_per_epoch: int, epochs: int) -> int:
        """Those of the search and of the second training."""
        return min(self.max_steps, self.search_epochs * steps_per_epoch) + steps_per_epoch * epochs

    def fit(self, task: Task, budget: int) -> Fitted:
        """Search until the budget is met, then train what is left from its initial values."""
        shape = self.shape(task.fields, task.dim, budget)
        pruned = ThresholdedPair(shape, task.dim, self.init, self.eta)
        initial = [table.detach().clone() for table in pruned.tables]
        with task.phase("search"):
            steps, trimmed = self.search(task, pruned, budget)
            masks = pruned.largest(budget)
        tables = [
            MaskedTable(values, mask.to(values.device))
            for values, mask in zip(initial, masks, strict=True)
        ]
        fitted = task.train(task.model(CompositionalTable(shape, *tables)))
        return fitted.with_notes(
            search_steps=steps,
            trimmed=trimmed,
            buckets=shape.buckets,
        ).with_budget_note(task, budget)

    def shape(self, fields: Fields, dim: int, budget: int) -> TwoRows:
        """Buckets for a budget: as ``density`` asks, but enough that no two features share both."""
        n_features = fields.n_features
        wanted = round(budget / (2.0 * dim * self.density))
        least = math.isqrt(n_features - 1) + 1
        positions = Positions(np.asarray(fields.cardinalities), drawn_seed(self.hash_seed))
        return TwoRows(positions, max(least, min(wanted, n_features // 2)))

    def search(self, task: Task, pruned: ThresholdedPair, budget: int) -> tuple[int, bool]:
        """Train tables and thresholds until ``budget`` is met: steps, and whether they ran out.

        Raises
        ------
        Infeasible
            If the search ends above the budget and ``at_limit="infeasible"``.
        """
        if pruned.n_parameters() <= budget:
            return 0, False
        thresholds = pruned.thresholds.requires_grad_(False)
        model = task.model(pruned)
        optimizer = task.optimizer(model)
        # The plan's optimizer leaves the thresholds alone; a step leaves their gradient.
        travel = torch.optim.Adam(
            thresholds.requires_grad_(True).parameters(),
            lr=-self.init / (self.travel_epochs * task.steps_per_epoch),
            weight_decay=1e-5,
        )
        last = min(self.max_steps, self.search_epochs * task.steps_per_epoch)
        pruned.gamma = self.gamma
        for step in task.steps(model, optimizer):
            travel.step()
            travel.zero_grad()
            left = pruned.n_parameters()
            task.report_size(step.number, pruned.n_parameters)
            if left <= budget:
                return step.number, False
            if step.number >= last:
                break
            pruned.gamma = self.gamma * self.decay ** (step.number // task.steps_per_epoch)
        if self.at_limit == "infeasible":
            raise Infeasible(
                f"cerp: {left} entries left after {last} steps, {budget} allowed; lower "
                "travel_epochs, raise search_epochs or max_steps, or set at_limit=trim"
            )
        return last, True


class ThresholdedPair(Embedding):
    """P and Q during the search, under soft thresholds.

    Both start such that sums have the variance of the uncompressed Xavier table, 2 / (N + D).

    Parameters
    ----------
    shape
        Rows of features.
    dim
        D.
    init
        Initial s.
    eta
        η of the regulariser.
    """

    rows: Tensor
    """Shape (N, 2): the rows of each feature in P and Q."""

    def __init__(self, shape: TwoRows, dim: int, init: float, eta: float) -> None:
        super().__init__()
        self.dim, self.shape, self.eta = dim, shape, eta
        self.gamma = 0.0
        n_features = shape.positions.n_features
        rows = torch.from_numpy(shape.rows_of(np.arange(n_features)))
        self.register_buffer("rows", rows, persistent=False)
        self.tables = nn.ParameterList(
            nn.Parameter(xavier_uniform(n_rows, dim, fan=n_features) / math.sqrt(2.0))
            for n_rows in shape.n_rows
        )
        self.thresholds = nn.ParameterList(
            nn.Parameter(torch.full_like(table, init)) for table in self.tables
        )

    def thresholded(self) -> list[Tensor]:
        """P̂ and Q̂."""
        return [
            torch.sign(table) * torch.relu(table.abs() - torch.sigmoid(s))
            for table, s in zip(self.tables, self.thresholds, strict=True)
        ]

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors of global ids: (B, F) → (B, F, D)."""
        p, q = self.thresholded()
        in_p, in_q = self.rows[ids].unbind(-1)
        self._looked_up = lookup(p, in_p) + lookup(q, in_q)
        return self._looked_up

    def penalty(self) -> Tensor:
        """−γ · Σ tanh²(η v), over the entries of the vectors that were last looked up."""
        return -self.gamma * torch.tanh(self.eta * self._looked_up).square().sum()

    @torch.no_grad()
    def margins(self) -> Tensor:
        """|P| − σ(s) and |Q| − σ(s), flat and in this order: positive where an entry is left."""
        return torch.cat(
            [
                (table.abs() - torch.sigmoid(s)).view(-1)
                for table, s in zip(self.tables, self.thresholds, strict=True)
            ]
        )

    def largest(self, budget: int) -> list[Tensor]:
        """Masks of P and Q that keep the ``budget`` entries of the largest margins."""
        mask = largest_entries(self.margins(), budget).view(-1, self.dim)
        rows_of_p, _ = self.shape.n_rows
        return [mask[:rows_of_p], mask[rows_of_p:]]

    def n_parameters(self) -> int:
        """Non-zeros of P̂ and Q̂."""
        return int((self.margins() > 0).sum())

    def export(self) -> Layout:
        """Non-zeros of P̂ and Q̂."""
        p, q = (to_numpy(table) for table in self.thresholded())
        return Summed(Masked.from_table(p, p != 0), Masked.from_table(q, q != 0), self.shape)


class CompositionalTable(Embedding):
    """v = P[y mod b] + Q[⌊y / ⌈N/b⌉⌋] with both tables under masks.

    Parameters
    ----------
    shape
        Rows of features.
    p, q
        The two tables.
    """

    rows: Tensor
    """Shape (N, 2): the rows of each feature in P and Q."""
    unused_budget = "both tables are kept whole"

    def __init__(self, shape: TwoRows, p: MaskedTable, q: MaskedTable) -> None:
        super().__init__()
        self.dim, self.shape = p.dim, shape
        self.p, self.q = p, q
        rows = torch.from_numpy(shape.rows_of(np.arange(shape.positions.n_features)))
        self.register_buffer("rows", rows, persistent=False)

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors of global ids: (B, F) → (B, F, D)."""
        in_p, in_q = self.rows[ids].unbind(-1)
        vectors: Tensor = self.p(in_p) + self.q(in_q)
        return vectors

    def n_parameters(self) -> int:
        """Entries under the two masks."""
        return self.p.n_parameters() + self.q.n_parameters()

    def export(self) -> Layout:
        """Kept entries of both."""
        return Summed(self.p.export(), self.q.export(), self.shape)


@dataclass(frozen=True, eq=False)
class Summed(Layout):
    """Two tables of which some entries are kept; a vector is a sum of two rows."""

    form = "summed"

    p: Masked = field(metadata=part("p_"))
    q: Masked = field(metadata=part("q_"))
    shape: TwoRows = field(metadata=part())

    def widths(self) -> NDArray[np.integer]:
        """In how many dimensions one of a feature's two rows keeps an entry: (N,)."""
        in_p, in_q = self.shape.rows_of(np.arange(self.shape.positions.n_features)).T
        either = self.p.mask()[in_p] | self.q.mask()[in_q]
        return np.asarray(either.sum(axis=1))

    def constants(self) -> Mapping[str, Constant]:
        """B, D, and the rows of both tables."""
        p_rows, q_rows = self.shape.n_rows
        shape = self.shape.constants()
        return {**shape, "dim": self.p.dim, "p_rows": p_rows, "q_rows": q_rows}
