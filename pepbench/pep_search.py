"""How PEP's search is driven: dense or by rows, and how its result is fitted to the budget.

A search trains values and thresholds step by step. Where the last step pruned more than the budget
asks for, the result is *refilled* with the largest entries that it pruned. Where the step limit
ends the search above the budget, the result is *trimmed* to the largest entries.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from pepbench.lazy import LazyModule
from pepbench.method import Model, OptimizerKind, Task, largest_entries
from pepbench.tables.rows import state_of

if TYPE_CHECKING:
    from pepbench.pep import PEP, ThresholdedTable
    from pepbench.tables import threshold_kernels
else:
    threshold_kernels = LazyModule("pepbench.tables.threshold_kernels")


class SearchOutcome(NamedTuple):
    """What a search found for one budget."""

    mask: Tensor
    """Shape (N, D), boolean: the entries to keep."""
    table: Tensor
    """Shape (N, D): V̂ then."""
    backbone: nn.Module
    """The backbone under search, which trains on with the search."""
    steps: int
    """Updates made until then."""
    trimmed: bool
    """Whether the step limit, not the thresholds, ended the search."""


class Search(ABC):
    """A search under way: training of values and thresholds together, a step at a time.

    Parameters
    ----------
    method, task, model
        Settings, data, and the model that is trained; its embedding is a ``ThresholdedTable``.
    optimizer
        Of all parameters of ``model``.
    """

    def __init__(self, method: PEP, task: Task, model: Model, optimizer: Optimizer) -> None:
        self.method, self.task, self.model, self.optimizer = method, task, model, optimizer
        self.table = cast("ThresholdedTable", model.embedding)
        self.updates = 0
        """Updates of the table that is counted."""

    def steps(self) -> Iterator[None]:
        """Train without end, pausing after each step."""
        for step in self.task.steps(self.model, self.optimizer):
            self.after_step(step.number)
            yield

    def is_within(self, budget: int) -> bool:
        """Whether at most ``budget`` entries are left."""
        return self.count() <= budget

    def outcome(self, budget: int, *, trimmed: bool) -> SearchOutcome:
        """What the search has found: its non-zeros refilled, or ``trimmed``, to ``budget``."""
        mask = self.trimmed_mask(budget) if trimmed else self.refilled_mask(budget)
        return SearchOutcome(mask, self.pruned_table(), self.model.backbone, self.updates, trimmed)

    @abstractmethod
    def after_step(self, number: int) -> None:
        """Take note of the state after step ``number``, from 1."""

    @abstractmethod
    def recent_count(self) -> int:
        """Non-zeros, as known without bringing the table up to date."""

    @abstractmethod
    def count(self) -> int:
        """Non-zeros after :attr:`updates` updates."""

    @abstractmethod
    def pruned_table(self) -> Tensor:
        """V̂ (N, D) after :attr:`updates` updates."""

    @abstractmethod
    def refilled_mask(self, budget: int) -> Tensor:
        """Mask (N, D) of the non-zeros, refilled up to ``budget`` if the method does so."""

    @abstractmethod
    def trimmed_mask(self, budget: int) -> Tensor:
        """Mask (N, D) of the ``budget`` largest |V̂|."""


class DenseSearch(Search):
    """The search with dense Adam, which looks at the whole table in every step."""

    def __init__(self, method: PEP, task: Task, model: Model, optimizer: Optimizer) -> None:
        super().__init__(method, task, model, optimizer)
        self._previous = self._table = self.table.values.detach().clone()
        self._left = int(torch.count_nonzero(self._table))

    def after_step(self, number: int) -> None:
        """Remember the table that the step used: the state after one update less."""
        self._previous, self._table = self._table, self.table.table_in_use
        self._left = self.table.non_zeros_in_use
        self.updates = number - 1

    def count(self) -> int:
        """Non-zeros after :attr:`updates` updates."""
        return self._left

    recent_count = count

    def pruned_table(self) -> Tensor:
        """V̂ (N, D) after :attr:`updates` updates."""
        return self._table

    def refilled_mask(self, budget: int) -> Tensor:
        """Mask (N, D) of the non-zeros, refilled up to ``budget`` if the method does so."""
        if self.method.exact:
            return refilled(self._previous, self._table, budget)
        return self._table != 0

    def trimmed_mask(self, budget: int) -> Tensor:
        """Mask (N, D) of the ``budget`` largest |V̂|."""
        return largest_entries(self._table.abs(), budget)


class RowSearch(Search):
    """The same search at a cost that depends on the batch, not on the table.

    Only rows that a batch needs are thresholded and updated; what L2 does to the others is applied
    lazily (:class:`~pepbench.training.row_optimizers.RowAdam`). Every few steps an up-to-date copy
    of some rows, evenly spread, tells how many entries are about left; where that is close to a
    budget, a copy of all rows is counted. So a look changes nothing.
    """

    def __init__(self, method: PEP, task: Task, model: Model, optimizer: Optimizer) -> None:
        super().__init__(method, task, model, optimizer)
        n_rows, last = len(self.table.values), method.search_steps(task.steps_per_epoch)
        self._sample = slice(0, n_rows, -(-n_rows // SAMPLE_ROWS))
        self._stride, self._last = max(1, last // LOOKS), last

    def after_step(self, number: int) -> None:
        """Note the step, whose update the copies include."""
        self.updates = number

    def is_within(self, budget: int) -> bool:
        """Whether at most ``budget`` entries are left; looks in some steps and in the last."""
        if self.updates % self._stride and self.updates < self._last:
            return False
        return self.recent_count() <= SLACK * budget and self.count() <= budget

    def recent_count(self) -> int:
        """Non-zeros, about, by those of the rows that are looked at."""
        values, gate = self.table.current(self._sample)
        share = torch.count_nonzero(values.abs() > gate) / values.numel()
        return round(float(share) * self.table.values.numel())

    def count(self) -> int:
        """Non-zeros after :attr:`updates` updates."""
        return int(torch.count_nonzero(self.pruned_table()))

    def pruned_table(self) -> Tensor:
        """V̂ (N, D) after :attr:`updates` updates."""
        blocks = self._current_blocks()
        return torch.cat([fast_soft_threshold(values, gate) for values, gate in blocks])

    def refilled_mask(self, budget: int) -> Tensor:
        """Mask (N, D) of the non-zeros, refilled with what was pruned by the least margin."""
        return self._widest_margins(budget if self.method.exact else self.count())

    def trimmed_mask(self, budget: int) -> Tensor:
        """Mask (N, D) of the ``budget`` largest |V̂|."""
        return self._widest_margins(budget)

    def _widest_margins(self, count: int) -> Tensor:
        margins = [values.abs() - gate for values, gate in self._current_blocks()]
        return largest_entries(torch.cat(margins), count)

    def _current_blocks(self) -> Iterator[tuple[Tensor, Tensor]]:
        n_rows = len(self.table.values)
        for start in range(0, n_rows, BLOCK_ROWS):
            yield self.table.current(slice(start, min(start + BLOCK_ROWS, n_rows)))


SAMPLE_ROWS = 2**14
"""Most rows of a table by which a search by rows estimates what is left."""

SLACK = 1.1
"""Estimates up to this multiple of a budget are checked by counting all rows."""

LOOKS = 200
"""Steps, evenly spread over the longest search, in which one by rows looks at the table."""

BLOCK_ROWS = 2**16
"""Rows of a table that are brought up to date at once, which bounds the memory of a look."""


def new_search(method: PEP, task: Task, model: Model, kind: OptimizerKind = "auto") -> Search:
    """A search that is dense or goes by rows, whichever costs less.

    By default the rule is that of all trainings
    (:func:`pepbench.training.optimizers.resolve_optimizer`): by rows on the CPU where the table is
    much larger than what a batch looks up.
    """
    table = cast("ThresholdedTable", model.embedding)
    optimizer = method.optimizer(task, model, table.thresholds, kind)
    search = DenseSearch if state_of(table.values) is None else RowSearch
    return search(method, task, model, optimizer)


def fast_soft_threshold(values: Tensor, threshold: Tensor) -> Tensor:
    """Fast twin of :func:`pepbench.pep.soft_threshold` on the CPU: a compiled pass each way."""
    spread = threshold.expand_as(values).contiguous()
    pruned: Tensor = _FastSoftThreshold.apply(values, spread)  # type: ignore[no-untyped-call]
    return pruned


class _FastSoftThreshold(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values: Tensor, threshold: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        pruned = torch.empty_like(values)
        gate, no_group = threshold.detach().numpy(), np.empty(0, np.int64)
        threshold_kernels.threshold_rows(values.detach().numpy(), gate, no_group, pruned.numpy())
        ctx.save_for_backward(pruned)
        return pruned

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:  # type: ignore[no-untyped-def]
        (pruned,) = ctx.saved_tensors
        for_values, for_threshold = torch.empty_like(pruned), torch.empty_like(pruned)
        tensors = (gradient.contiguous(), pruned, for_values, for_threshold)
        threshold_kernels.soft_threshold_backward(*_flat(*tensors))
        return for_values, for_threshold


def _flat(*tensors: Tensor) -> tuple[np.ndarray, ...]:
    return tuple(tensor.detach().view(-1).numpy() for tensor in tensors)


def refilled(previous: Tensor, table: Tensor, budget: int) -> Tensor:
    """Mask of the non-zeros of ``table``, up to ``budget`` with the largest of ``previous``.

    >>> refilled(torch.tensor([3.0, 1.0, 2.0]), torch.tensor([2.5, 0.0, 0.0]), 2).tolist()
    [True, False, True]
    """
    non_zeros_first = torch.where(table != 0, torch.inf, previous.abs())
    mask = largest_entries(non_zeros_first, budget)
    return mask & (non_zeros_first != 0)
