"""Self-attention among the fields of a row, compiled for rows of few fields.

Matrices of few fields are too small for a library of linear algebra: most of its time goes into
overhead and copies. Here the rows of a batch lie in tiles, whose last axis is the row. So every
operation is one on many rows, which the compiler vectorises, and a tile stays in the cache from one
operation to the next.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn import functional

from pepbench.tables.kernels import Floats, careful

MOST_FIELDS = 16
"""Fields up to which the compiled loops are faster than torch's."""

TILE = 128
"""Rows of a batch in a tile."""


def is_compiled_for(vectors: Tensor) -> bool:
    """Whether :func:`attend` takes vectors (B, F, D), and is faster than torch."""
    return (
        vectors.device.type == "cpu"
        and vectors.dtype in (torch.float32, torch.float64)
        and vectors.shape[1] <= MOST_FIELDS
        and not torch.is_autocast_enabled("cpu")
        # Torch's compiler and its export trace vectors without values.
        and not torch.compiler.is_compiling()
    )


def tiles_of(vectors: Tensor) -> Tensor:
    """Tiles (n, D, F, T) of vectors (B, F, D), the last filled up with rows of zeros."""
    n_rows, n_fields, dim = vectors.shape
    size = max(1, min(TILE, n_rows))
    padded = functional.pad(vectors, (0, 0, 0, 0, 0, -n_rows % size))
    return padded.view(-1, size, n_fields, dim).permute(0, 3, 2, 1).contiguous()


def attend(tiles: Tensor, weight: Tensor, size: int, residual: bool) -> Tensor:
    """An interacting layer of AutoInt (eq. 5–8): tiles (n, C, F, T) → (n, H · size, F, T).

    ``weight`` (P, C) projects a vector to queries, keys, values and, with ``residual``, what is
    added to the outputs: each H · size rows, the H heads one after another.
    """
    result: Tensor = _Attend.apply(tiles, weight, size, residual)  # type: ignore[no-untyped-call]
    return result


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, tiles: Tensor, weight: Tensor, size: int, residual: bool) -> Tensor:
        n_tiles, _, n_fields, n_rows = tiles.shape
        width = len(weight) // (4 if residual else 3)
        projected = tiles.new_empty(n_tiles, len(weight), n_fields, n_rows)
        shares = tiles.new_empty(n_tiles, width // size, n_fields, n_fields, n_rows)
        outputs = tiles.new_empty(n_tiles, width, n_fields, n_rows)
        for inputs, columns, shared, result in zip(tiles, projected, shares, outputs, strict=True):
            torch.mm(weight, inputs.flatten(1), out=columns.flatten(1))
            _forward(columns.numpy(), shared.numpy(), result.numpy(), size, residual)
        ctx.save_for_backward(tiles, weight, projected, shares, outputs)
        ctx.options = size, residual
        return outputs

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None, None]:
        tiles, weight, *saved = ctx.saved_tensors
        for_tiles, for_weight = torch.empty_like(tiles), torch.zeros_like(weight)
        for_projected = torch.empty_like(saved[0][0])
        columns = for_projected.flatten(1)
        every = zip(tiles, for_tiles, *saved, gradient.contiguous(), strict=True)
        for inputs, for_inputs, *tile in every:
            arrays = [part.numpy() for part in (*tile, for_projected)]
            _backward(*arrays, *ctx.options)
            torch.mm(weight.T, columns, out=for_inputs.flatten(1))
            for_weight.addmm_(columns, inputs.flatten(1).T)
        return for_tiles, for_weight, None, None


@careful
def _forward(projected: Floats, shares: Floats, outputs: Floats, size: int, residual: bool) -> None:
    """Fill ``shares`` (H, F, F, T), the softmax of products, and ``outputs`` (H · size, F, T).

    ``projected`` is (4 · H · size, F, T), or (3 · H · size, F, T) without the residual.
    """
    heads, n_fields, _, n_rows = shares.shape
    width = heads * size
    zero, one = projected.dtype.type(0), projected.dtype.type(1)
    largest, total = np.empty(n_rows, projected.dtype), np.empty(n_rows, projected.dtype)
    for h in range(heads):
        of_head = shares[h]
        of_head[:] = zero
        for d in range(h * size, (h + 1) * size):
            for m in range(n_fields):
                for k in range(n_fields):
                    for t in range(n_rows):
                        of_head[m, k, t] += projected[d, m, t] * projected[width + d, k, t]
        for m in range(n_fields):
            largest[:] = of_head[m, 0]
            for k in range(1, n_fields):
                for t in range(n_rows):
                    largest[t] = max(largest[t], of_head[m, k, t])
            total[:] = zero
            for k in range(n_fields):
                for t in range(n_rows):
                    of_head[m, k, t] = np.exp(of_head[m, k, t] - largest[t])
                for t in range(n_rows):
                    total[t] += of_head[m, k, t]
            for k in range(n_fields):
                for t in range(n_rows):
                    of_head[m, k, t] *= one / total[t]
        for d in range(h * size, (h + 1) * size):
            for m in range(n_fields):
                for t in range(n_rows):
                    outputs[d, m, t] = projected[3 * width + d, m, t] if residual else zero
                for k in range(n_fields):
                    for t in range(n_rows):
                        outputs[d, m, t] += of_head[m, k, t] * projected[2 * width + d, k, t]
                for t in range(n_rows):
                    # A nan is not ≤ 0, and remains.
                    outputs[d, m, t] = zero if outputs[d, m, t] <= zero else outputs[d, m, t]


@careful
def _backward(
    projected: Floats,
    shares: Floats,
    outputs: Floats,
    gradient: Floats,
    for_projected: Floats,
    size: int,
    residual: bool,
) -> None:
    """Fill ``for_projected`` from ``gradient``, that of :func:`_forward`'s ``outputs``."""
    heads, n_fields, _, n_rows = shares.shape
    width = heads * size
    zero = projected.dtype.type(0)
    passed = np.empty((n_fields, n_rows), projected.dtype)
    products = np.empty((n_fields, n_fields, n_rows), projected.dtype)
    mean = np.empty(n_rows, projected.dtype)
    for_projected[:] = zero
    for h in range(heads):
        of_head = shares[h]
        products[:] = zero
        for d in range(h * size, (h + 1) * size):
            for m in range(n_fields):
                for t in range(n_rows):
                    passed[m, t] = gradient[d, m, t] if outputs[d, m, t] != zero else zero
                if residual:
                    for_projected[3 * width + d, m] = passed[m]
            for m in range(n_fields):
                for k in range(n_fields):
                    for t in range(n_rows):
                        products[m, k, t] += passed[m, t] * projected[2 * width + d, k, t]
                        for_projected[2 * width + d, k, t] += of_head[m, k, t] * passed[m, t]
        for m in range(n_fields):
            mean[:] = zero
            for k in range(n_fields):
                for t in range(n_rows):
                    mean[t] += of_head[m, k, t] * products[m, k, t]
            for k in range(n_fields):
                for t in range(n_rows):
                    products[m, k, t] = of_head[m, k, t] * (products[m, k, t] - mean[t])
        for d in range(h * size, (h + 1) * size):
            for m in range(n_fields):
                for k in range(n_fields):
                    for t in range(n_rows):
                        product = products[m, k, t]
                        for_projected[d, m, t] += product * projected[width + d, k, t]
                        for_projected[width + d, k, t] += product * projected[d, m, t]
