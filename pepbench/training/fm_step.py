"""A compiled training step of a factorisation machine, or of logistic regression, on the CPU.

It makes the update that :func:`pepbench.training.step.torch_step` makes, up to rounding, without a
graph: loss and gradient in compiled loops, the gradient's norm, then the optimizer's update in
place. All state stays in the optimizer, so steps of both kinds can alternate. Models and optimizers
that it does not know are left to torch.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.weak import WeakIdKeyDictionary

from pepbench.backbones.backbone import FirstOrder
from pepbench.backbones.fm import FMModule
from pepbench.backbones.lr import LRModule
from pepbench.method import Batch, Model
from pepbench.tables.rows import DirectRows, RowState, SoftThreshold, distinct, state_of
from pepbench.training import fm_kernels as kernels
from pepbench.training.divergence import check_finite
from pepbench.training.row_optimizers import RowWise


def compiled_step(
    model: Model, batch: Batch, optimizer: torch.optim.Optimizer, clip: float
) -> Tensor | None:
    """Update the model on a batch; the loss before the update, or None if this must be torch's.

    Raises
    ------
    Diverged
        If loss or gradient is not finite; the parameters are left as they were.
    """
    source = _source_of(model)
    if source is None or not _is_known(optimizer) or not _fits(source, model, batch, optimizer):
        return None
    ids = batch.ids if source.row is None else source.row[batch.ids]
    by_rows, dense = _parts_of(optimizer)
    groups = _groups_of(dense)
    weights = model.backbone.first_order.weights
    parts: list[_Part] = []
    for parameter in _parameters(source, model):
        looked_up = batch.ids if parameter is weights else ids
        if parameter in by_rows:
            parts.append(_Rows(parameter, looked_up, by_rows[parameter]))
        else:
            parts.append(_Whole(parameter, looked_up, groups.get(id(parameter)), dense))
    try:
        loss = _add_gradients(source, type(model.backbone) is FMModule, batch.labels, *parts)
        norm = math.sqrt(sum(part.squares for part in parts if part.is_trained))
        check_finite(loss, norm)
        factor = clip / (norm + 1e-6) if norm > clip else 1.0
        for part in parts:
            part.update(factor)
    except BaseException:
        for part in parts:
            part.gradient.fill(0)
        raise
    if type(dense) is torch.optim.Adagrad:
        dense.step()
    for hook in optimizer._optimizer_step_post_hooks.values():
        hook(optimizer, (), {})
    return batch.labels.new_tensor(loss)


def _source_of(model: Model) -> DirectRows | None:
    """The rows that ``model`` looks up, if it computes nothing else than its classes say."""
    embedding, backbone = model.embedding, model.backbone
    if (
        type(backbone) not in (FMModule, LRModule)
        or type(model) is not Model
        or "direct_rows" not in vars(type(embedding))
        or type(backbone.first_order) is not FirstOrder
        or backbone.first_order.dense is not None
        or any(map(_is_altered, (model, *model.children(), backbone.first_order)))
        or any(map(_is_altered, embedding.children()))
    ):
        return None
    return embedding.direct_rows()


def _is_altered(module: nn.Module) -> bool:
    """Whether an instance has hooks, or methods other than its class."""
    return bool(
        module._forward_hooks
        or module._forward_pre_hooks
        or module._backward_hooks
        or module._backward_pre_hooks
        or not _METHODS.isdisjoint(vars(module))
    )


_METHODS = {"forward", "from_table", "as_table", "direct_rows", "penalty", "vectors"}


def _is_known(optimizer: torch.optim.Optimizer) -> bool:
    """Whether an optimizer's arithmetic is that of the kernels, or its own step can be called."""
    if optimizer._optimizer_step_pre_hooks or "step" in vars(optimizer):
        return False
    dense = optimizer.dense if type(optimizer) is RowWise else optimizer
    if type(dense) is torch.optim.Adam:
        return not any(group[option] for group in dense.param_groups for option in _ADAM_OPTIONS)
    return dense is None or type(dense) is torch.optim.Adagrad


