"""A compiled training step of a factorisation machine, or of logistic regression, on the CPU.

It makes the update that :func:`pepbench.training.step.torch_step` makes, up to rounding, without a
graph: loss and gradient in compiled loops, the gradient's norm, then the optimizer's update in
place. All state stays in the optimizer, so steps of both kinds can alternate. Models and optimizers
that it does not know are left to torch.

The module is long because what may change between two steps is checked here, beside what relies on
it.
"""

from __future__ import annotations

import math
import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import Any, cast
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor, nn

from pepbench.backbones.backbone import FirstOrder
from pepbench.backbones.fm import FMModule
from pepbench.backbones.lr import LRModule
from pepbench.method import Batch, Embedding, Model
from pepbench.tables.rows import (
    Blocks,
    DirectRows,
    RowState,
    RowTable,
    SoftThreshold,
    check_ids,
    distinct,
    state_of,
)
from pepbench.tables.threshold_kernels import threshold_entries, threshold_rows
from pepbench.training import fm_kernels as kernels
from pepbench.training.divergence import check_finite
from pepbench.training.row_optimizers import RowWise
from pepbench.training.uncompiled import Adagrad, Adam

MOST_VECTORS = 2.0
"""Vectors for each lookup of a batch up to which those of projected blocks are all computed. It is
faster than torch on the batch's own up to 2 or 4 on real data sets, and to 1.3 in 39 fields."""

_NO_FLAGS = np.empty(0, np.bool_)
_NO_MASK = np.empty((0, 0), np.bool_)
_NO_ROWS = np.empty(0, np.int64)
_NO_GATE = np.empty((0, 0))

ByRows = Mapping[nn.Parameter, RowState]
"""The state of each table that is updated by rows."""


def compiled_step(
    model: Model, batch: Batch, optimizer: torch.optim.Optimizer, clip: float
) -> Tensor | None:
    """Update the model on a batch; the loss before the update, or None if this must be torch's.

    Raises
    ------
    Diverged
        If loss or gradient is not finite; the parameters are left as they were.
    """
    trainer = _TRAINERS.get(optimizer)
    if trainer is None or not trainer.serves(model, optimizer):
        trainer = _trainer_of(model, optimizer)
        if trainer is None:
            return None
        _TRAINERS[optimizer] = trainer
    if not trainer.takes(batch):
        return None
    return batch.labels.new_tensor(trainer.step(batch, optimizer, clip))


