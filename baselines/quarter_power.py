"""Widths by the fourth root of a field's cardinality."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pepbench.method import Embedding, Fields, Method

from .mixed import MixedTable, mixed_size


@dataclass(frozen=True)
class QuarterPower(Method):
    """The rule of thumb: a field of n_i features is ⌈6 n_i^¼⌉ wide, scaled to the budget.

    Wang, Fu, Fu, Wang, "Deep & Cross Network for Ad Click Predictions", ADKDD 2017, arXiv
    1708.05123, §4.2, whose rule many libraries offer as their automatic width. All features of a
    field have the same width, and a linear projection brings them to D, as in ``mde``::

        d_i = min(D, ⌈λ 6 n_i^¼⌉)

    The knob is λ, which rises as far as the budget admits; at λ = 1 it is the rule itself. When the
    next column of a field no longer fits, that field stays as it is, and the narrower steps of
    others go on. A field that would need more numbers for its narrow rows and their projection than
    for rows of width D has width D. Infeasible if columns of width 1 and their projections do not
    fit.
    """

    name = "quarter-power"
    family = "controls"
    year = 2017

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        """A mixed table with the widest rows that the rule admits within ``budget``."""
        sizes = np.asarray(fields.cardinalities)
        smallest = mixed_size(sizes, paying_widths(sizes, np.ones_like(sizes), dim), dim, True)
        self.refuse_below(smallest, budget, "width 1, projections included")
        widths = quarter_power_widths(sizes, dim, budget)
        table = MixedTable(fields.field_of_feature, widths.tolist(), dim)
        table.unused_budget = "no further column of a field fits"
        return table


def quarter_power_widths(sizes: NDArray[np.int64], dim: int, budget: int) -> NDArray[np.int64]:
    """Widths (F,) for ``sizes`` (F,); fields of equal size have equal ones.

    >>> quarter_power_widths(np.array([16, 16, 625]), 64, 657 * 64).tolist()
    [64, 64, 64]
    >>> quarter_power_widths(np.array([160_000, 10_000]), 1_000, 19_980_000).tolist()
    [120, 60]
    """
    distinct, size_of_field = np.unique(sizes, return_inverse=True)
    # Width k + 1 is reached just above λ = k / (6 n^¼).
    columns, roots = np.arange(1, dim), 6.0 * distinct**0.25
    scales = (columns / roots[:, None]).ravel()
    widths = np.ones_like(distinct)
    open_ = np.ones(len(distinct), dtype=np.bool_)
    for event in np.argsort(scales, kind="stable"):
        group = event // len(columns)
        if not open_[group]:
            continue
        wider = widths.copy()
        wider[group] += 1
        chosen = paying_widths(sizes, wider[size_of_field], dim)
        if mixed_size(sizes, chosen, dim, True) <= budget:
            widths = wider
        else:
            open_[group] = False
    return paying_widths(sizes, widths[size_of_field], dim)


def paying_widths(
    sizes: NDArray[np.int64], widths: NDArray[np.int64], dim: int
) -> NDArray[np.int64]:
    """The ``widths`` (F,), but D where narrow rows and their projection are not fewer numbers.

    >>> paying_widths(np.array([3, 100]), np.array([1, 1]), 4).tolist()
    [1, 1]
    >>> paying_widths(np.array([3, 100]), np.array([2, 2]), 4).tolist()
    [4, 2]
    """
    narrow = (sizes + dim) * widths
    return np.where(narrow >= sizes * dim, dim, widths)
