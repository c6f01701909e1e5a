"""Embeddings as torch modules: their interface, the lookup, and a plain and a masked table."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor, nn

from pepbench.lazy import LazyModule
from pepbench.tables import layout
from pepbench.tables.rows import DirectRows, RowState, RowTable, View, distinct, view_of

if TYPE_CHECKING:
    from pepbench.tables import kernels
else:
    kernels = LazyModule("pepbench.tables.kernels")


class _Lookup(torch.autograd.Function):
    """Row gather whose gradient is one pass that adds rows to rows.

    Several times as fast on CPU as the backward of ``torch.nn.functional.embedding``, which sorts
    the ids. The gradient is dense, as Adam with L2 on every entry needs it.
    """

    @staticmethod
    def forward(ctx, table: Tensor, ids: Tensor) -> Tensor:  # type: ignore[no-untyped-def]
        flat = ids.reshape(-1)
        ctx.save_for_backward(flat)
        ctx.n_rows = table.shape[0]
        return table.index_select(0, flat).view(*ids.shape, table.shape[1])

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[no-untyped-def]
        (flat,) = ctx.saved_tensors
        width = gradient.shape[-1]
        table_gradient = gradient.new_zeros(ctx.n_rows, width)
        values = gradient.reshape(-1, width)
        if _has_kernels(gradient):
            kernels.add_rows(values.numpy(), flat.numpy(), table_gradient.numpy())
        else:
            table_gradient.index_add_(0, flat, values)
        return table_gradient, None


class _Masked(torch.autograd.Function):
    """A masked table, or rows of it, unchanged, since masked values are zero; masks the gradient.

    Not a hook of the parameter, which a copy of the table would lack.
    """

    @staticmethod
    def forward(ctx, table: Tensor, mask: Tensor, rows: Tensor | None) -> Tensor:  # type: ignore[no-untyped-def]
        ctx.mask, ctx.rows = mask, rows
        return table.view_as(table)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[no-untyped-def]
        if not _has_kernels(gradient):
            return torch.where(ctx.mask, gradient, 0.0), None, None
        # Nothing else uses the gradient; masking it in place saves a copy of the table.
        gradient = gradient.contiguous()
        if ctx.rows is None:
            kernels.mask_all(gradient.view(-1).numpy(), ctx.mask.view(-1).numpy())
        else:
            kernels.mask_rows(gradient.numpy(), ctx.mask.numpy(), ctx.rows.numpy())
        return gradient, None, None


def _has_kernels(tensor: Tensor) -> bool:
    return tensor.device.type == "cpu" and tensor.dtype in (torch.float32, torch.float64)


def lookup(table: Tensor, ids: Tensor) -> Tensor:
    """Rows of ``table`` (N, D) at ``ids`` of any integer shape (…) → (…, D).

    >>> lookup(torch.eye(3), torch.tensor([[2, 0]])).tolist()
    [[[0.0, 0.0, 1.0], [1.0, 0.0, 0.0]]]
    """
    if torch.compiler.is_compiling():
        return nn.functional.embedding(ids, table)
    result: Tensor = _Lookup.apply(table, ids)  # type: ignore[no-untyped-call]
    return result


def of_fields(numbers: Tensor, ids: Tensor, field_of_feature: Tensor) -> Tensor:
    """Numbers of the field that each id belongs to: (F, …), ids (B, F) → broadcasts with (B, F, …).

    Ids of one column per field need no lookup. Those of multi-valued fields are (V, 1).

    >>> of_fields(torch.tensor([5.0, 7.0]), torch.tensor([[2], [0]]), torch.tensor([0, 0, 1]))
    tensor([[7.],
            [5.]])
    """
    if ids.shape[1] == len(numbers):
        return numbers
    return numbers.index_select(0, field_of_feature[ids].flatten()).view(
        *ids.shape, *numbers.shape[1:]
    )


def lookup_rows(table: RowTable, ids: Tensor) -> Tensor:
    """Rows of a row table (N, D) at ``ids`` of any integer shape (…) → (…, D).

    In training, an optimizer that works by rows updates those alone.
    """
    view = view_of(table, ids)
    return lookup(view.table, view.ids)


def xavier_uniform(n_rows: int, width: int, fan: int | None = None) -> Tensor:
    """A new (n_rows, width) tensor, Xavier-uniform as if it were a whole (fan, width) table.

    Glorot & Bengio 2010, eq. 16: U(−a, a) with a = √(6 / (fan + width)). Every table starts so, as
    PEP's does, with all N features as one table.
    """
    bound = math.sqrt(6.0 / ((n_rows if fan is None else fan) + width))
    return torch.empty(n_rows, width).uniform_(-bound, bound)


class Embedding(nn.Module, ABC):
    """Turns global ids into vectors: ``ids: (B, F)`` integer → ``(B, F, dim)``."""

    dim: int
    """Width of the vectors that the backbone receives."""
    unused_budget: str = ""
    """Why it may have less than 90 % of the parameters that its budget allows."""

    @abstractmethod
    def forward(self, ids: Tensor) -> Tensor:
        """Vectors of global ids: (B, F) → (B, F, dim)."""

    @abstractmethod
    def export(self) -> layout.Layout:
        """The table as it would be stored for serving; its lookup equals :meth:`forward`."""

    def n_parameters(self) -> int:
        """Trained floating-point numbers needed at serving time.

        The harness compares it with the count of :meth:`export`'s arrays.
        """
        return sum(parameter.numel() for parameter in self.parameters())

    def n_bytes(self) -> int:
        """Bytes that must be stored to serve the table."""
        return self.export().n_bytes

    def as_table(self, ids: Tensor) -> View | None:  # noqa: ARG002
        """The table whose rows are the vectors of ``ids``, or None if the embedding has none.

        It lets a backbone look up the rows itself, which saves copying them. Where there is one,
        :meth:`forward` must give the same vectors.
        """
        return None

    def direct_rows(self) -> DirectRows | None:
        """The parameter whose rows are the vectors, if that is all that training needs to know.

        It lets a compiled step take the place of torch's. It counts only where a class defines it
        itself: a subclass may compute its vectors in another way.
        """
        return None

    def penalty(self) -> Tensor | None:
        """A regulariser that training adds to the loss, if the embedding has one."""
        return None

    def row_states(
        self,
        learning_rate: float,  # noqa: ARG002
        l2: float,  # noqa: ARG002
    ) -> Mapping[nn.Parameter, RowState]:
        """Row tables that are updated in the embedding's own way, whatever the plan's optimizer."""
        return {}

    def decays(self) -> Mapping[nn.Parameter, float]:
        """Factors on the L2 weight of single parameters: 0 for those that are not vectors."""
        return {}

    def training_bytes(self) -> int:
        """Bytes in training with Adam: trained numbers, two moments of each, and buffers."""
        trained = sum(parameter.nbytes for parameter in self.parameters())
        return 3 * trained + sum(buffer.nbytes for buffer in self.buffers())


def to_numpy(tensor: Tensor) -> np.ndarray:
    """A detached copy on the CPU."""
    return tensor.detach().cpu().numpy().copy()


class TableEmbedding(Embedding):
    """An embedding that looks its vectors up in a table: subclasses give :meth:`as_table`."""

    @abstractmethod
    def as_table(self, ids: Tensor) -> View:
        """The table whose rows are the vectors of ``ids``, or its rows that they need."""

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors of global ids: (B, F) → (B, F, dim)."""
        view = self.as_table(ids)
        return lookup(view.table, view.ids)


