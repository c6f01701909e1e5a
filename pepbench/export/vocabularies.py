"""What ``meta.json`` says about the fields: how raw values become codes when serving."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from pepbench.data.encoding import numbers_of
from pepbench.data.splits import Splits


def described_fields(splits: Splits) -> list[dict[str, Any]]:
    """For each field its name, cardinality, and values in the order of their codes; or its bins.

    The code of a value is its position plus one; code 0 is for all others.
    """
    table = splits.table
    described = []
    for field, name in enumerate(splits.fields.names):
        codes = splits.codes_of_values(field)
        entry = {"name": name, "cardinality": splits.fields.cardinalities[field]}
        values = table.values_of(field)
        if table.meta.encoding(name).bins is None:
            order = np.argsort(codes, kind="stable")
            kept = order[np.count_nonzero(codes == 0) :]
            entry["values"] = [values[index] for index in kept.tolist()]
        else:
            entry |= bins_of(codes, numbers_of(values))
        described.append(entry)
    return described


def bins_of(codes: NDArray[np.integer], numbers: NDArray[np.float64]) -> dict[str, Any]:
    """Bounds between a field's bins, and the code of a missing number, 0 if there is none.

    Parameters
    ----------
    codes
        Shape (n,): of each raw value, bins counted from 1.
    numbers
        Shape (n,): the raw values, NaN for the missing one.

    Examples
    --------
    >>> bins_of(np.array([2, 3, 1, 1]), np.array([3.0, np.nan, 1.0, 2.0]))
    {'edges': [3.0], 'missing': 3}
    """
    real = ~np.isnan(numbers)
    missing = int(codes[~real].max(initial=0))
    n_bins = int(codes[real].max(initial=0))
    # A bound is a training value and belongs to the bin above: the least number there.
    edges = [float(numbers[real & (codes == code)].min()) for code in range(2, n_bins + 1)]
    return {"edges": edges, "missing": missing}
