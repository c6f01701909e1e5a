"""Self-attention among the fields of a row, compiled for rows of few fields.

Matrices of few fields are too small for the kernels of a linear-algebra library: most of their time
is overhead and copies. Here all arrays have the batch as their last axis, and every operation is
one on many rows at once, which the compiler vectorises.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from pepbench.compiling import compiled
from pepbench.tables.kernels import Floats

MOST_FIELDS = 16
"""Fields up to which the compiled loops are faster than torch's: measured with two heads of 32,
they take half the time at 8 fields and two and a half times as long at 39."""

TILE = 128
"""Rows of a batch that are worked on at once: the parts of a head stay in the cache."""

_reordered = compiled(error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
"""Sums may be reordered; a nan or an infinity passes, as it must."""


def is_compiled_for(vectors: Tensor) -> bool:
    """Whether :func:`attend` serves vectors (B, F, D), and is faster than torch."""
    return (
        vectors.device.type == "cpu"
        and vectors.dtype in (torch.float32, torch.float64)
        and vectors.shape[1] <= MOST_FIELDS
        and not torch.is_autocast_enabled("cpu")
    )


def attend(projected: Tensor, heads: int, size: int, residual: bool) -> Tensor:
    """Each head's attention, the residual, and ReLU: (P, F, B) → (heads · size, F, B).

    ``projected`` holds queries, keys, values and, with ``residual``, what is added to the outputs,
    each of heads · size rows, of one head after another.
    """
    result: Tensor = _Attend.apply(projected, heads, size, residual)  # type: ignore[no-untyped-call]
    return result


class _Attend(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, projected: Tensor, heads: int, size: int, residual: bool) -> Tensor:
        _, n_fields, n_rows = projected.shape
        attention = projected.new_empty(heads, n_fields, n_fields, n_rows)
        outputs = projected.new_empty(heads * size, n_fields, n_rows)
        tensors = (projected.detach(), attention, outputs)
        _forward(*(tensor.numpy() for tensor in tensors), size, residual)
        ctx.save_for_backward(projected, attention, outputs)
        ctx.options = size, residual
        return outputs

    @staticmethod
    @once_differentiable  # type: ignore[untyped-decorator]
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None, None]:
        projected, attention, outputs = ctx.saved_tensors
        result = torch.empty_like(projected)
        tensors = (projected.detach(), attention, outputs, gradient.contiguous(), result)
        _backward(*(tensor.numpy() for tensor in tensors), *ctx.options)
        return result, None, None, None


@_reordered
def _tile(rows: int, n_fields: int, like: Floats) -> Floats:
    """Zeros (rows, F, TILE), with more rows up to a multiple of 4, and fields of 2.

    Loops take so many at once, which saves loads and stores of their sums.
    """
    return np.zeros((-(-rows // 4) * 4, -(-n_fields // 2) * 2, TILE), like.dtype)


@_reordered
def _add_products(
    left: Floats, m: int, right: Floats, n_fields: int, n: int, products: Floats
) -> None:
    """Add ⟨left of field m, right of field k⟩ to ``products`` (F, T) for each field k."""
    for d in range(0, left.shape[0], 4):
        for k in range(n_fields):
            for t in range(n):
                products[k, t] += (
                    left[d, m, t] * right[d, k, t]
                    + left[d + 1, m, t] * right[d + 1, k, t]
                    + left[d + 2, m, t] * right[d + 2, k, t]
                    + left[d + 3, m, t] * right[d + 3, k, t]
                )


@_reordered
def _take(array: Floats, first: int, rows: int, start: int, taken: Floats) -> None:
    """Copy a tile out: ``taken`` (n, F, T) from ``array`` (N, F, B) at row ``first``."""
    for d in range(rows):
        for f in range(array.shape[1]):
            row = array[first + d, f, start : start + taken.shape[2]]
            for t in range(row.shape[0]):
                taken[d, f, t] = row[t]


@_reordered
def _put(tile: Floats, array: Floats, first: int, rows: int, start: int) -> None:
    """Copy a tile back: the inverse of :func:`_take`."""
    for d in range(rows):
        for f in range(array.shape[1]):
            row = array[first + d, f, start : start + tile.shape[2]]
            for t in range(row.shape[0]):
                row[t] = tile[d, f, t]


@_reordered
def _forward(
    projected: Floats, attention: Floats, outputs: Floats, size: int, residual: bool
) -> None:
    """Fill ``attention`` (H, F, F, B), the softmax of products, and ``outputs`` (H · size, F, B).

    ``projected`` is (4 · H · size, F, B), or 3 · H · size without the residual.
    """
    heads, n_fields, _, n_rows = attention.shape
    width = heads * size
    zero, one = projected.dtype.type(0), projected.dtype.type(1)
    queries = _tile(size, n_fields, projected)
    keys, values, result = queries.copy(), queries.copy(), queries.copy()
    shares = _tile(1, n_fields, projected)
    largest, total = np.empty(TILE, projected.dtype), np.empty(TILE, projected.dtype)
    for start in range(0, n_rows, TILE):
        n = min(TILE, n_rows - start)
        for h in range(heads):
            _take(projected, h * size, size, start, queries)
            _take(projected, width + h * size, size, start, keys)
            _take(projected, 2 * width + h * size, size, start, values)
            if residual:
                _take(projected, 3 * width + h * size, size, start, result)
            else:
                result[:] = zero
            for m in range(n_fields):
                shares[:] = zero
                _add_products(queries, m, keys, n_fields, n, shares[0])
                largest[:] = shares[0, 0]
                for k in range(1, n_fields):
                    for t in range(n):
                        largest[t] = max(largest[t], shares[0, k, t])
                total[:] = zero
                for k in range(n_fields):
                    for t in range(n):
                        shares[0, k, t] = np.exp(shares[0, k, t] - largest[t])
                    for t in range(n):
                        total[t] += shares[0, k, t]
                for k in range(n_fields):
                    for t in range(n):
                        shares[0, k, t] *= one / total[t]
                _put(shares, attention[h], m, 1, start)
                for d in range(size):
                    for k in range(0, n_fields, 2):
                        for t in range(n):
                            result[d, m, t] += (
                                shares[0, k, t] * values[d, k, t]
                                + shares[0, k + 1, t] * values[d, k + 1, t]
                            )
            for d in range(size):
                for m in range(n_fields):
                    for t in range(n):
                        # A nan is not ≤ 0, and remains.
                        result[d, m, t] = zero if result[d, m, t] <= zero else result[d, m, t]
            _put(result, outputs, h * size, size, start)


@_reordered
def _backward(
    projected: Floats,
    attention: Floats,
    outputs: Floats,
    gradient: Floats,
    projected_gradient: Floats,
    size: int,
    residual: bool,
) -> None:
    """Fill ``projected_gradient`` from ``gradient``, that of :func:`_forward`'s ``outputs``."""
    heads, n_fields, _, n_rows = attention.shape
    width = heads * size
    zero = projected.dtype.type(0)
    queries = _tile(size, n_fields, projected)
    keys, values, passed, relu = queries.copy(), queries.copy(), queries.copy(), queries.copy()
    for_queries, for_keys, for_values = queries.copy(), queries.copy(), queries.copy()
    shares = _tile(1, n_fields, projected)
    products, mean = np.zeros((n_fields, TILE), projected.dtype), np.zeros(TILE, projected.dtype)
    for start in range(0, n_rows, TILE):
        n = min(TILE, n_rows - start)
        for h in range(heads):
            _take(projected, h * size, size, start, queries)
            _take(projected, width + h * size, size, start, keys)
            _take(projected, 2 * width + h * size, size, start, values)
            _take(outputs, h * size, size, start, relu)
            _take(gradient, h * size, size, start, passed)
            for d in range(size):
                for m in range(n_fields):
                    for t in range(n):
                        passed[d, m, t] = passed[d, m, t] if relu[d, m, t] != zero else zero
            if residual:
                _put(passed, projected_gradient, 3 * width + h * size, size, start)
            for_queries[:] = zero
            for_keys[:] = zero
            for_values[:] = zero
            for m in range(n_fields):
                _take(attention[h], m, 1, start, shares)
                products[:] = zero
                _add_products(passed, m, values, n_fields, n, products)
                mean[:] = zero
                for k in range(n_fields):
                    for t in range(n):
                        mean[t] += shares[0, k, t] * products[k, t]
                for k in range(n_fields):
                    for t in range(n):
                        products[k, t] = shares[0, k, t] * (products[k, t] - mean[t])
                for d in range(size):
                    for k in range(n_fields):
                        for t in range(n):
                            for_values[d, k, t] += shares[0, k, t] * passed[d, m, t]
                            for_keys[d, k, t] += products[k, t] * queries[d, m, t]
                            for_queries[d, m, t] += products[k, t] * keys[d, k, t]
            _put(for_queries, projected_gradient, h * size, size, start)
            _put(for_keys, projected_gradient, width + h * size, size, start)
            _put(for_values, projected_gradient, 2 * width + h * size, size, start)