class ComposedVectors(TableEmbedding):
    """Vectors that are computed, once for each distinct feature of a batch.

    A batch of 20,480 lookups may hold 2,500 features. Subclasses set ``dim`` and
    :attr:`n_features`, and compute in :meth:`vectors`.
    """

    n_features: int
    """N."""

    @abstractmethod
    def vectors(self, features: Tensor) -> Tensor:
        """Vectors of distinct features: (M,) → (M, dim)."""

    def as_table(self, ids: Tensor) -> View:
        """The vectors of the batch's features."""
        features, local = distinct(ids, self.n_features)
        return View(self.vectors(features), local, features)


class PlainTable(TableEmbedding):
    """The uncompressed table: one row of width ``dim`` for each of N features.

    ``initial`` values, of shape (N, dim), are copied; without them they are drawn.
    """

    def __init__(self, n_features: int, dim: int, initial: Tensor | None = None) -> None:
        super().__init__()
        self.dim = dim
        drawn = xavier_uniform(n_features, dim) if initial is None else initial.detach().clone()
        self.table = RowTable(drawn)

    def as_table(self, ids: Tensor) -> View:
        """The table, or its rows at ``ids``."""
        return view_of(self.table, ids)

    def direct_rows(self) -> DirectRows:
        """The table."""
        return DirectRows(self.table)

    def export(self) -> layout.Dense:
        """The table itself."""
        return layout.Dense(to_numpy(self.table))


class MaskedTable(TableEmbedding):
    """A table with entries under a mask only; the others are exactly zero.

    Used by every method that chooses entries. Entries outside the mask receive no gradient and stay
    zero under weight decay.

    Parameters
    ----------
    values
        Shape (N, D): initial values.
    mask
        Shape (N, D), boolean: the entries to keep.
    """

    mask: Tensor

    def __init__(self, values: Tensor, mask: Tensor) -> None:
        super().__init__()
        self.dim = values.shape[1]
        self.register_buffer("mask", mask.to(values.device, copy=True))
        self.table = RowTable(values.detach() * self.mask)

    def as_table(self, ids: Tensor) -> View:
        """The table, or its rows at ``ids``, zeros included."""
        view = view_of(self.table, ids)
        table: Tensor = _Masked.apply(view.table, self.mask, view.rows)  # type: ignore[no-untyped-call]
        return view._replace(table=table)

    def direct_rows(self) -> DirectRows:
        """The table and its mask."""
        return DirectRows(self.table, mask=self.mask)

    def n_parameters(self) -> int:
        """Entries under the mask."""
        return int(self.mask.sum())

    def export(self) -> layout.Masked:
        """Entries under the mask, and their places as a bitmap or compressed rows, if smaller."""
        return layout.Masked.from_table(to_numpy(self.table), to_numpy(self.mask))


def largest_entries(scores: Tensor, count: int) -> Tensor:
    """Mask of exactly ``count`` entries with the largest ``scores``; ties go to the lowest index.

    >>> largest_entries(torch.tensor([[1.0, 3.0], [3.0, 2.0]]), 2).tolist()
    [[False, True], [True, False]]
    """
    order = torch.sort(scores.reshape(-1), descending=True, stable=True).indices
    mask = torch.zeros(scores.numel(), dtype=torch.bool, device=scores.device)
    mask[order[:count]] = True
    return mask.view_as(scores)
