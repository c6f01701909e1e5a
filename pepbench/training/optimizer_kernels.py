"""Compiled updates of row-wise optimizers: catch-up and step of lazy Adam, step of row Adagrad.

Tests compare them with torch's dense optimizers and with the formulas.
"""

from __future__ import annotations

import numpy as np

from pepbench.tables.kernels import Floats, Ids, compiled
from pepbench.tables.prefetch import PREFETCH_ROWS, prefetch_row

EXACT_STEPS = 128
"""First steps of a training, which :func:`adam_catch_up` replays one by one and so exactly: in them
the bias corrections change, and L2 alone takes initial values to zero."""

RESTING_SHARE = 0.01
"""A value counts as moved by L2 alone if its second moment is below this share of what L2 would
sustain: found by comparing PEP's count of non-zeros with dense Adam's on real data."""


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
    """Catch up: apply to ``rows`` what dense Adam with L2 has done since they were last updated.

    Bring ``values`` (N, w) and ``moments`` (N, 2, w) of each row from step ``last[row]`` to
    ``step``, the first :data:`EXACT_STEPS` of a training one by one, later ones in strides of up to
    32. Within a stride the value is held for the gradient g = λw, the moments follow their
    geometric laws, and the second moment under the root is that of the stride's middle (for the
    remaining momentum, of a step near its beginning). A value that nothing but L2 moves comes to
    rest at zero, where dense Adam's oscillation around it dies out.

    ``powers`` (4, 33): β₁ʰ, β₂ʰ, β₂^((h+1)/2), β₂^min(h,5) by stride h. ``scales`` (2, K): the rate
    over 1 − β₁ᵗ, and 1 / √(1 − β₂ᵗ), by step t, the last for all later ones. Values (G, 1)
    and moments (G, 2, 1) of a grid hold the result of ``grid_step`` steps without a gradient from
    equally spaced initial values, −``reach`` to ``reach``; rows that no batch has needed yet are
    interpolated from it instead of replayed. G may be 0: then all are replayed.
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
        if k + PREFETCH_ROWS < rows.shape[0]:
            prefetch_row(last, rows[k + PREFETCH_ROWS])
            prefetch_row(values, rows[k + PREFETCH_ROWS])
            prefetch_row(moments, rows[k + PREFETCH_ROWS])
        row = rows[k]
        done = last[row]
        if done == step:
            # As for every row that the batch before needed, too.
            continue
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
        if k + PREFETCH_ROWS < rows.shape[0]:
            prefetch_row(sums, rows[k + PREFETCH_ROWS])
            prefetch_row(values, rows[k + PREFETCH_ROWS])
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
        if k + PREFETCH_ROWS < rows.shape[0]:
            prefetch_row(last, rows[k + PREFETCH_ROWS])
            prefetch_row(values, rows[k + PREFETCH_ROWS])
            prefetch_row(moments, rows[k + PREFETCH_ROWS])
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
