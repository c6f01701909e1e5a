"""Features: the global ids of a table's raw values, decided by the counts in training rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pepbench.data.encoding import group
from pepbench.data.table import Table
from pepbench.errors import DataError


def global_ids(table: Table, counts: NDArray[np.int64]) -> tuple[NDArray[np.int32], list[int]]:
    """Global id of each raw value (Σ raw cardinalities,), and the fields' cardinalities.

    ``counts`` (Σ raw cardinalities,) are the training rows with each raw value. Code 0 of a field
    is for values that do not become a feature.
    """
    ids = np.zeros(len(counts), dtype=np.int64)
    cardinalities = []
    offset = 0
    for field, name in enumerate(table.meta.fields):
        part = table.slice_of(field)
        encoding = table.meta.encoding(name)
        values = table.values_of(field) if encoding.bins is not None else None
        grouping = group(encoding, counts[part], values)
        ids[part] = offset + grouping.codes
        cardinalities.append(grouping.cardinality)
        offset += grouping.cardinality
    if offset > np.iinfo(np.int32).max:
        raise DataError(
            f"data set {table.meta.spec!r}: {offset} features are more than 2^31 - 1; "
            "raise the minimum count or hash fields of many values"
        )
    return ids.astype(np.int32), cardinalities
