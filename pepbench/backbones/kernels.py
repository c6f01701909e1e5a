"""Compiled loops of the deep backbones, where torch would make several passes over memory.

Each function agrees with a torch formulation up to rounding; those that draw random numbers, in
distribution. Tests compare the two.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pepbench.compiling import compiled
from pepbench.tables.kernels import Floats

BLOCK = 512
"""Random numbers of 64 bits that are drawn at once: they stay in the fastest cache."""

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_MIX_1 = np.uint64(0xBF58476D1CE4E5B9)
_MIX_2 = np.uint64(0x94D049BB133111EB)
_30, _27, _31 = np.uint64(30), np.uint64(27), np.uint64(31)

_exact = compiled(error_model="numpy")
"""Without fast maths: these loops must pass on a nan or an infinity, which ends a training."""


@_exact
def relu_dropout(
    inputs: Floats, seed: np.uint64, dropped: np.uint32, scale: float, outputs: Floats
) -> None:
    """Fill ``outputs`` (n,) with relu(``inputs``) · ``scale``, or 0 where a unit is dropped.

    A unit is dropped with probability ``dropped`` / 2³², by 32 random bits of its own. They are
    those of SplitMix64 (Steele, Lea, Flood, "Fast splittable pseudorandom number generators",
    OOPSLA 2014) from ``seed``: hashes of positions, of which the processor computes several at
    once.
    """
    n = inputs.shape[0]
    kind = inputs.dtype.type
    zero, factor = kind(0), kind(scale)
    drawn = np.empty(BLOCK, np.uint64)
    words = drawn.view(np.uint32)
    state = seed
    for start in range(0, n, 2 * BLOCK):
        for k in range(BLOCK):
            z = state + np.uint64(k + 1) * _GAMMA
            z = (z ^ (z >> _30)) * _MIX_1
            z = (z ^ (z >> _27)) * _MIX_2
            drawn[k] = z ^ (z >> _31)
        state += np.uint64(BLOCK) * _GAMMA
        block, result = inputs[start : start + 2 * BLOCK], outputs[start : start + 2 * BLOCK]
        for k in range(block.shape[0]):
            # A nan is not ≤ 0, and remains.
            passes = not (block[k] <= zero or words[k] < dropped)
            result[k] = block[k] * factor if passes else zero


@_exact
def relu_dropout_backward(
    outputs: Floats, gradient: Floats, scale: float, inputs_gradient: Floats
) -> None:
    """Gradient of :func:`relu_dropout` from its outputs, which are 0 where none passes; (n,)."""
    kind = outputs.dtype.type
    zero, factor = kind(0), kind(scale)
    for k in range(outputs.shape[0]):
        inputs_gradient[k] = gradient[k] * factor if outputs[k] != zero else zero


_reordered = compiled(error_model="numpy", fastmath={"reassoc", "contract", "arcp", "nsz"})
"""Sums may be reordered, so that they are vectorised; a nan or an infinity is passed on."""


@_reordered
def attend(
    projected: Floats, heads: int, size: int, residual: bool, attention: Floats, outputs: Floats
) -> None:
    """Self-attention of the fields of each row by several heads, and ReLU (AutoInt, eq. 5–8).

    ``projected`` (B, F, 3·W or 4·W) holds queries, keys, values and, with ``residual``, what is
    added, each of ``heads`` · ``size`` = W columns. Fills ``attention`` (B, heads, F, F), the
    softmax of the products of queries and keys, and ``outputs`` (B, F, W).
    """
    n_rows, n_fields, _ = projected.shape
    width = heads * size
    zero, one = projected.dtype.type(0), projected.dtype.type(1)
    for b in range(n_rows):
        for h in range(heads):
            first = h * size
            queries = projected[b, :, first : first + size]
            keys = projected[b, :, width + first : width + first + size]
            values = projected[b, :, 2 * width + first : 2 * width + first + size]
            for m in range(n_fields):
                shares = attention[b, h, m]
                query = queries[m]
                for k in range(n_fields):
                    product = zero
                    for d in range(size):
                        product += query[d] * keys[k, d]
                    shares[k] = product
                largest = shares.max()
                for k in range(n_fields):
                    shares[k] = np.exp(shares[k] - largest)
                total = shares.sum()
                for k in range(n_fields):
                    shares[k] *= one / total
                result = outputs[b, m, first : first + size]
                for d in range(size):
                    result[d] = projected[b, m, 3 * width + first + d] if residual else zero
                for k in range(n_fields):
                    share = shares[k]
                    for d in range(size):
                        result[d] += share * values[k, d]
                for d in range(size):
                    result[d] = zero if result[d] <= zero else result[d]


@_reordered
def attend_backward(
    projected: Floats,
    heads: int,
    size: int,
    residual: bool,
    attention: Floats,
    outputs: Floats,
    gradient: Floats,
    projected_gradient: Floats,
) -> None:
    """Gradient of :func:`attend`: fills ``projected_gradient``, of the shape of ``projected``.

    ``gradient`` (B, F, W) is that of the outputs.
    """
    n_rows, n_fields, _ = projected.shape
    width = heads * size
    zero = projected.dtype.type(0)
    passed = np.empty((n_fields, size), projected.dtype)
    for_products = np.empty(n_fields, projected.dtype)
    for b in range(n_rows):
        for h in range(heads):
            first = h * size
            second, third, last = width + first, 2 * width + first, 3 * width + first
            queries = projected[b, :, first : first + size]
            keys = projected[b, :, second : second + size]
            values = projected[b, :, third : third + size]
            for_queries = projected_gradient[b, :, first : first + size]
            for_keys = projected_gradient[b, :, second : second + size]
            for_values = projected_gradient[b, :, third : third + size]
            for m in range(n_fields):
                for d in range(size):
                    on = outputs[b, m, first + d] != zero
                    passed[m, d] = gradient[b, m, first + d] if on else zero
                    for_queries[m, d] = zero
                    for_keys[m, d] = zero
                    for_values[m, d] = zero
                if residual:
                    projected_gradient[b, m, last : last + size] = passed[m]
            for m in range(n_fields):
                shares = attention[b, h, m]
                mean = zero
                for k in range(n_fields):
                    product = zero
                    for d in range(size):
                        product += passed[m, d] * values[k, d]
                    for_products[k] = product
                    mean += shares[k] * product
                for k in range(n_fields):
                    share = shares[k]
                    g = share * (for_products[k] - mean)
                    for d in range(size):
                        for_values[k, d] += share * passed[m, d]
                        for_keys[k, d] += g * queries[m, d]
                        for_queries[m, d] += g * keys[k, d]
