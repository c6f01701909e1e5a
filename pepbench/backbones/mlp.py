"""Fully connected layers, shared by several backbones."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from torch import nn

from pepbench.backbones.dropout import ReLUDropout


def linear(n_inputs: int, n_outputs: int, *, bias: bool = True) -> nn.Linear:
    """An affine map with Xavier-uniform weights (Glorot & Bengio 2010) and a bias of zero.

    PyTorch's default draws the bias from as wide a range as the weights, where it would dominate
    the small initial vectors of a large table.
    """
    layer = nn.Linear(n_inputs, n_outputs, bias=bias)
    nn.init.xavier_uniform_(layer.weight)
    if bias:
        nn.init.zeros_(layer.bias)
    return layer


def halving(units: int, layers: int) -> list[int]:
    """Widths of ``layers`` layers, each half of the one below, and at least 1.

    >>> halving(1024, 3)
    [1024, 512, 256]
    """
    return [max(1, units >> layer) for layer in range(layers)]


def mlp(n_inputs: int, widths: Sequence[int], dropout: float = 0.0) -> nn.Sequential:
    """Layers of ``widths``, each with ReLU and dropout: (B, n_inputs) → (B, widths[-1])."""
    return nn.Sequential(*_layers(n_inputs, widths, dropout))


def tower(n_inputs: int, widths: Sequence[int], dropout: float = 0.0) -> nn.Sequential:
    """An :func:`mlp` and a weighted sum of its outputs: (B, n_inputs) → (B,).

    The sum has no bias: :class:`~pepbench.backbones.backbone.FirstOrder` has one.
    """
    return nn.Sequential(*_layers(n_inputs, widths, dropout), *weighted_sum(widths[-1]))


def weighted_sum(n_inputs: int) -> nn.Sequential:
    """One weight per input: (B, n_inputs) → (B,)."""
    return nn.Sequential(linear(n_inputs, 1, bias=False), nn.Flatten(0))


def _layers(n_inputs: int, widths: Sequence[int], dropout: float) -> Iterator[nn.Module]:
    for below, above in pairwise([n_inputs, *widths]):
        yield linear(below, above)
        yield ReLUDropout(dropout) if dropout > 0 else nn.ReLU()