class _Trainer:
    """Arrays of a model and its optimizer's state, for as long as they stay where they are."""

    def __init__(self, model: Model, source: DirectRows, optimizer: torch.optim.Optimizer) -> None:
        embedding, backbone = model.embedding, model.backbone
        first_order = cast(FirstOrder, backbone.first_order)
        modules = (model, embedding, backbone, first_order, *embedding.children())
        self._model, self._source = model, source
        self._members = (
            (model._modules, "embedding", embedding),
            (model._modules, "backbone", backbone),
            (backbone._modules, "first_order", first_order),
            (first_order._parameters, "weights", first_order.weights),
            (first_order._parameters, "bias", first_order.bias),
            (first_order._parameters, "dense", None),
        )
        self._attributes = [vars(module) for module in modules]
        self._hooks = [getattr(module, name) for module in modules for name in _HOOKS]
        self._pairwise = type(backbone) is FMModule
        raw = None if source.threshold is None else source.threshold.raw
        by_rows, dense = _parts_of(optimizer)
        n_vectors = len(source.values if source.row is None else source.row)
        self._n_features = min(n_vectors, len(first_order.weights))
        self._groups = [] if dense is None else list(dense.param_groups)
        group_of = {id(p): group for group in self._groups for p in group["params"]}

        def whole(parameter: nn.Parameter) -> _Whole:
            return _Whole(parameter, group_of.get(id(parameter)))

        def part_of(values: nn.Parameter | Blocks) -> _Part:
            if isinstance(values, Blocks):
                return _Projected(values, whole)
            return _Rows(values, by_rows[values]) if values in by_rows else whole(values)

        parameters = (source.values, first_order.weights, first_order.bias, raw)
        self._parts = [part_of(values) for values in parameters if values is not None]

    @property
    def is_complete(self) -> bool:
        """Whether values and a threshold for each row of them are both by rows, or both whole."""
        threshold = self._source.threshold
        by_row = threshold is not None and isinstance(threshold.raw, RowTable)
        return not by_row or type(self._parts[0]) is type(self._parts[3])

    def serves(self, model: Model, optimizer: torch.optim.Optimizer) -> bool:
        """Whether all is where it was, and nothing computes otherwise than its class says."""
        source = model.embedding.direct_rows()
        by_rows, dense = _parts_of(optimizer)
        groups = [] if dense is None else dense.param_groups
        return (
            model is self._model
            and all(place.get(name) is member for place, name, member in self._members)
            and not any(self._hooks)
            and all(map(_METHODS.isdisjoint, self._attributes))
            and source is not None
            and _is_same(source, self._source)
            and _is_known(optimizer)
            and len(groups) == len(self._groups)
            and all(map(operator.is_, groups, self._groups))
            and all(part.is_current(by_rows) for part in self._parts)
        )

    def takes(self, batch: Batch) -> bool:
        """Whether ids and labels are as the kernels take them."""
        ids, labels = batch
        return (
            isinstance(ids, Tensor)
            and ids.device.type == labels.device.type == "cpu"
            and ids.dtype == torch.int64
            and ids.dim() == 2
            and ids.is_contiguous()
            and labels.shape == ids.shape[:1]
            and labels.dtype == self._source.values.dtype
            and self._parts[0].suits(ids.numel())
        )

    def step(self, batch: Batch, optimizer: torch.optim.Optimizer, clip: float) -> float:
        """Make the update of :func:`compiled_step`."""
        source, parts = self._source, self._parts
        _, dense = _parts_of(optimizer)
        ids = cast(Tensor, batch.ids)
        check_ids(ids, self._n_features)
        of_vectors = ids if source.row is None else source.row[ids]
        for part in parts:
            part.look_up(ids if part is parts[1] else of_vectors)
        try:
            loss = _add_gradients(source, self._pairwise, batch.labels, *parts)
            norm = math.sqrt(sum(part.finish() for part in parts if part.is_trained))
            check_finite(loss, norm)
            factor = clip / (norm + 1e-6) if norm > clip else 1.0
            for part in parts:
                part.update(factor, dense)
        except BaseException:
            for part in parts:
                part.gradient.fill(0)
            raise
        if type(dense) in _ADAGRAD:
            dense.step()  # type: ignore[union-attr]
        # Adagrad's own step has called its hooks.
        if dense is not optimizer or type(dense) not in _ADAGRAD:
            for hook in optimizer._optimizer_step_post_hooks.values():
                hook(optimizer, (), {})
        return loss


_ADAM = (torch.optim.Adam, Adam)
_ADAGRAD = (torch.optim.Adagrad, Adagrad)
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")
_METHODS = {"forward", "from_table", "as_table", "direct_rows", "penalty", "vectors"}

_TRAINERS: WeakKeyDictionary[torch.optim.Optimizer, _Trainer] = WeakKeyDictionary()


def _trainer_of(model: Model, optimizer: torch.optim.Optimizer) -> _Trainer | None:
    """A new trainer, if the kernels compute what model and optimizer would."""
    backbone = model.backbone
    if (
        type(model) is not Model
        or type(backbone) not in (FMModule, LRModule)
        or type(backbone.first_order) is not FirstOrder
        or backbone.first_order.dense is not None
        or "direct_rows" not in vars(type(model.embedding))
        or type(model.embedding).penalty is not Embedding.penalty
    ):
        return None
    source = model.embedding.direct_rows()
    kinds = (torch.float32, torch.float64)
    if (
        source is None
        or source.values.dtype not in kinds
        or any(
            parameter.device.type != "cpu"
            or parameter.dtype != source.values.dtype
            or not parameter.is_contiguous()
            for parameter in model.parameters()
        )
    ):
        return None
    trainer = _Trainer(model, source, optimizer)
    return trainer if trainer.is_complete and trainer.serves(model, optimizer) else None


def _is_same(source: DirectRows, other: DirectRows) -> bool:
    """Whether two descriptions of an embedding's rows name the same arrays and target."""
    s, t = source.threshold, other.threshold
    return (
        _are_same(source.values, other.values)
        and source.row is other.row
        and source.mask is other.mask
        and (
            s is t
            if s is None or t is None
            else s.raw is t.raw and s.group is t.group and s.target == t.target
        )
    )


