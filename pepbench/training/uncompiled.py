"""Torch's optimizers without the import of its compiler, which takes seconds of CPU time.

Torch wraps methods of its optimizers to shield them from its compiler, and the wrappers import it
when they are first called. Nothing is compiled here, so the wrapped methods take their place.
"""

from __future__ import annotations

import inspect

import torch


class Uncompiled(torch.optim.Optimizer):
    """An optimizer whose gradients are cleared without the import."""

    add_param_group = inspect.unwrap(torch.optim.Optimizer.add_param_group)
    zero_grad = inspect.unwrap(torch.optim.Optimizer.zero_grad)


class Adam(Uncompiled, torch.optim.Adam):
    """``torch.optim.Adam``."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.Adam.step))


class Adagrad(Uncompiled, torch.optim.Adagrad):
    """``torch.optim.Adagrad``."""

    step = torch.no_grad()(inspect.unwrap(torch.optim.Adagrad.step))
