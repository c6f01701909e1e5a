"""Columns of raw values as callers have them: lists, arrays, series, and frames of them.

Needs numpy alone: pandas, polars and Arrow are recognised by their methods.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any, cast

import numpy as np

from pepbench.errors import ServeError, quoted


def by_name(values: object) -> Mapping[str, Any] | None:
    """The columns of a mapping or a data frame by name; None for what has no names.

    >>> by_name({"user": [1, 2]})
    {'user': [1, 2]}
    >>> by_name([["a", "b"]]) is None
    True
    """
    if isinstance(values, Mapping):
        return values
    names = getattr(values, "column_names", None)  # Of Arrow, whose columns are no names.
    if names is None:
        names = getattr(values, "columns", None)
    return None if names is None else {name: cast(Any, values)[name] for name in names}


def column(name: str, values: Any) -> list[Any]:
    """The raw values of a column, one for each row: (n,).

    Raises
    ------
    ServeError
        If they are no column: one value alone, a text, which would be read letter by letter, or
        what has no order.
    """
    if hasattr(values, "to_pylist"):
        values = values.to_pylist()
    if isinstance(values, np.ndarray):
        # Elements as numpy has them: Python would cut times to microseconds.
        values = values.tolist() if values.dtype.kind not in "mMf" else values
    is_column = not isinstance(values, str | bytes | Mapping | Set) and not hasattr(
        values, "columns"
    )
    try:
        if is_column:
            return list(values)
    except TypeError:
        pass
    raise ServeError(
        f"field {name!r}: {quoted(values)} is no column; give a list with a value for each row"
    )


def refuse_several(name: str, values: Sequence[Any]) -> None:
    """Raise :class:`ServeError` if one of the values is a list, or another collection.

    Called with values of which no vocabulary knows the text.
    """
    for value in values:
        if isinstance(value, Iterable) and not isinstance(value, str | bytes | bytearray):
            if isinstance(value, memoryview | np.generic) or getattr(value, "ndim", 1) == 0:
                continue
            raise ServeError(f"field {name!r}: {quoted(value)} is not one value; give one a row")