def _are_same(values: RowTable | Blocks, others: RowTable | Blocks) -> bool:
    if not isinstance(values, Blocks) or not isinstance(others, Blocks):
        return values is others
    ours, theirs = values.parameters, others.parameters
    return len(ours) == len(theirs) and all(map(operator.is_, ours, theirs))


def _is_known(optimizer: torch.optim.Optimizer) -> bool:
    """Whether an optimizer's arithmetic is that of the kernels, or its own step can be called."""
    if optimizer._optimizer_step_pre_hooks or "step" in vars(optimizer):
        return False
    dense = optimizer.dense if type(optimizer) is RowWise else optimizer
    if type(dense) in _ADAM and dense is not None:
        return not any(
            group.get(option) for group in dense.param_groups for option in _ADAM_OPTIONS
        )
    return dense is None or type(dense) in _ADAGRAD


_ADAM_OPTIONS = ("amsgrad", "maximize", "capturable", "differentiable", "decoupled_weight_decay")
"""Options of ``torch.optim.Adam`` that change its arithmetic."""


def _parts_of(
    optimizer: torch.optim.Optimizer,
) -> tuple[ByRows, torch.optim.Optimizer | None]:
    """The state of tables that are updated by rows, and the optimizer of the other parameters."""
    if isinstance(optimizer, RowWise):
        return optimizer.rows, optimizer.dense
    return {}, optimizer


class _Part(ABC):
    """A parameter, or the rows of it that a batch needs, with a gradient."""

    values: np.ndarray
    """Shape (M, w) of a table, (M,) of first-order weights; (1,) of a bias."""
    gradient: np.ndarray
    """As ``values``; zero before and after a step."""
    ids: Tensor
    """Shape (B, F): rows of ``values``."""
    rows: Tensor | None = None
    """Shape (M,): the rows of the parameter; None if it is whole."""
    flags: np.ndarray = _NO_FLAGS
    found: np.ndarray = _NO_ROWS
    """Workspace (M,) to find the rows of a batch; empty where they are all that there is."""
    is_trained: bool
    squares: float = 0.0
    """Sum of squares of the gradient."""

    def __init__(self, parameter: nn.Parameter, state: RowState | None) -> None:
        self.parameter, self._state = parameter, state
        self._place = parameter.data_ptr(), parameter.shape

    def is_current(self, by_rows: ByRows) -> bool:
        """Whether values and state by row are where they were, and no hook is a stranger's."""
        parameter = self.parameter
        attached = state_of(parameter) if isinstance(parameter, RowTable) else None
        return (
            (parameter.data_ptr(), parameter.shape) == self._place
            and parameter.is_contiguous()
            and not parameter._backward_hooks
            and not parameter._post_accumulate_grad_hooks
            and attached is self._state is by_rows.get(parameter)
        )

    @abstractmethod
    def look_up(self, ids: Tensor) -> None:
        """Take what a batch needs, with its global ``ids`` (B, F)."""

    @abstractmethod
    def workspace(self) -> np.ndarray:
        """An array as ``values``, with any content."""

    def suits(self, lookups: int) -> bool:  # noqa: ARG002
        """Whether it is faster than torch in a batch of so many lookups."""
        return True

    def finish(self) -> float:
        """Complete the gradient of what is trained; its sum of squares."""
        return self.squares

    @abstractmethod
    def update(self, factor: float, dense: torch.optim.Optimizer | None) -> None:
        """Make the optimizer's step with ``factor`` times the gradient, which becomes zero."""


class _Rows(_Part):
    """Rows that an optimizer with state by row updates."""

    _state: RowState

    def look_up(self, ids: Tensor) -> None:
        """Bring the rows of a batch up to date and copy them."""
        self.rows, self.ids = distinct(ids, len(self.parameter))
        self._state.catch_up(self.rows.numpy())
        self.values = self._state.gather(self.rows).numpy()
        self.gradient = np.zeros_like(self.values)
        self.is_trained = self.parameter.requires_grad

    def workspace(self) -> np.ndarray:
        """A new array, since batches need different numbers of rows."""
        return np.empty_like(self.values)

    def update(self, factor: float, dense: torch.optim.Optimizer | None) -> None:  # noqa: ARG002
        """Update the rows of the batch, and sweep the next share of the table."""
        if self.is_trained and self.rows is not None:
            gradient = self.gradient.reshape(len(self.rows), -1)
            if factor != 1.0:
                gradient *= gradient.dtype.type(factor)
            self._state.update(self.rows.numpy(), gradient)
            self._state.sweep()


