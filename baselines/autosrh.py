"""A differentiable search over the dimensions of blocks of features."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pepbench.method import (
    Between,
    Embedding,
    Fitted,
    Method,
    Model,
    OneOf,
    RowTable,
    Task,
    largest_entries,
    lookup,
    lookup_rows,
    to_numpy,
    xavier_uniform,
)
from pepbench.tables.layout import Dense

from .mixed import equal_count_blocks, equal_frequency_blocks
from .search import BestEpoch, LastStart, SearchSplit, bilevel_steps, train_under_mask


@dataclass(frozen=True)
class AutoSrh(Method):
    """Learns how much each dimension matters to a block of features, then keeps B entries.

    Kong, Cheng, Shen, Huang, "AutoSrh: An Embedding Dimensionality Search Framework for Tabular
    Data Prediction", IEEE TKDE 35(7), 2023 (online 2022), doi 10.1109/TKDE.2022.3186387; first as
    DNIS, Cheng, Shen, Huang, 2020, arXiv 2006.04466. Features sorted by training frequency are
    cut into L blocks. A soft selection layer α ∈ [0, 1]^{L×D}, all ones at first, multiplies the
    vector of a feature x of block l::

        ẽ_x = α_l ⊙ e_x

    The full table is trained first (the warm start). Then a bi-level search of first order: one
    step of the weights on a training batch, one of α on a validation batch, in turn. The loss of α
    has an L1 term. Its step is plain descent on the gradient divided by its mean magnitude within
    the block, so that blocks of unlike frequency move alike, and is clipped to [0, 1]. Of the best
    validation epoch of the search exactly the B largest |α_l ⊙ e_x| are kept (fine-grained
    pruning; the paper's threshold is whatever leaves B), and trained under that mask.

    Rate and L1 weight of α are the released ones (0.01 and 1e-5). Where we differ: the warm start
    is one training with early stopping (released: 20 epochs at most, a learning rate that falls by
    ten whenever the validation loss does not); the search has the plan's learning rate and trains
    the backbone, too (released: it is held); an epoch is one of the training rows (released: of the
    validation rows); the best one has the highest AUC (released: the lowest loss); and training
    restarts from the initial values (``start="trained"`` goes on from α ⊙ e; the released notebooks
    prune without training on, or train on for two epochs where 98 % and more are pruned).
    ``search_split="train"`` holds a tenth of the training rows out from the weights of the search,
    though not from those of the warm start, and trains α on it. Early stopping sees the validation
    rows in both cases. The default of ``search_epochs`` is a round number, not tuned on any data
    set. Where more products are 0 than are to go, the zeros that stay are drawn at random.
    """

    name = "autosrh"
    family = "search"
    year = 2022
    version = 4

    n_blocks: Annotated[int, Between(2, 20, allow=(1, 10_000)), "L, the blocks of features"] = 6
    blocks: Annotated[
        str,
        OneOf("count", "frequency", tuned=False),
        "cut into blocks of equally many features, or of equal total frequency",
    ] = "count"
    alpha_rate: Annotated[
        float,
        Between(1e-3, 1e-1, log=True, allow=(0.0, 1.0)),
        "how far α moves in a step, in the mean over a block's dimensions",
    ] = 1e-2
    l1: Annotated[
        float, Between(0.0, 1.0, tuned=False), "weight of the L1 term of α in its loss"
    ] = 1e-5
    search_epochs: Annotated[
        int, Between(1, 1000, tuned=False), "epochs of the weights during the search"
    ] = 10
    max_steps: Annotated[
        int, Between(1, 10**9, tuned=False), "most steps of the weights during the search"
    ] = 20_000
    search_split: SearchSplit = "validation"
    start: LastStart = "initial"

    def unread(self) -> tuple[str, ...]:
        """Blocks are alike where α does not move."""
        return () if self.alpha_rate else ("n_blocks",)

    def most_steps(self, steps_per_epoch: int, epochs: int) -> int:
        """The warm start, both levels of the search, and the last training."""
        search = min(self.search_epochs * steps_per_epoch, self.max_steps)
        return 2 * search + 2 * steps_per_epoch * epochs

    def fit(self, task: Task, budget: int) -> Fitted:
        """Search, keep the largest, train."""
        frequencies = task.fields.frequencies
        cut = equal_frequency_blocks if self.blocks == "frequency" else equal_count_blocks
        initial = xavier_uniform(task.fields.n_features, task.dim)
        selected = SelectedTable(initial, cut(frequencies, self.n_blocks), self.l1)
        model = task.model(selected)
        task.train(model, phase="pretrain")
        with task.phase("search"):
            steps = self.search(task, model, selected)
            table = selected.selected_table()
            mask = largest_entries(zeros_ranked(table.abs(), budget), budget)
        fitted = train_under_mask(task, self.start, initial, table, mask, model.backbone)
        return fitted.with_notes(search_steps=2 * steps, search_split=self.search_split)

    def search(self, task: Task, model: Model, selected: SelectedTable) -> int:
        """Train weights and α in turn, up to the best epoch; returns the steps of each."""
        alpha = selected.alpha
        steps = min(self.search_epochs * task.steps_per_epoch, self.max_steps)
        descent, best = partial(BlockwiseDescent, alpha, self.alpha_rate), BestEpoch(task, model)
        for step in bilevel_steps(task, model, alpha, descent, self.search_split, steps, best):
            task.report_size(step, selected.entries_left)
        return steps


def zeros_ranked(magnitudes: Tensor, budget: int) -> Tensor:
    """``magnitudes``, with random negative numbers for 0 where fewer than ``budget`` are above it.

    α is clipped at 0. By position, the zeros that still fit would be those of the first fields.
    """
    if int(torch.count_nonzero(magnitudes)) >= budget:
        return magnitudes
    return torch.where(magnitudes > 0, magnitudes, -1.0 - torch.rand_like(magnitudes))


class SelectedTable(Embedding):
    """The table during the search: ẽ_x = α_l ⊙ e_x, with l the block of x.

    Parameters
    ----------
    values
        Shape (N, D): initial e.
    block_of_feature
        Shape (N,): block l of each feature.
    l1
        Weight of Σ |α| in the loss of α.
    """

    block_of_feature: Tensor

    def __init__(self, values: Tensor, block_of_feature: NDArray[np.int64], l1: float) -> None:
        super().__init__()
        self.dim, self.l1 = values.shape[1], l1
        self.table = RowTable(values.detach().clone())
        # Held but for its own steps of the search.
        ones = torch.ones(int(block_of_feature.max()) + 1, self.dim)
        self.alpha = nn.Parameter(ones, requires_grad=False)
        self.register_buffer("block_of_feature", torch.from_numpy(block_of_feature))

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors of global ids: (B, F) → (B, F, D)."""
        return lookup_rows(self.table, ids) * lookup(self.alpha, self.block_of_feature[ids])

    def penalty(self) -> Tensor | None:
        """The L1 term, in steps of α."""
        return self.l1 * self.alpha.abs().sum() if self.alpha.requires_grad else None

    def selected_table(self) -> Tensor:
        """α_l ⊙ e_x of all features, shape (N, D), without gradient."""
        return self.table.detach() * self.alpha.detach()[self.block_of_feature]

    def entries_left(self) -> int:
        """Entries whose α is not zero."""
        sizes = torch.bincount(self.block_of_feature, minlength=len(self.alpha))
        return int(sizes @ (self.alpha.detach() != 0).sum(dim=1))

    def n_parameters(self) -> int:
        """Of the table; α is multiplied into it."""
        return self.table.numel()

    def export(self) -> Dense:
        """The table with α multiplied into it."""
        return Dense(to_numpy(self.selected_table()))


class BlockwiseDescent(torch.optim.Optimizer):
    """α ← clip(α − rate · g / mean|g|, 0, 1), the mean taken over the dimensions of a block."""

    def __init__(self, alpha: nn.Parameter, rate: float) -> None:
        super().__init__([alpha], {"lr": rate})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]  # noqa: ARG002
        """Make one update; blocks without gradient stay."""
        for group in self.param_groups:
            for alpha in group["params"]:
                mean = alpha.grad.abs().mean(dim=1, keepdim=True)
                direction = torch.where(mean > 0, alpha.grad / mean, 0.0)
                alpha.sub_(group["lr"] * direction).clamp_(0.0, 1.0)
