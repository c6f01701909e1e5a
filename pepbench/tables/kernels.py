"""Compiled loops over tables and batches, where torch would make several passes over memory.

Each function has a torch formulation elsewhere that it agrees with up to rounding, and a test that
compares the two. Those of optimizers are in :mod:`pepbench.training.optimizer_kernels`. Compiled
code is cached on disk (:mod:`pepbench.compiling`).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pepbench import compiling
from pepbench.tables.prefetch import PREFETCH_ROWS, prefetch_row

Floats = NDArray[np.floating]
"""Floating-point numbers of any precision."""
Ids = NDArray[np.integer]
Flags = NDArray[np.bool_]

compiled = compiling.compiled(fastmath=True, error_model="numpy")
"""Decorator of a kernel. Divisions follow IEEE 754: Python's error model would branch at each of
them, which keeps loops from being vectorised."""

careful = compiling.compiled(
    fastmath={"reassoc", "contract", "arcp", "nsz", "afn"}, error_model="numpy"
)
"""Decorator of a kernel through which infinities and what is not a number must pass."""


@compiled
def fm_forward(table: Floats, weights: Floats, ids: Ids, sums: Floats, logits: Floats) -> None:
    """First-order and pairwise terms of a factorisation machine, straight from its table.

    Fills ``sums`` (B, D) with Σ_f v_f and ``logits`` (B,) with Σ_f w_f + ½(‖Σ_f v_f‖² − Σ_f‖v_f‖²).
    ``table`` is (N, D), ``weights`` (N,), ``ids`` (B, F). Vectors are never copied out.
    """
    n_rows, n_fields = ids.shape
    dim = table.shape[1]
    zero = table.dtype.type(0)
    half = table.dtype.type(0.5)
    fours = n_fields // 4 * 4
    for b in range(n_rows):
        total = sums[b]
        for d in range(dim):
            total[d] = zero
        first_order = zero
        squares = zero
        # Four fields at once: a quarter of the passes over the sums, which halves the time.
        for f in range(0, fours, 4):
            i, j, k, m = ids[b, f], ids[b, f + 1], ids[b, f + 2], ids[b, f + 3]
            first_order += weights[i] + weights[j] + weights[k] + weights[m]
            v, w, x, y = table[i], table[j], table[k], table[m]
            for d in range(dim):
                total[d] += (v[d] + w[d]) + (x[d] + y[d])
                squares += (v[d] * v[d] + w[d] * w[d]) + (x[d] * x[d] + y[d] * y[d])
        for f in range(fours, n_fields):
            i = ids[b, f]
            first_order += weights[i]
            v = table[i]
            for d in range(dim):
                total[d] += v[d]
                squares += v[d] * v[d]
        square_of_sum = zero
        for d in range(dim):
            square_of_sum += total[d] * total[d]
        logits[b] = first_order + half * (square_of_sum - squares)


@compiled
def fm_scatter(
    ids: Ids, sums: Floats, gradient: Floats, table_gradient: Floats, weights_gradient: Floats
) -> None:
    """The part of :func:`fm_backward` that goes by lookups: add g_b Σ_f v_f and g_b."""
    n_rows, n_fields = ids.shape
    for b in range(n_rows):
        g = gradient[b]
        total = sums[b]
        for f in range(n_fields):
            i = ids[b, f]
            weights_gradient[i] += g
            to = table_gradient[i]
            for d in range(total.shape[0]):
                to[d] += g * total[d]


@compiled
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
    n_features, dim = table.shape
    fm_scatter(ids, sums, gradient, table_gradient, weights_gradient)
    for i in range(n_features):
        g = weights_gradient[i]
        if g != 0:
            for d in range(dim):
                table_gradient[i, d] -= table[i, d] * g


@compiled
def mask_rows(gradient: Floats, mask: Flags, rows: Ids) -> None:
    """Zero ``gradient`` (M, w) where ``mask`` (N, w) at ``rows`` (M,) is False."""
    zero = gradient.dtype.type(0)
    for k in range(rows.shape[0]):
        if k + PREFETCH_ROWS < rows.shape[0]:
            prefetch_row(mask, rows[k + PREFETCH_ROWS])
        row_mask = mask[rows[k]]
        for d in range(gradient.shape[1]):
            gradient[k, d] = gradient[k, d] if row_mask[d] else zero


@compiled
def mask_all(gradient: Floats, mask: Flags) -> None:
    """Zero ``gradient`` (n,) where ``mask`` (n,) is False."""
    zero = gradient.dtype.type(0)
    for k in range(gradient.shape[0]):
        gradient[k] = gradient[k] if mask[k] else zero


@compiled
def are_rows(ids: Ids, n_rows: int) -> bool:
    """Whether all ``ids`` (n,) are from 0 to ``n_rows`` − 1."""
    signs = np.int64(0)
    for k in range(ids.shape[0]):
        # Of these, one is negative where an id is not a row.
        signs |= ids[k] | (n_rows - 1 - ids[k])
    return bool(signs >= 0)


@compiled
def unique_rows(ids: Ids, slots: Ids, unique: Ids, local: Ids) -> int:
    """Number the distinct ``ids`` (n,) in order of first appearance.

    Fills ``unique`` with the distinct ids and ``local`` (n,) with each id's number, so that
    ``unique[local] == ids``; returns how many there are. ``slots`` (N,) is workspace, −1 before
    and after.
    """
    count = 0
    for k in range(ids.shape[0]):
        if k + PREFETCH_ROWS < ids.shape[0]:
            prefetch_row(slots, ids[k + PREFETCH_ROWS])
        i = ids[k]
        slot = slots[i]
        if slot < 0:
            slot = count
            slots[i] = slot
            unique[count] = i
            count += 1
        local[k] = slot
    for k in range(count):
        slots[unique[k]] = -1
    return count


@compiled
def gather_rows(values: Floats, rows: Ids, gathered: Floats) -> None:
    """Fill ``gathered`` (M, w) with ``values`` (N, w) at ``rows`` (M,)."""
    for k in range(rows.shape[0]):
        if k + PREFETCH_ROWS < rows.shape[0]:
            prefetch_row(values, rows[k + PREFETCH_ROWS])
        row = rows[k]
        for d in range(values.shape[1]):
            gathered[k, d] = values[row, d]


@compiled
def add_rows(values: Floats, rows: Ids, sums: Floats) -> None:
    """Add each of ``values`` (M, w) to the row of ``sums`` (N, w) that ``rows`` (M,) names."""
    for k in range(rows.shape[0]):
        if k + PREFETCH_ROWS < rows.shape[0]:
            prefetch_row(sums, rows[k + PREFETCH_ROWS])
        row = rows[k]
        for d in range(values.shape[1]):
            sums[row, d] += values[k, d]


@compiled
def count_values(ids: Ids, order: Ids, ends: Ids, lengths: Ids) -> None:
    """Count the values (B, F) of the bags of some rows, whose slots end with −1 or at ``ends``."""
    for k in range(len(order)):
        slot = 0
        for field in range(len(ends)):
            count = 0
            while slot + count < ends[field] and ids[order[k], slot + count] >= 0:
                count += 1
            lengths[k, field] = count
            slot = ends[field]


@compiled
def take_values(ids: Ids, order: Ids, ends: Ids, lengths: Ids, values: Ids) -> None:
    """Copy the values of those bags, one after another, into ``values`` (V, 1)."""
    done = 0
    for k in range(len(order)):
        slot = 0
        for field in range(len(ends)):
            for offset in range(lengths[k, field]):
                values[done, 0] = ids[order[k], slot + offset]
                done += 1
            slot = ends[field]