class _Whole(_Part):
    """A parameter that a dense optimizer updates, or that is not trained."""

    def __init__(self, parameter: nn.Parameter, group: dict[str, Any] | None) -> None:
        super().__init__(parameter, None)
        self._group = group
        self._first: Tensor | None = None
        self._flat: list[np.ndarray] = []
        self._workspace: np.ndarray | None = None

    def look_up(self, ids: Tensor) -> None:
        """Take note of the ids; before the first step, allocate what is kept between steps."""
        self.ids = ids
        if not self._flat:
            self.tensor = self.parameter.detach()
            self.values = self.tensor.numpy()
            self.gradient_tensor = torch.zeros_like(self.tensor)
            self.gradient = self.gradient_tensor.numpy()
            self.flags = np.zeros(len(self.values), np.bool_)
            self.found = np.empty(len(self.values) + 1, np.int64)
            self._flat = [self.values.reshape(-1)]
        self.is_trained = self.parameter.requires_grad and self._group is not None
        self.parameter.grad = None

    def workspace(self) -> np.ndarray:
        """The same array in every step."""
        if self._workspace is None:
            self._workspace = np.empty_like(self.values)
        return self._workspace

    def update(self, factor: float, dense: torch.optim.Optimizer | None) -> None:
        """Update all by Adam, or hand the gradient to another optimizer."""
        group = self._group
        if not self.is_trained or group is None:
            self.gradient.fill(0)
        elif dense is not None and type(dense) in _ADAM:
            state = dense.state[self.parameter]
            if not state or state["exp_avg"] is not self._first:
                self._attach(state)
            self._step += 1
            settings = (group["lr"], group["weight_decay"], *group["betas"], group["eps"])
            values, first, second, gradient = self._flat
            step = float(self._step)
            kernels.adam_update(values, first, second, gradient, factor, step, *settings)
        else:
            self.parameter.grad = torch.from_numpy(self.gradient * self.values.dtype.type(factor))
            self.gradient.fill(0)

    def _attach(self, state: dict[str, Tensor]) -> None:
        """Look at the state of torch's Adam, made as torch makes it before the first step."""
        if not state:
            state["step"] = torch.zeros((), dtype=torch.float32)
            for name in ("exp_avg", "exp_avg_sq"):
                state[name] = torch.zeros_like(self.parameter, requires_grad=False)
        self._first = state["exp_avg"]
        self._step = state["step"].numpy()
        moments = [state[name].numpy() for name in ("exp_avg", "exp_avg_sq")]
        self._flat = [array.reshape(-1) for array in (self.values, *moments, self.gradient)]


class _Projected(_Part):
    """Vectors made of blocks of rows, all of them in every step, for a dense optimizer."""

    def __init__(self, blocks: Blocks, whole: Callable[[nn.Parameter], _Whole]) -> None:
        self._blocks = blocks
        self._pairs = [
            (whole(table), None if projection is None else whole(projection))
            for table, projection in zip(blocks.tables, blocks.projections, strict=True)
        ]
        self._members = [part for pair in self._pairs for part in pair if part is not None]
        self._vectors: Sequence[Tensor] = ()
        self._gradients: Sequence[Tensor] = ()

    def is_current(self, by_rows: ByRows) -> bool:
        """Whether all of its parameters are."""
        return all(part.is_current(by_rows) for part in self._members)

    def suits(self, lookups: int) -> bool:
        """Whether few of the vectors are computed in vain."""
        return len(self._blocks) <= MOST_VECTORS * lookups

    def look_up(self, ids: Tensor) -> None:
        """Compute the vectors; before the first step, allocate what is kept between steps."""
        self.ids = ids
        for part in self._members:
            part.look_up(ids)
        self.is_trained = any(part.is_trained for part in self._members)
        if not self._vectors:
            self._allocate()
        for (table, projection), vectors in zip(self._pairs, self._vectors, strict=True):
            if projection is None:
                vectors[:, : table.values.shape[1]] = table.tensor
            else:
                torch.mm(table.tensor, projection.tensor, out=vectors)

    def _allocate(self) -> None:
        n_vectors, sizes = len(self._blocks), [len(table) for table in self._blocks.tables]
        # Zeros, which stay where narrow rows are padded.
        vectors = torch.zeros(n_vectors, self._blocks.dim, dtype=self._blocks.dtype)
        gradient = torch.zeros_like(vectors)
        self.values, self.gradient = vectors.numpy(), gradient.numpy()
        self.flags = np.zeros(n_vectors, np.bool_)
        self.found = np.empty(n_vectors + 1, np.int64)
        self._vectors, self._gradients = torch.split(vectors, sizes), torch.split(gradient, sizes)

    def workspace(self) -> np.ndarray:
        """A new array."""
        return np.empty_like(self.values)

    def finish(self) -> float:
        """Make the gradients of tables and projections from that of the vectors."""
        for (table, projection), gradient in zip(self._pairs, self._gradients, strict=True):
            if projection is None:
                table.gradient_tensor.copy_(gradient[:, : table.values.shape[1]])
            else:
                torch.mm(gradient, projection.tensor.T, out=table.gradient_tensor)
                torch.mm(table.tensor.T, gradient, out=projection.gradient_tensor)
        trained = [part.gradient.reshape(-1) for part in self._members if part.is_trained]
        return sum(map(kernels.squared_norm, trained))

    def update(self, factor: float, dense: torch.optim.Optimizer | None) -> None:
        """Update all of them."""
        self.gradient.fill(0)
        for part in self._members:
            part.update(factor, dense)


