"""Compiled loops for the CPU, where tensor operations would make several passes over memory.

Each function has a torch formulation elsewhere that it agrees with up to rounding; tests hold the
pairs together. Compiled code is cached beside this file, or in the user's cache folder.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

from pepbench.tables.prefetch import prefetch

Floats = NDArray[np.floating]
Ids = NDArray[np.integer]
Flags = NDArray[np.bool_]

compiled = numba.njit(cache=True, nogil=True, fastmath=True, error_model="numpy")
"""Divisions follow IEEE: with Python's error model each would be a branch, and no loop a vector."""

EXACT_STEPS = 128
"""First steps of a training that :func:`adam_catch_up` makes good one by one, which is exact: until
then the bias corrections change, and L2 alone takes initial values to zero."""

RESTING_SHARE = 0.01
"""A value counts as moved by L2 alone if its second moment is below this share of what L2 would
keep up: found by comparing PEP's count of non-zeros with dense Adam's on real data."""

AHEAD = 8
"""Rows of which a loop asks the memory before it needs them."""

_LINE = 64
"""Bytes of a cache line."""


@compiled
def _prefetch_row(table: NDArray[Any], row: int) -> None:
    stride = table.strides[0]
    start = table.ctypes.data + stride * row
    for offset in range(0, stride, _LINE):
        prefetch(np.uintp(start + offset))  # type: ignore[call-arg]


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
    for b in range(n_rows):
        if b + 1 < n_rows:
            for f in range(n_fields):
                _prefetch_row(table, ids[b + 1, f])
                _prefetch_row(weights, ids[b + 1, f])
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


@compiled
def soft_threshold(values: Floats, threshold: Floats, kept: Floats) -> None:
    """Fill ``kept`` with sign(v) · relu(|v| − t), all of shape (n,)."""
    for k in range(values.shape[0]):
        value = values[k]
        t = threshold[k]
        kept[k] = value - max(min(value, t), -t)


@compiled
def soft_threshold_backward(
    gradient: Floats, kept: Floats, for_values: Floats, for_threshold: Floats
) -> None:
    """Gradients of :func:`soft_threshold` for values and thresholds, all of shape (n,)."""
    zero = gradient.dtype.type(0)
    for k in range(gradient.shape[0]):
        g = gradient[k] if kept[k] != zero else zero
        for_values[k] = g
        for_threshold[k] = -g if kept[k] > zero else g


@compiled
def mask_rows(gradient: Floats, mask: Flags, rows: Ids) -> None:
    """Zero ``gradient`` (M, w) where ``mask`` (N, w) at ``rows`` (M,) is False."""
    zero = gradient.dtype.type(0)
    for k in range(rows.shape[0]):
        if k + AHEAD < rows.shape[0]:
            _prefetch_row(mask, rows[k + AHEAD])
        kept = mask[rows[k]]
        for d in range(gradient.shape[1]):
            gradient[k, d] = gradient[k, d] if kept[d] else zero


@compiled
def mask_all(gradient: Floats, mask: Flags) -> None:
    """Zero ``gradient`` (n,) where ``mask`` (n,) is False."""
    zero = gradient.dtype.type(0)
    for k in range(gradient.shape[0]):
        gradient[k] = gradient[k] if mask[k] else zero


@compiled
def recount_rows(kept: Floats, rows: Ids, counts: Ids) -> int:
    """Note in ``counts`` (N,) how many non-zeros each of ``rows`` (M,) has in ``kept`` (M, w).

    Returns by how much the sum of ``counts`` has grown.
    """
    zero = kept.dtype.type(0)
    growth = 0
    for k in range(rows.shape[0]):
        if k + AHEAD < rows.shape[0]:
            _prefetch_row(counts, rows[k + AHEAD])
        count = 0
        for d in range(kept.shape[1]):
            count += kept[k, d] != zero
        growth += count - counts[rows[k]]
        counts[rows[k]] = count
    return growth


