"""Compiled parts of a training step of a factorisation machine, or of logistic regression.

Loss and gradient of a batch, the gradient's norm, and dense Adam. :mod:`pepbench.training.fm_step`
puts them together; tests compare the whole with torch.
"""

from __future__ import annotations

import math

import numpy as np

from pepbench.tables.kernels import (
    Flags,
    Floats,
    Ids,
    careful,
    compiled,
    fm_forward,
    fm_scatter,
)
from pepbench.tables.threshold_kernels import group_of

LONGEST_PRODUCT = 1e200
"""Factors below 1 + e are multiplied up to here before one logarithm is taken of them all."""


@careful
def cross_entropy(
    logits: Floats, bias: Floats, labels: Floats, gradient: Floats
) -> tuple[float, float]:
    """Mean binary cross-entropy of ``logits`` + ``bias``, and its gradient for the bias.

    Fills ``gradient`` (B,) with that for each logit: (σ(x) − y) / B. ``bias`` is (1,), ``labels``
    (B,). Uses log(1 + e⁻ˣ) of several rows as the logarithm of one product, in double precision.
    """
    n_rows = logits.shape[0]
    kind = logits.dtype.type
    zero, one, share = kind(0), kind(1), kind(1.0 / n_rows)
    product, loss, for_bias = 1.0, 0.0, 0.0
    for b in range(n_rows):
        logit = logits[b] + bias[0]
        label = labels[b]
        small = math.exp(-abs(logit))
        probability = (one if logit >= zero else small) / (one + small)
        product *= 1.0 + small
        loss += max(logit, zero) - logit * label
        if product > LONGEST_PRODUCT:
            loss += math.log(product)
            product = 1.0
        g = (probability - label) * share
        gradient[b] = g
        for_bias += g
    return (loss + math.log(product)) / n_rows, for_bias


@careful
def batch_gradient(
    pairwise: bool,
    table: Floats,
    weights: Floats,
    bias: Floats,
    rows: Ids,
    ids: Ids,
    labels: Floats,
    table_gradient: Floats,
    row_gradient: Floats,
    weights_gradient: Floats,
    flags: Flags,
    found: Ids,
) -> tuple[float, float, int]:
    """Loss of a batch, the bias' gradient, and the number of rows; adds to the other gradients.

    The logits are w₀ + Σ_f w[ids] and, if ``pairwise``, the products of the vectors ``table`` at
    ``rows``. ``table`` is (M, D), ``weights`` (K,), ``rows`` and ``ids`` (B, F). Where both number
    the same rows, ``row_gradient`` (M,) and ``weights_gradient`` are the same array.
    ``table_gradient`` (M, D) lacks v_i times ``row_gradient``: see
    :func:`pepbench.tables.kernels.fm_backward`. Arrays of gradients are zero before.
    ``found`` (M + 1,) begins with the distinct ``rows`` afterwards, for which ``flags`` (M,), all
    False, is workspace; if they have no elements, all M rows are taken to be in the batch.
    """
    n_rows, n_fields = ids.shape
    kind = table.dtype.type
    apart = row_gradient.ctypes.data != weights_gradient.ctypes.data
    sums = np.empty((n_rows, table.shape[1]), table.dtype)
    logits = np.zeros(n_rows, table.dtype)
    gradient = np.empty(n_rows, table.dtype)
    if pairwise:
        # Zeros stand for the weights where those are numbered otherwise.
        fm_forward(table, row_gradient if apart else weights, rows, sums, logits)
    if apart or not pairwise:
        for b in range(n_rows):
            first_order = kind(0)
            for f in range(n_fields):
                first_order += weights[ids[b, f]]
            logits[b] += first_order
    loss, for_bias = cross_entropy(logits, bias, labels, gradient)
    if pairwise:
        fm_scatter(rows, sums, gradient, table_gradient, row_gradient)
    if apart or not pairwise:
        for b in range(n_rows):
            for f in range(n_fields):
                weights_gradient[ids[b, f]] += gradient[b]
    return loss, for_bias, _distinct(rows, flags, found) if found.shape[0] else table.shape[0]


@compiled
def _distinct(rows: Ids, flags: Flags, found: Ids) -> int:
    count = 0
    for b in range(rows.shape[0]):
        for f in range(rows.shape[1]):
            row = rows[b, f]
            # Without a branch, which would often be mispredicted. There is room for one more.
            found[count] = row
            count += not flags[row]
            flags[row] = True
    for k in range(count):
        flags[found[k]] = False
    return count


@careful
def squared_norm(gradient: Floats) -> float:
    """Sum of squares of ``gradient`` (n,)."""
    total = gradient.dtype.type(0)
    for k in range(gradient.shape[0]):
        total += gradient[k] * gradient[k]
    return float(total)


@careful
def finish_gradient(
    table: Floats,
    gradient: Floats,
    row_gradient: Floats,
    found: Ids,
    count: int,
    mask: Flags,
    rows: Ids,
) -> float:
    """Complete ``gradient`` (M, D) of ``table`` by the rows' own part; its sum of squares.

    Only in the first ``count`` rows, or if it has elements those that ``found`` begins with.
    Entries outside ``mask`` (N, D) get zero, the table being its rows ``rows`` (M,), or without
    elements all; a mask without rows stands for none.
    """
    kind = table.dtype.type
    total = 0.0
    masked = mask.shape[0] > 0
    for k in range(count):
        i = found[k] if found.shape[0] > 0 else k
        own = row_gradient[i]
        values, of_row = table[i], gradient[i]
        squares = kind(0)
        for d in range(values.shape[0]):
            g = of_row[d] - values[d] * own
            of_row[d] = g
            squares += g * g
        if masked:
            squares = kind(0)
            kept = mask[rows[i]] if rows.shape[0] > 0 else mask[i]
            for d in range(values.shape[0]):
                g = of_row[d] if kept[d] else kind(0)
                of_row[d] = g
                squares += g * g
        total += float(squares)
    return total


