"""Which results no other beats in every respect, and how much ground they cover.

References
----------
Fonseca, Paquete & López-Ibáñez, "An improved dimension-sweep algorithm for the hypervolume
indicator", CEC 2006; as implemented in moocore.
"""

from __future__ import annotations

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

SAME_SIZE = 0.02
"""Sizes and other costs that differ by at most this share are taken as equal."""

CHANCE_AUC = 0.5
"""AUC of the hypervolume's reference point: what guessing reaches."""


def on_front(costs: ArrayLike, auc: ArrayLike) -> NDArray[np.bool_]:
    """Which cells are on the front of low costs and high AUC.

    Parameters
    ----------
    costs
        (n,), such as parameters, or (n, c) where several costs count; without NaN, n may be 0.
    auc
        (n,), without NaN.

    Returns
    -------
    numpy.ndarray
        (n,) booleans: no other cell is at least as good in all respects and better in one, and none
        of higher AUC is at most ``SAME_SIZE`` more costly. Equal cells do not beat each other: both
        stay.

    Examples
    --------
    >>> on_front([10, 5, 2], [0.8, 0.8, 0.7])
    array([False,  True,  True])
    >>> on_front([1000, 1010], [0.79, 0.8])
    array([False,  True])
    """
    points = np.column_stack([costs, auc]).astype(np.float64)
    if not len(points):
        return np.zeros(0, dtype=np.bool_)
    maximise = [False] * (points.shape[1] - 1) + [True]
    mask: NDArray[np.bool_] = moocore.is_nondominated(points, maximise=maximise, keep_weakly=True)
    chosen = np.flatnonzero(mask)
    cost, quality = points[chosen, :-1], points[chosen, -1]
    cheap = (cost[:, None] <= (1 + SAME_SIZE) * cost[None, :]).all(axis=-1)
    mask[chosen[(cheap & (quality[:, None] > quality)).any(axis=0)]] = False
    return mask


def hypervolume(parameters: ArrayLike, auc: ArrayLike, full_parameters: int) -> float:
    """The area that results dominate, in decades of parameters × AUC.

    The reference point is (log10 of the full table's parameters, AUC 0.5). A method adds area by
    being smaller than the full table and better than chance; the full table itself adds none, so
    0.9 means, for example, three decades at an AUC of 0.8 throughout. A table of no parameters
    adds none either: there is no end to its decades.

    Parameters
    ----------
    parameters, auc
        (n,) each, without NaN; n may be 0. Dominated points change nothing.
    full_parameters
        N·D.

    Examples
    --------
    >>> round(hypervolume([100, 10], [0.8, 0.6], full_parameters=1000), 12)
    0.4
    """
    sizes, aucs = np.asarray(parameters, np.float64), np.asarray(auc, np.float64)
    points = np.column_stack([np.log10(sizes[sizes > 0]), aucs[sizes > 0]])
    reference = np.array([np.log10(full_parameters), CHANCE_AUC])
    # Points outside the reference box dominate none of it.
    inside = (points[:, 0] < reference[0]) & (points[:, 1] > reference[1])
    if not inside.any():
        return 0.0
    return float(moocore.hypervolume(points[inside], ref=reference, maximise=[False, True]))
