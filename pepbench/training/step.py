"""A training step: loss, gradient, clipping, update."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from pepbench.method import Batch, Ids, Model
from pepbench.records import Precision
from pepbench.training.divergence import check_finite
from pepbench.training.fm_step import compiled_step
from pepbench.training.optimizers import gradients_of


def batch_logits(model: Model, ids: Ids, precision: Precision) -> Tensor:
    """Logits (B,) in the type of the parameters, with products computed in ``precision``."""
    if precision == "float32":
        logits: Tensor = model(ids)
        return logits
    with torch.autocast(ids.device.type, dtype=torch.bfloat16):
        return model(ids).to(torch.get_default_dtype())  # type: ignore[no-any-return]


def batch_loss(model: Model, batch: Batch, precision: Precision = "float32") -> Tensor:
    """Mean binary cross-entropy on logits, plus the embedding's penalty if it has one."""
    logits = batch_logits(model, batch.ids, precision)
    loss = functional.binary_cross_entropy_with_logits(logits, batch.labels)
    penalty = model.embedding.penalty()
    return loss if penalty is None else loss + penalty


def train_step(
    model: Model,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    clip: float,
    precision: Precision = "float32",
) -> Tensor:
    """Update the model on a batch, compiled where possible; the loss before the update.

    Raises
    ------
    Diverged
        If loss or gradient is not finite; the parameters are left as they were.
    """
    loss = compiled_step(model, batch, optimizer, clip) if precision == "float32" else None
    return torch_step(model, batch, optimizer, clip, precision) if loss is None else loss


def torch_step(
    model: Model,
    batch: Batch,
    optimizer: torch.optim.Optimizer,
    clip: float,
    precision: Precision = "float32",
) -> Tensor:
    """Compute :func:`train_step` by torch, for any model, optimizer and device.

    Raises
    ------
    Diverged
        If loss or gradient is not finite; the parameters are left as they were.
    """
    optimizer.zero_grad(set_to_none=True)
    loss = batch_loss(model, batch, precision)
    loss.backward()  # type: ignore[no-untyped-call]
    norm = clip_gradient(gradients_of(optimizer), clip)
    value = loss.detach()
    check_finite(value.item(), norm)
    optimizer.step()
    return value


def clip_gradient(gradients: list[Tensor], clip: float) -> float:
    """Scale gradients in place so that their joint Euclidean norm is at most ``clip``.

    Returns the norm before. Agrees with :func:`torch.nn.utils.clip_grad_norm_`, but touches the
    gradients only when they are too long.
    """
    if not gradients:
        return 0.0
    norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))))
    if norm > clip:
        torch._foreach_mul_(gradients, clip / (norm + 1e-6))
    return norm