def _add_gradients(
    source: DirectRows,
    pairwise: bool,
    labels: Tensor,
    table: _Part,
    weights: _Part,
    bias: _Part,
    raw: _Part | None = None,
) -> float:
    """Compute the gradients of a batch and their sums of squares; the loss."""
    vectors, threshold = table.values, source.threshold
    gate, group = _NO_GATE, _NO_ROWS
    own_thresholds = False
    if threshold is not None and raw is not None:
        vectors = np.empty_like(table.values)
        own_thresholds = threshold.group is None and raw.values.shape == vectors.shape
        if own_thresholds:
            gate = raw.workspace()
            entries = (table.values, raw.values, threshold.target)
            non_zeros = threshold_entries(*entries, gate, vectors)
        else:
            gate, group = _gate(threshold, raw, table.rows)
            non_zeros = threshold_rows(table.values, gate, group, vectors)
        threshold.used(torch.from_numpy(vectors), table.rows, non_zeros)
    apart = table.ids is not weights.ids
    of_rows = np.zeros(len(vectors), vectors.dtype) if apart else weights.gradient
    rows, ids = table.ids.numpy(), weights.ids.numpy()
    of_batch = (pairwise, vectors, weights.values, bias.values, rows, ids, labels.numpy())
    gradients = (table.gradient, of_rows, weights.gradient)
    loss, for_bias, count = kernels.batch_gradient(*of_batch, *gradients, table.flags, table.found)
    bias.gradient[0] = for_bias
    bias.squares = for_bias * for_bias
    weights.squares = kernels.squared_norm(weights.gradient)
    if not pairwise:
        return loss
    of_table = (vectors, table.gradient, of_rows, table.found, count)
    if threshold is None or raw is None:
        mask = _NO_MASK if source.mask is None else source.mask.numpy()
        own = _NO_ROWS if table.rows is None else table.rows.numpy()
        table.squares = kernels.finish_gradient(*of_table, mask, own)
    elif own_thresholds and table.rows is None:
        of_own = (*of_table, gate, raw.gradient)
        table.squares, raw.squares = kernels.finish_own_thresholds(*of_own)
    elif own_thresholds:
        of_all = (vectors, table.gradient, of_rows, gate)
        table.squares, raw.squares = kernels.finish_own_thresholds_in_place(*of_all)
        raw.gradient = gate
    else:
        of_gate = (gate, group, raw.gradient.reshape(gate.shape))
        table.squares, raw.squares = kernels.finish_thresholded(*of_table, *of_gate)
    return loss


def _gate(
    threshold: SoftThreshold, raw: _Part, rows: Tensor | None
) -> tuple[np.ndarray, np.ndarray]:
    """σ(s), shape (K, w) or (K, 1), and the row of it of each row of the table, if they differ."""
    gate = torch.sigmoid(torch.from_numpy(raw.values) + threshold.target)
    group = threshold.group
    if group is None:
        return np.atleast_2d(gate.numpy()), _NO_ROWS
    return gate.numpy(), (group if rows is None else group[rows]).numpy()