_ADAM_OPTIONS = ("amsgrad", "maximize", "capturable", "differentiable", "decoupled_weight_decay")
"""Options of ``torch.optim.Adam`` that change its arithmetic."""


def _fits(
    source: DirectRows, model: Model, batch: Batch, optimizer: torch.optim.Optimizer
) -> bool:
    """Whether ids, labels and parameters are as kernels take them, with no hook of a stranger."""
    ids, labels = batch
    if not isinstance(ids, Tensor) or not ids.is_contiguous():
        return False
    by_rows, _ = _parts_of(optimizer)
    for parameter in _parameters(source, model):
        # A masked table has one hook, which masks its gradient as the kernels do.
        hooks = 1 if parameter is source.values and source.mask is not None else 0
        if (
            parameter.device.type != "cpu"
            or parameter.dtype != labels.dtype
            or not parameter.is_contiguous()
            or len(parameter._backward_hooks or ()) != hooks
            or parameter._post_accumulate_grad_hooks
            or state_of(parameter) is not by_rows.get(parameter)
        ):
            return False
    return True


def _parameters(source: DirectRows, model: Model) -> Iterator[nn.Parameter]:
    yield source.values
    yield model.backbone.first_order.weights  # type: ignore[union-attr,misc]
    yield model.backbone.first_order.bias  # type: ignore[union-attr,misc]
    if source.threshold is not None:
        yield source.threshold.raw


def _parts_of(
    optimizer: torch.optim.Optimizer,
) -> tuple[Mapping[nn.Parameter, RowState], torch.optim.Optimizer | None]:
    """The state of tables that are updated by rows, and the optimizer of the other parameters."""
    if isinstance(optimizer, RowWise):
        return optimizer.rows, optimizer.dense
    return {}, optimizer


def _groups_of(optimizer: torch.optim.Optimizer | None) -> dict[int, dict[str, Any]]:
    """The settings of each parameter, by its ``id``."""
    groups = [] if optimizer is None else optimizer.param_groups
    return {id(parameter): group for group in groups for parameter in group["params"]}


class _Part(ABC):
    """A parameter, or the rows of it that a batch needs, with a gradient."""

    values: np.ndarray
    """Shape (M, w) of a table, (M,) of first-order weights; (1,) of a bias."""
    gradient: np.ndarray
    """As ``values``; zero before and after a step."""
    ids: Tensor
    """Shape (B, F): rows of ``values``."""
    rows: Tensor | None
    """Shape (M,): the rows of the parameter; None if it is whole."""
    touched: np.ndarray
    """Shape (M,): flags for the kernels; empty where all rows are needed."""
    is_trained: bool
    squares: float = 0.0
    """Sum of squares of the gradient."""

    @abstractmethod
    def update(self, factor: float) -> None:
        """Make the optimizer's step with ``factor`` times the gradient, which becomes zero."""


class _Rows(_Part):
    """Rows that an optimizer with state by row updates."""

    def __init__(self, parameter: nn.Parameter, ids: Tensor, state: RowState) -> None:
        self._state = state
        self.rows, self.ids = distinct(ids, len(parameter))
        state.catch_up(self.rows.numpy())
        self.values = state.gather(self.rows).numpy()
        self.gradient = np.zeros_like(self.values)
        self.touched = _EMPTY
        self.is_trained = parameter.requires_grad

    def update(self, factor: float) -> None:
        if not self.is_trained:
            return
        if factor != 1.0:
            self.gradient *= self.gradient.dtype.type(factor)
        gradient = self.gradient.reshape(len(self.gradient), -1)
        self._state.update(self.rows.numpy(), gradient)
        self._state.sweep()


