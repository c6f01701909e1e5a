"""Compiled loops for the CPU, where tensor operations would make several passes over memory.

Each function has a torch formulation elsewhere that it agrees with up to rounding; tests hold the
pairs together. Compiled code is cached beside this file, or in the user's cache folder.
"""

from __future__ import annotations

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Ids = NDArray[np.integer]


@numba.njit(cache=True, nogil=True, fastmath=True)
def fm_forward(table: Floats, weights: Floats, ids: Ids, sums: Floats, logits: Floats) -> None:
    """First-order and pairwise terms of a factorisation machine, straight from its table.

    Fills ``sums`` (B, D) with Σ_f v_f and ``logits`` (B,) with Σ_f w_f + ½(‖Σ_f v_f‖² − Σ_f‖v_f‖²).
    ``table`` is (N, D), ``weights`` (N,), ``ids`` (B, F). Vectors are never copied out.
    """
    n_rows, n_fields = ids.shape
    dim = table.shape[1]
    zero = table.dtype.type(0)
    half = table.dtype.type(0.5)
    for b in range(n_rows):
        for d in range(dim):
            sums[b, d] = zero
        first_order = zero
        squares = zero
        for f in range(n_fields):
            i = ids[b, f]
            first_order += weights[i]
            for d in range(dim):
                value = table[i, d]
                sums[b, d] += value
                squares += value * value
        square_of_sum = zero
        for d in range(dim):
            square_of_sum += sums[b, d] * sums[b, d]
        logits[b] = first_order + half * (square_of_sum - squares)


@numba.njit(cache=True, nogil=True, fastmath=True)
def fm_backward(
    table: Floats,
    ids: Ids,
    sums: Floats,
    gradient: Floats,
    table_gradient: Floats,
    weights_gradient: Floats,
) -> None:
    """Gradients of :func:`fm_forward`, added to ``table_gradient`` and ``weights_gradient``.

    A lookup of feature i in row b contributes g_b (Σ_f v_f − v_i). The second part is the same for
    all lookups of i but for g_b, so it is v_i times the gradient of w_i and is subtracted once.
    """
    n_rows, n_fields = ids.shape
    n_features, dim = table.shape
    for b in range(n_rows):
        g = gradient[b]
        for f in range(n_fields):
            i = ids[b, f]
            weights_gradient[i] += g
            for d in range(dim):
                table_gradient[i, d] += g * sums[b, d]
    for i in range(n_features):
        g = weights_gradient[i]
        if g != 0:
            for d in range(dim):
                table_gradient[i, d] -= table[i, d] * g
