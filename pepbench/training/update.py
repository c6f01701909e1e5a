"""One training step: loss, gradient, clipping, update."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional

from pepbench.errors import Diverged
from pepbench.method import Batch, Model


def batch_loss(model: Model, batch: Batch) -> Tensor:
    """Mean binary cross-entropy on logits, plus the embedding's penalty if it has one."""
    loss = functional.binary_cross_entropy_with_logits(model(batch.ids), batch.labels)
    penalty = model.embedding.penalty()
    return loss if penalty is None else loss + penalty


def update(model: Model, batch: Batch, optimiser: torch.optim.Optimizer, clip: float) -> Tensor:
    """Make one step and return the batch's loss before it.

    Raises
    ------
    Diverged
        If loss or gradient is not finite; the parameters are left as they were.
    """
    optimiser.zero_grad(set_to_none=True)
    loss = batch_loss(model, batch)
    loss.backward()  # type: ignore[no-untyped-call]
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    norm = clip_gradient(parameters, clip)
    value = loss.detach()
    if not (math.isfinite(norm) and math.isfinite(value.item())):
        raise Diverged(f"loss {value.item():g} or gradient norm {norm:g} is not finite")
    optimiser.step()
    return value


def clip_gradient(parameters: Iterable[nn.Parameter], clip: float) -> float:
    """Scale all gradients so that their joint Euclidean norm is at most ``clip``.

    Returns the norm before. Agrees with :func:`torch.nn.utils.clip_grad_norm_`, but touches the
    gradients only when they are too long.
    """
    gradients = [p.grad for p in parameters if p.grad is not None]
    if not gradients:
        return 0.0
    norm = float(torch.linalg.vector_norm(torch.stack(torch._foreach_norm(gradients))))
    if norm > clip:
        torch._foreach_mul_(gradients, clip / (norm + 1e-6))
    return norm


def adam(
    model: nn.Module,
    learning_rate: float,
    l2: float,
    rates: dict[nn.Parameter, float] | None = None,
) -> torch.optim.Adam:
    """Dense Adam (Kingma & Ba 2015) with L2 added to the gradient of every parameter.

    Parameters
    ----------
    model
        Whose trainable parameters are updated.
    learning_rate, l2
        Common to all parameters.
    rates
        Factors on the learning rate of single parameters.
    """
    factors = {parameter: 1.0 for parameter in model.parameters() if parameter.requires_grad}
    factors.update(rates or {})
    groups = [
        {"params": [p for p in factors if factors[p] == factor], "lr": learning_rate * factor}
        for factor in sorted(set(factors.values()))
    ]
    return torch.optim.Adam(groups, lr=learning_rate, weight_decay=l2, fused=True)