@careful
def finish_thresholded(
    pruned: Floats,
    gradient: Floats,
    row_gradient: Floats,
    found: Ids,
    count: int,
    gate: Floats,
    group: Ids,
    raw_gradient: Floats,
) -> tuple[float, float]:
    """Complete the gradients of values and thresholds; the sums of squares of both.

    ``gradient`` (M, D) for V̂ becomes that for V, and ``raw_gradient`` (as ``gate``), zero before,
    that for the raw thresholds s, where ``gate`` is σ(s), as
    :func:`pepbench.tables.threshold_kernels.threshold_rows` takes it. Rows are those of
    :func:`finish_gradient`.
    """
    width = pruned.shape[1]
    kind = pruned.dtype.type
    zero, one = kind(0), kind(1)
    total, of_raw = 0.0, 0.0
    for k in range(count):
        i = found[k] if found.shape[0] > 0 else k
        own = row_gradient[i]
        r = group_of(i, group, gate.shape[0])
        values, of_row, of_group, to = pruned[i], gradient[i], gate[r], raw_gradient[r]
        squares, of_own = zero, zero
        if gate.shape[1] == width:
            for d in range(width):
                value = values[d]
                g = of_row[d] - value * own if value != zero else zero
                of_row[d] = g
                squares += g * g
                pull = to[d] + (-g if value > zero else g) * of_group[d] * (one - of_group[d])
                to[d] = pull
                of_own += pull * pull
        else:
            common = zero
            for d in range(width):
                value = values[d]
                g = of_row[d] - value * own if value != zero else zero
                of_row[d] = g
                squares += g * g
                common += -g if value > zero else g
            to[0] += common * of_group[0] * (one - of_group[0])
        total += float(squares)
        of_raw += float(of_own)
    if gate.shape != pruned.shape:
        of_raw = squared_norm(raw_gradient.ravel())
    return total, of_raw


@careful
def finish_own_thresholds(
    pruned: Floats,
    gradient: Floats,
    row_gradient: Floats,
    found: Ids,
    count: int,
    gate: Floats,
    raw_gradient: Floats,
) -> tuple[float, float]:
    """As :func:`finish_thresholded`, where each entry has its own threshold."""
    total, of_raw = 0.0, 0.0
    for k in range(count):
        i = found[k] if found.shape[0] > 0 else k
        squares, own_squares = _finish_row(
            pruned[i], gradient[i], row_gradient[i], gate[i], raw_gradient[i]
        )
        total += squares
        of_raw += own_squares
    return total, of_raw


@careful
def finish_own_thresholds_in_place(
    pruned: Floats, gradient: Floats, row_gradient: Floats, gate: Floats
) -> tuple[float, float]:
    """As :func:`finish_own_thresholds`, in all rows; ``gate`` becomes the gradient for s."""
    total, of_raw = 0.0, 0.0
    for i in range(pruned.shape[0]):
        # One array less to look up and to keep apart: half the time.
        squares, own_squares = _finish_row(
            pruned[i], gradient[i], row_gradient[i], gate[i], gate[i]
        )
        total += squares
        of_raw += own_squares
    return total, of_raw


@careful
def _finish_row(
    pruned: Floats, gradient: Floats, own: float, gate: Floats, raw_gradient: Floats
) -> tuple[float, float]:
    kind = pruned.dtype.type
    zero, one = kind(0), kind(1)
    squares, own_squares = zero, zero
    for d in range(pruned.shape[0]):
        value, t = pruned[d], gate[d]
        g = gradient[d] - value * own if value != zero else zero
        gradient[d] = g
        squares += g * g
        pull = (-g if value > zero else g) * t * (one - t)
        raw_gradient[d] = pull
        own_squares += pull * pull
    return float(squares), float(own_squares)


@compiled
def adam_update(
    values: Floats,
    first: Floats,
    second: Floats,
    gradient: Floats,
    factor: float,
    step: float,
    rate: float,
    l2: float,
    beta1: float,
    beta2: float,
    epsilon: float,
) -> None:
    """One step of Adam with L2 on ``values`` (n,) with ``factor`` times ``gradient``.

    ``first`` and ``second`` are the moments; ``gradient`` is zero afterwards. Kingma & Ba 2015,
    algorithm 1, in the form of ``torch.optim.Adam``.
    """
    kind = values.dtype.type
    scale = kind(rate / (1.0 - beta1**step))
    root_scale = kind(1.0 / np.sqrt(1.0 - beta2**step))
    keep1, keep2 = kind(beta1), kind(beta2)
    new1, new2 = kind(1.0 - beta1), kind(1.0 - beta2)
    decay, tiny, share = kind(l2), kind(epsilon), kind(factor)
    for k in range(values.shape[0]):
        value = values[k]
        g = share * gradient[k] + decay * value
        m = keep1 * first[k] + new1 * g
        v = keep2 * second[k] + new2 * g * g
        values[k] = value - scale * m / (np.sqrt(v) * root_scale + tiny)
        first[k] = m
        second[k] = v
        gradient[k] = kind(0)
