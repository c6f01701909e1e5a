"""Compiled loops of PEP's soft threshold, where torch would make several passes over memory.

Each function has a torch form elsewhere, to which tests hold it.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from pepbench import compiling
from pepbench.tables.kernels import Floats, Ids, careful, compiled

ordered = compiling.compiled(fastmath={"contract", "nsz"}, error_model="numpy")
"""Decorator of a kernel whose sums and products must be rounded in the order they are written."""

LOG2_E = 1.4426950408889634
LN_2_HIGH, LN_2_LOW = 0.693359375, -2.12194440e-4
"""log 2 in two parts; whole numbers up to 2¹⁵ times the first are exact in single precision."""

EXP = (
    0.0013814320662413494,
    0.008368851261787756,
    0.04166840109648964,
    0.16666519522456302,
    0.4999999337299079,
    1.0,
    1.0,
)
"""Polynomial for eˣ, highest power first: off by less than 4e-9 of it where |x| ≤ log(2) / 2."""


@ordered
def sigmoid(x: Any, kind: Any) -> Any:
    """σ(x) of a number ``x`` of type ``kind``, float32 or float64.

    In single precision without a call or a branch, so that loops over it are vectorised: twice as
    fast as torch's, with its error. 1 + e⁻ˣ is made of e⁻ˣ = 2ⁿ eʳ, n whole and |r| ≤ log(2) / 2.
    """
    one = kind(1)
    # The next whole number is there in double precision only; compilers settle such a question.
    if kind(16777217.0) != kind(16777216.0):
        return one / (one + math.exp(-x))
    # Beyond these, σ(x) is 1, or 0 but for a denormal number.
    x = kind(88) if x > kind(88) else x
    x = kind(-89) if x < kind(-89) else x
    n = np.floor(kind(0.5) - x * kind(LOG2_E))
    r = -x - n * kind(LN_2_HIGH)
    r = r - n * kind(LN_2_LOW)
    power = kind(EXP[0])
    power = power * r + kind(EXP[1])
    power = power * r + kind(EXP[2])
    power = power * r + kind(EXP[3])
    power = power * r + kind(EXP[4])
    power = power * r + kind(EXP[5])
    power = power * r + kind(EXP[6])
    # The bits of 2ⁿ; of infinity for n = 128.
    scale = np.int32((np.int32(n) + np.int32(127)) << np.int32(23)).view(np.float32)
    return one / (one + power * scale)


@careful
def threshold_entries(
    values: Floats, raw: Floats, target: float, gate: Floats, pruned: Floats
) -> int:
    """Fill ``gate`` with σ(s) and ``pruned`` with sign(v) · relu(|v| − σ(s)).

    All are (M, D): each entry v has a threshold s of its own, ``raw`` plus ``target``. Returns the
    number of non-zeros of ``pruned``.
    """
    kind = values.dtype.type
    zero, one, shift = kind(0), kind(1), kind(target)
    flat, thresholds, gates, results = values.ravel(), raw.ravel(), gate.ravel(), pruned.ravel()
    left = 0
    for start in range(0, flat.shape[0], BLOCK):
        stop = min(start + BLOCK, flat.shape[0])
        value, s = flat[start:stop], thresholds[start:stop]
        own, result = gates[start:stop], results[start:stop]
        # Counted in the type of the values, which saves conversions and is exact for a block.
        count = zero
        for k in range(value.shape[0]):
            t = sigmoid(s[k] + shift, kind)
            own[k] = t
            short = value[k] - max(min(value[k], t), -t)
            result[k] = short
            count += one if short != zero else zero
        left += int(count)
    return left


BLOCK = 4096
"""Entries that are counted at once."""


@compiled
def threshold_rows(values: Floats, gate: Floats, group: Ids, pruned: Floats) -> int:
    """Fill ``pruned`` (M, D) with sign(v) · relu(|v| − t); returns its number of non-zeros.

    t is ``gate`` (K, D) or (K, 1) at row ``group[i]``; without a group, at row i or its only one.
    """
    n_rows, width = values.shape
    zero = values.dtype.type(0)
    left = 0
    if group.shape[0] == 0 and gate.shape == values.shape:
        flat, threshold, result = values.ravel(), gate.ravel(), pruned.ravel()
        for k in range(flat.shape[0]):
            value, t = flat[k], threshold[k]
            short = value - max(min(value, t), -t)
            result[k] = short
            left += short != zero
        return left
    for i in range(n_rows):
        of_group = gate[group_of(i, group, gate.shape[0])]
        for d in range(width):
            value = values[i, d]
            t = of_group[d] if gate.shape[1] > 1 else of_group[0]
            short = value - max(min(value, t), -t)
            pruned[i, d] = short
            left += short != zero
    return left


@compiled
def group_of(i: int, group: Ids, n_groups: int) -> int:
    """The row of thresholds that row ``i`` of a table goes by: see :func:`threshold_rows`."""
    if group.shape[0] > 0:
        return group[i]  # type: ignore[no-any-return]
    return i if n_groups > 1 else 0


@compiled
def soft_threshold_backward(
    gradient: Floats, pruned: Floats, for_values: Floats, for_threshold: Floats
) -> None:
    """Gradients of :func:`threshold_rows` for values and thresholds, all of shape (n,)."""
    zero = gradient.dtype.type(0)
    for k in range(gradient.shape[0]):
        g = gradient[k] if pruned[k] != zero else zero
        for_values[k] = g
        for_threshold[k] = -g if pruned[k] > zero else g