class _Whole(_Part):
    """A parameter that a dense optimizer updates, or that is not trained."""

    def __init__(
        self,
        parameter: nn.Parameter,
        ids: Tensor,
        group: dict[str, Any] | None,
        optimizer: torch.optim.Optimizer | None,
    ) -> None:
        self._parameter, self._group, self._optimizer = parameter, group, optimizer
        self.ids, self.rows = ids, None
        self.values = parameter.detach().numpy()
        self.gradient, self.touched = _workspace_of(parameter)
        self.is_trained = parameter.requires_grad and group is not None
        parameter.grad = None

    def update(self, factor: float) -> None:
        group, optimizer = self._group, self._optimizer
        if not self.is_trained or group is None or optimizer is None:
            self.gradient.fill(0)
        elif type(optimizer) is torch.optim.Adam:
            state = _adam_state(optimizer, self._parameter)
            state["step"] += 1
            kernels.adam_update(
                self.values.reshape(-1),
                state["exp_avg"].numpy().reshape(-1),
                state["exp_avg_sq"].numpy().reshape(-1),
                self.gradient.reshape(-1),
                factor,
                float(state["step"]),
                group["lr"],
                group["weight_decay"],
                *group["betas"],
                group["eps"],
            )
        else:
            self._parameter.grad = torch.from_numpy(self.gradient * factor)
            self.gradient.fill(0)


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
    if threshold is not None and raw is not None:
        gate, group = _gate(threshold, raw, table.rows)
        vectors = np.empty_like(table.values)
        non_zeros = kernels.threshold_rows(table.values, gate, group, vectors)
        threshold.used(torch.from_numpy(vectors), table.rows, non_zeros)
    apart = table.ids is not weights.ids
    of_rows = np.zeros(len(vectors), vectors.dtype) if apart else weights.gradient
    rows, ids = table.ids.numpy(), weights.ids.numpy()
    of_batch = (pairwise, vectors, weights.values, bias.values, rows, ids, labels.numpy())
    gradients = (table.gradient, of_rows, weights.gradient)
    loss, for_bias = kernels.batch_gradient(*of_batch, *gradients, table.touched)
    bias.gradient[0] = for_bias
    bias.squares = for_bias * for_bias
    weights.squares = kernels.squared_norm(weights.gradient)
    if not pairwise:
        return loss
    of_table = (vectors, table.gradient, of_rows, table.touched)
    if threshold is not None and raw is not None:
        raw_gradient = raw.gradient.reshape(gate.shape)
        table.squares = kernels.finish_thresholded(*of_table, gate, group, raw_gradient)
        raw.squares = kernels.squared_norm(raw.gradient.reshape(-1))
    else:
        mask = _EMPTY.reshape(0, 0) if source.mask is None else source.mask.numpy()
        own = _NO_ROWS if table.rows is None else table.rows.numpy()
        table.squares = kernels.finish_gradient(*of_table, mask, own)
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


def _adam_state(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> dict[str, Tensor]:
    """The state of ``parameter`` in torch's Adam, made as torch makes it before the first step."""
    state = optimizer.state[parameter]
    if not state:
        state["step"] = torch.zeros((), dtype=torch.float32)
        state["exp_avg"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
        state["exp_avg_sq"] = torch.zeros_like(parameter, memory_format=torch.preserve_format)
    return state


def _workspace_of(parameter: nn.Parameter) -> tuple[np.ndarray, np.ndarray]:
    """A gradient of zeros for a parameter, and a flag for each of its rows, kept between steps."""
    space = _WORKSPACES.get(parameter)
    values = parameter.detach().numpy()
    if space is None or space[0].shape != values.shape or space[0].dtype != values.dtype:
        gradient = np.zeros_like(values)
        space = gradient, np.zeros(len(values), np.bool_)
        _WORKSPACES[parameter] = space
    return space


_WORKSPACES: WeakIdKeyDictionary = WeakIdKeyDictionary()
_EMPTY = np.empty(0, np.bool_)
_NO_ROWS = np.empty(0, np.int64)
