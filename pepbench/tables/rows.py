"""Tables that are read and updated by rows, where a batch needs few of them.

A batch of B rows and F fields looks up at most B·F of N features. :func:`view_of` takes those rows
out of a parameter, so that the work of a step depends on the batch, not on the table. It does so
where an optimizer with state by row (:class:`RowState`) is attached to the parameter; without one,
a view is the whole parameter.
"""

from __future__ import annotations

import copy
import math
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from pepbench.lazy import LazyModule

if TYPE_CHECKING:
    from pepbench.tables import kernels
else:
    kernels = LazyModule("pepbench.tables.kernels")


class RowTable(nn.Parameter):
    """A parameter (N, …) that training reads through :func:`view_of` only.

    Therefore an optimizer may update it by rows; otherwise it is an ordinary parameter.
    """


class View(NamedTuple):
    """Rows of a table, and which of them each lookup of a batch needs."""

    table: Tensor
    """Shape (M, w): the whole table, or the rows that the batch needs."""
    ids: Tensor
    """Shape (B, F): rows of ``table``."""
    rows: Tensor | None
    """Shape (M,): global ids of the rows; None if the table is whole."""


@dataclass(frozen=True, eq=False)
class SoftThreshold:
    """Thresholds σ(s) under which entries of a table are zero: V̂ = sign(V) · relu(|V| − σ(s))."""

    raw: nn.Parameter
    """s less its ``target``, in a shape that broadcasts: (N, w), (N, 1), (w,) or (1,). With a
    ``group``, shape (G, w) or (G, 1)."""
    target: float
    group: Tensor | None
    """Shape (N,): the row of ``raw`` of each row of the table."""
    used: Callable[[Tensor, Tensor | None, int], None]
    """Called with V̂ (M, w) of each step, the rows (M,) that it holds (None: all), and the number
    of its non-zeros."""


@dataclass(frozen=True, eq=False)
class Blocks:
    """Blocks of rows of different widths, each brought to D: R rows in all, one after another."""

    tables: tuple[nn.Parameter, ...]
    """One (n_k, w_k) for each block, w_k at most D."""
    projections: tuple[nn.Parameter | None, ...]
    """One (w_k, D) for each block; None pads its rows with zeros instead."""
    dim: int
    """D."""

    def __len__(self) -> int:
        """R."""
        return sum(map(len, self.tables))

    @property
    def dtype(self) -> torch.dtype:
        """Of the tables."""
        return self.tables[0].dtype

    @property
    def parameters(self) -> tuple[nn.Parameter | None, ...]:
        """Tables and projections."""
        return self.tables + self.projections


@dataclass(frozen=True, eq=False)
class DirectRows:
    """Vectors that are rows of one parameter, or of blocks: what training needs without a graph."""

    values: RowTable | Blocks
    """Shape (R, w). Blocks have neither mask nor threshold."""
    row: Tensor | None = None
    """Shape (N,): the row of each feature; None if feature i has row i."""
    mask: Tensor | None = None
    """Shape (R, w), boolean: entries outside it stay zero."""
    threshold: SoftThreshold | None = None


def view_of(parameter: RowTable, ids: Tensor, by_rows: bool = False) -> View:
    """The rows of ``parameter`` (N, w) that ``ids`` (B, F) need, with gradients.

    The whole parameter where no gradient is wanted, or no row-wise optimizer is attached and
    it is not to be ``by_rows`` all the same, as beside another table that is.
    """
    state = None if torch.compiler.is_compiling() else state_of(parameter)
    if not torch.is_grad_enabled() or (state is None and not by_rows):
        return View(parameter, ids, None)
    rows, local = distinct(ids, parameter.shape[0])
    if state is None:
        return View(parameter[rows], local, rows)
    state.catch_up(rows.numpy())
    table: Tensor = _Gather.apply(parameter, rows, state)  # type: ignore[no-untyped-call]
    return View(table, local, rows)


def current_rows(parameter: RowTable, rows: slice) -> Tensor:
    """A copy of some ``rows`` of ``parameter`` as :meth:`RowState.flush` would leave them.

    It changes nothing: training goes on as if they had not been read.
    """
    state = state_of(parameter)
    if state is None:
        return parameter.detach()[rows].clone()
    return torch.from_numpy(state.current(rows)).view(-1, *parameter.shape[1:])


def release(parameter: nn.Parameter) -> None:
    """Bring ``parameter`` up to date and detach its state by row, if there is one.

    From then on views are the whole parameter, for an optimizer that updates it as a whole.
    """
    state: RowState | None = _STATES.pop(parameter, None)  # type: ignore[no-untyped-call]
    if state is not None:
        state.flush()


def current_copy(module: nn.Module) -> nn.Module:
    """A deep copy of ``module`` whose row tables are up to date; changes nothing."""
    twin = copy.deepcopy(module)
    with torch.no_grad():
        for parameter, own in zip(module.parameters(), twin.parameters(), strict=True):
            if isinstance(parameter, RowTable):
                own.copy_(current_rows(parameter, slice(None)))
    return twin