@compiled
def unique_rows(ids: Ids, slots: Ids, unique: Ids, local: Ids) -> int:
    """Number the distinct ``ids`` (n,) in order of first appearance.

    Fills ``unique`` with the distinct ids and ``local`` (n,) with each id's number, so that
    ``unique[local] == ids``; returns how many there are. ``slots`` (N,) is workspace, −1 before
    and after.
    """
    count = 0
    for k in range(ids.shape[0]):
        if k + AHEAD < ids.shape[0]:
            _prefetch_row(slots, ids[k + AHEAD])
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
        if k + AHEAD < rows.shape[0]:
            _prefetch_row(values, rows[k + AHEAD])
        row = rows[k]
        for d in range(values.shape[1]):
            gathered[k, d] = values[row, d]


@compiled
def _at_rest(value: Floats, first: Floats) -> bool:
    moved = False
    for d in range(value.shape[0]):
        moved |= value[d] != 0 or first[d] != 0
    return not moved


@compiled
def adam_catch_up(
    values: Floats,
    moments: Floats,
    last: Ids,
    rows: Ids,
    step: int,
    rate: float,
    l2: float,
    epsilon: float,
    powers: Floats,
    scales: Floats,
    grid_values: Floats,
    grid_moments: Floats,
    grid_step: int,
    reach: float,
) -> None:
    """Make good what dense Adam with L2 would have done to ``rows`` since they were last updated.

    Brings ``values`` (N, w) and ``moments`` (N, 2, w) of each row from step ``last[row]`` to
    ``step``, the first :data:`EXACT_STEPS` of a training one by one, later ones in strides of up to
    32. Within a stride the value is held for the gradient g = λw, the moments follow their
    geometric laws, the second moment under the root is taken at the stride's middle (for what is
    left of the momentum, near its beginning). A value that nothing but L2 moves comes to rest at
    zero, where dense Adam's swings around it die out.

    ``powers`` (4, 33): β₁ʰ, β₂ʰ, β₂^((h+1)/2), β₂^min(h,5) by stride h. ``scales`` (2, K): the rate
    over 1 − β₁ᵗ, and 1 / √(1 − β₂ᵗ), by step t, the last for all later ones. Values (G, 1)
    and moments (G, 2, 1) of a grid say where ``grid_step`` steps without a gradient took initial
    values from −``reach`` to ``reach`` at equal distances; rows that no batch has needed yet are
    interpolated there instead of replayed. G may be 0: then all are replayed.
    """
    kind = values.dtype.type
    width = values.shape[1]
    longest = powers.shape[1] - 1
    latest = scales.shape[1] - 1
    decay = kind(l2)
    tiny = kind(epsilon)
    one = kind(1)
    zero = kind(0)
    resting_share = kind(RESTING_SHARE)
    swing = kind(2.0 * rate * longest)
    grid = grid_values.shape[0]
    per_unit = kind((grid - 1) / (2.0 * reach)) if grid else kind(0)
    beta_sum = kind(powers[0, 1] / (1.0 - powers[0, 1]))
    keep1, keep2 = kind(powers[0, 1]), kind(powers[1, 1])
    for k in range(rows.shape[0]):
        if k + AHEAD < rows.shape[0]:
            _prefetch_row(last, rows[k + AHEAD])
            _prefetch_row(values, rows[k + AHEAD])
            _prefetch_row(moments, rows[k + AHEAD])
        row = rows[k]
        done = last[row]
        value, first, second = values[row], moments[row, 0], moments[row, 1]
        if grid and done == 0:
            for d in range(width):
                place = (value[d] + kind(reach)) * per_unit
                left = min(max(int(place), 0), grid - 2)
                right = left + 1
                share = place - kind(left)
                rest = one - share
                value[d] = rest * grid_values[left, 0] + share * grid_values[right, 0]
                first[d] = rest * grid_moments[left, 0, 0] + share * grid_moments[right, 0, 0]
                second[d] = rest * grid_moments[left, 1, 0] + share * grid_moments[right, 1, 0]
            done = grid_step
        if _at_rest(value, first):
            # Nothing moves but the second moment.
            variance_left = kind(powers[1, 1] ** (step - done))
            for d in range(width):
                second[d] *= variance_left
            done = step
        while done < min(step, EXACT_STEPS):
            done += 1
            scale = kind(scales[0, done])
            root_scale = kind(scales[1, done])
            for d in range(width):
                g = decay * value[d]
                m = keep1 * first[d] + (one - keep1) * g
                v = keep2 * second[d] + (one - keep2) * g * g
                value[d] -= scale * m / (np.sqrt(v) * root_scale + tiny)
                first[d] = m
                second[d] = v
        while done < step:
            stride = min(step - done, longest)
            momentum_left = kind(powers[0, stride])
            variance_left = kind(powers[1, stride])
            variance_middle = kind(powers[2, stride])
            variance_early = kind(powers[3, stride])
            middle = min(done + (stride + 1) // 2, latest)
            early = min(done + min(stride, 5), latest)
            scale = kind(scales[0, middle])
            scale_middle = kind(scales[1, middle])
            scale_early = kind(scales[1, early])
            for_gradient = scale * kind(stride)
            for_excess = scale * beta_sum * (one - momentum_left)
            for d in range(width):
                old = value[d]
                m = first[d]
                v = second[d]
                g = decay * old
                square = g * g
                excess = m - g
                root_middle = np.sqrt(variance_middle * v + (one - variance_middle) * square)
                root_early = np.sqrt(variance_early * v + (one - variance_early) * square)
                new = old - (
                    g * for_gradient / (root_middle * scale_middle + tiny)
                    + excess * for_excess / (root_early * scale_early + tiny)
                )
                # Moments that L2 alone can have made: the value is on its way to rest at zero.
                bound = decay * (abs(old) + swing)
                moving = abs(m) > bound or v > resting_share * bound * bound or new * old > zero
                value[d] = new if moving else zero
                first[d] = g + excess * momentum_left if moving else zero
                second[d] = variance_left * v + (one - variance_left) * square
            done += stride
        last[row] = step


@compiled
def adagrad_update_rows(
    values: Floats,
    sums: Floats,
    rows: Ids,
    gradient: Floats,
    rate: float,
    l2: float,
    epsilon: float,
) -> None:
    """One step of row-wise Adagrad on ``rows`` of ``values`` (N, w); ``gradient`` (len(rows), w).

    ``sums`` (N,) adds up the mean over a row of its squared gradient, L2 included.
    """
    kind = values.dtype.type
    width = values.shape[1]
    decay, tiny, scale = kind(l2), kind(epsilon), kind(rate)
    for k in range(rows.shape[0]):
        if k + AHEAD < rows.shape[0]:
            _prefetch_row(sums, rows[k + AHEAD])
            _prefetch_row(values, rows[k + AHEAD])
        row = rows[k]
        value, pull = values[row], gradient[k]
        squares = kind(0)
        for d in range(width):
            g = pull[d] + decay * value[d]
            squares += g * g
        sums[row] += squares / kind(width)
        factor = scale / (np.sqrt(sums[row]) + tiny)
        for d in range(width):
            value[d] -= factor * (pull[d] + decay * value[d])


@compiled
def adam_update_rows(
    values: Floats,
    moments: Floats,
    last: Ids,
    rows: Ids,
    gradient: Floats,
    step: int,
    rate: float,
    l2: float,
    beta1: float,
    beta2: float,
    epsilon: float,
) -> None:
    """One step of Adam with L2 on ``rows`` of ``values`` (N, w) with ``gradient`` (len(rows), w).

    ``moments`` is (N, 2, w). The rows must be caught up to ``step`` − 1. Kingma & Ba 2015,
    algorithm 1.
    """
    kind = values.dtype.type
    width = values.shape[1]
    scale = kind(rate / (1.0 - beta1**step))
    root_scale = kind(1.0 / np.sqrt(1.0 - beta2**step))
    keep1, keep2 = kind(beta1), kind(beta2)
    new1, new2 = kind(1.0 - beta1), kind(1.0 - beta2)
    decay = kind(l2)
    tiny = kind(epsilon)
    for k in range(rows.shape[0]):
        if k + AHEAD < rows.shape[0]:
            _prefetch_row(last, rows[k + AHEAD])
            _prefetch_row(values, rows[k + AHEAD])
            _prefetch_row(moments, rows[k + AHEAD])
        row = rows[k]
        value, first, second = values[row], moments[row, 0], moments[row, 1]
        pull = gradient[k]
        for d in range(width):
            g = pull[d] + decay * value[d]
            m = keep1 * first[d] + new1 * g
            v = keep2 * second[d] + new2 * g * g
            value[d] -= scale * m / (np.sqrt(v) * root_scale + tiny)
            first[d] = m
            second[d] = v
        last[row] = step
