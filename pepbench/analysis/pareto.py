"""Which results no other beats in every respect, and how much ground they cover.

References
----------
Fonseca, Paquete & López-Ibáñez, "An improved dimension-sweep algorithm for the hypervolume
indicator", CEC 2006; as implemented in moocore.
"""

from __future__ import annotations

from collections.abc import Sequence

import moocore
import numpy as np
from numpy.typing import ArrayLike, NDArray

CHANCE_AUC = 0.5
"""AUC of the hypervolume's reference point: what guessing reaches."""


def nondominated(points: ArrayLike, maximise: Sequence[bool]) -> NDArray[np.bool_]:
    """Which points no other point beats: at least as good in all respects and better in one.

    Parameters
    ----------
    points
        (n, d) without NaN; n may be 0.
    maximise
        (d,): whether more is better.

    Returns
    -------
    numpy.ndarray
        (n,) booleans. Equal points do not beat each other: both stay.

    Examples
    --------
    >>> nondominated([[10, 0.8], [5, 0.8], [2, 0.7]], maximise=[False, True])
    array([False,  True,  True])
    """
    values = np.asarray(points, dtype=np.float64)
    if not len(values):
        return np.zeros(0, dtype=np.bool_)
    mask: NDArray[np.bool_] = moocore.is_nondominated(
        values, maximise=list(maximise), keep_weakly=True
    )
    return mask


def on_front(costs: ArrayLike, auc: ArrayLike) -> NDArray[np.bool_]:
    """Which cells are on the front of low costs and high AUC.

    Parameters
    ----------
    costs
        (n,), such as parameters, or (n, c) where several costs count.
    auc
        (n,).

    Returns
    -------
    numpy.ndarray
        (n,) booleans.
    """
    points = np.column_stack([costs, auc])
    return nondominated(points, maximise=[False] * (points.shape[1] - 1) + [True])


def hypervolume(parameters: ArrayLike, auc: ArrayLike, full_parameters: int) -> float:
    """The area that results dominate, in decades of parameters × AUC.

    The reference point is (log10 of the full table's parameters, AUC 0.5). A method adds area by
    being smaller than the full table and better than chance; the full table itself adds none, so
    0.9 means, for example, three decades at an AUC of 0.8 throughout. A table of no parameters
    counts as one parameter.

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
    size = np.log10(np.maximum(np.asarray(parameters, dtype=np.float64), 1.0))
    points = np.column_stack([size, np.asarray(auc, dtype=np.float64)])
    reference = np.array([np.log10(full_parameters), CHANCE_AUC])
    # Points outside the reference box dominate none of it.
    inside = (points[:, 0] < reference[0]) & (points[:, 1] > reference[1])
    if not inside.any():
        return 0.0
    return float(moocore.hypervolume(points[inside], ref=reference, maximise=[False, True]))