def distinct(ids: Tensor, n_rows: int) -> tuple[Tensor, Tensor]:
    """The distinct ids of a batch (M,), and the batch in terms of them (B, F).

    Ordered by first appearance on the CPU, ascending elsewhere. Cached for as long as ``ids``
    lives, since several tables are looked up with them.
    """
    if torch.compiler.is_compiling():
        # Each id by itself: the number of distinct ids would break the graph.
        return ids.reshape(-1), torch.arange(ids.numel(), device=ids.device).view(ids.shape)
    if ids.device.type != "cpu":
        unique, local = torch.unique(ids, return_inverse=True)
        return unique, local
    if ids in _DISTINCT:
        known: tuple[Tensor, Tensor] = _DISTINCT[ids]
        return known
    check_ids(ids, n_rows)
    if n_rows not in _WORKSPACE.slots:
        _WORKSPACE.slots[n_rows] = np.full(n_rows, -1, dtype=np.int32)
    flat = ids.reshape(-1).numpy()
    rows = np.empty(len(flat), dtype=np.int64)
    places = np.empty(len(flat), dtype=np.int64)
    count = kernels.unique_rows(flat, _WORKSPACE.slots[n_rows], rows, places)
    found = torch.from_numpy(rows[:count]), torch.from_numpy(places).view(ids.shape)
    _DISTINCT[ids] = found
    return found


def check_ids(ids: Tensor, n_rows: int) -> None:
    """Make sure that ids on the CPU are rows of a table, before a kernel goes by them.

    Raises
    ------
    IndexError
        If one is negative, or ``n_rows`` or more.
    """
    if not kernels.are_rows(ids.numpy().reshape(-1), n_rows):
        low, high = ids.aminmax()
        raise IndexError(f"ids from {low} to {high} of a table of {n_rows} rows")


class _Gather(torch.autograd.Function):
    """Gathers rows of a parameter; their gradient goes to :class:`RowState`, not to ``.grad``."""

    @staticmethod
    def forward(ctx, parameter: Tensor, rows: Tensor, state: RowState) -> Tensor:  # type: ignore[no-untyped-def]  # noqa: ARG004
        ctx.rows, ctx.state = rows, state
        return state.gather(rows)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[None, None, None]:  # type: ignore[no-untyped-def]
        ctx.state.gradients.append((ctx.rows, gradient))
        return None, None, None


class RowState(ABC):
    """State of an optimizer for each row of a parameter (N, …), on the CPU.

    It attaches itself to the parameter; from then on views of it are the rows of a batch.
    """

    def __init__(self, parameter: nn.Parameter) -> None:
        previous = state_of(parameter)
        if previous is not None:
            previous.flush()
        self.gradients: list[tuple[Tensor, Tensor]] = []
        """Rows (M,) and gradients (M, …) since the last step, one pair for each view."""
        self.swept = slice(0, 0)
        """Rows that the last step brought up to date in their turn."""
        self.values: np.ndarray = parameter.detach().view(len(parameter), -1).numpy()
        """Shape (N, w): the parameter's own memory."""
        self._shape, self._dtype = parameter.shape[1:], parameter.dtype
        _STATES[parameter] = self

    def gather(self, rows: Tensor) -> Tensor:
        """A copy of ``rows`` (M,), shape (M, …)."""
        gathered = torch.empty(len(rows), *self._shape, dtype=self._dtype)
        flat = gathered.view(len(rows), self.values.shape[1])
        kernels.gather_rows(self.values, rows.numpy(), flat.numpy())
        return gathered

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
        """Update the rows that have gradients, and forget the gradients."""
        merged = self.merged_gradient()
        self.gradients = []
        if merged is None:
            self.update(np.empty(0, np.int64), np.empty((0, self.values.shape[1])))
            return
        rows, gradient = merged
        width = math.prod(gradient.shape[1:])
        self.update(rows.numpy(), gradient.contiguous().view(len(rows), width).numpy())

    @abstractmethod
    def update(self, rows: np.ndarray, gradient: np.ndarray) -> None:
        """Make one step with the gradient (M, w) of ``rows`` (M,)."""

    @abstractmethod
    def catch_up(self, rows: np.ndarray) -> None:
        """Catch up: bring ``rows`` (M,) to the state of the last step."""

    @abstractmethod
    def current(self, rows: slice) -> np.ndarray:
        """A copy of ``rows``, shape (M, w), as catching up would leave them; changes nothing."""

    @abstractmethod
    def sweep(self) -> None:
        """Bring the next share of the table, :attr:`swept`, up to date."""

    def flush(self) -> None:
        """Bring every row up to date."""
        self.catch_up(np.arange(len(self.values)))


def state_of(parameter: nn.Parameter) -> RowState | None:
    """The state by row that is attached to a parameter, if there is one."""
    state: RowState | None = _STATES.get(parameter)  # type: ignore[no-untyped-call]
    return state


_STATES: WeakIdKeyDictionary = WeakIdKeyDictionary()
_DISTINCT: WeakIdKeyDictionary = WeakIdKeyDictionary()


class _Workspace(threading.local):
    """Arrays for :func:`distinct`, by N; each thread has its own, since kernels run at once."""

    def __init__(self) -> None:
        self.slots: dict[int, np.ndarray] = {}


_WORKSPACE = _Workspace()
