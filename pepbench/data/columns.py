"""Arrow columns as the texts of :mod:`pepbench.data.values`, and the kind that each type has."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as is_

from pepbench.data.values import MISSING, Kind, text

_FLOATS: dict[pa.DataType, Kind] = {
    pa.float16(): "float16",
    pa.float32(): "float32",
    pa.float64(): "float64",
}
_TESTS: tuple[tuple[Kind, tuple[Callable[[pa.DataType], bool], ...]], ...] = (
    ("text", (is_.is_string, is_.is_large_string, is_.is_string_view, is_.is_null)),
    ("exact", (is_.is_integer, is_.is_decimal)),
    ("boolean", (is_.is_boolean,)),
    ("date", (is_.is_date,)),
    ("time", (is_.is_time,)),
    ("duration", (is_.is_duration,)),
    (
        "binary",
        (is_.is_binary, is_.is_large_binary, is_.is_fixed_size_binary, is_.is_binary_view),
    ),
)


def kind_of_type(kind: pa.DataType) -> Kind | None:
    """The kind of value that a type holds; None for types that hold several values a row.

    >>> kind_of_type(pa.int8()), kind_of_type(pa.timestamp("ms", "Europe/Rome"))
    ('exact', 'instant')
    >>> kind_of_type(pa.list_(pa.int8())) is None
    True
    """
    if is_.is_dictionary(kind):
        return kind_of_type(kind.value_type)
    if isinstance(kind, pa.UuidType):
        return "uuid"
    if isinstance(kind, pa.BaseExtensionType):
        return kind_of_type(kind.storage_type)
    if kind in _FLOATS:
        return _FLOATS[kind]
    if is_.is_timestamp(kind):
        return "timestamp" if kind.tz is None else "instant"
    return next((found for found, tests in _TESTS if any(test(kind) for test in tests)), None)


def as_text(column: pa.Array) -> pa.Array:
    """A column's values as text, (n,): plain strings, or a dictionary of them; nulls are empty.

    Each different value is written once, by :func:`pepbench.data.values.text`.

    >>> as_text(pa.array([1.0, None, float("nan"), 2.5, 1.0])).to_pylist()
    ['1', '', '', '2.5', '1']
    """
    column = _storage(column)
    kind = column.type
    if is_.is_null(kind):
        return pa.array([MISSING] * len(column), pa.string())
    if is_.is_dictionary(kind):
        values = as_text(column.dictionary)
        values = values.cast(pa.string())
        if column.null_count == 0:
            return pa.DictionaryArray.from_arrays(column.indices.cast(pa.int32()), values)
        return pc.fill_null(values.take(column.indices), MISSING)
    if kind_of_type(kind) not in ("text", "boolean") and not is_.is_integer(kind):
        return _written(column)
    plain = column.cast(pa.string())
    return pc.fill_null(plain, MISSING) if plain.null_count else plain


def _storage(column: pa.Array) -> pa.Array:
    is_plain = isinstance(column.type, pa.BaseExtensionType) and not isinstance(
        column.type, pa.UuidType
    )
    return column.storage if is_plain else column


def _written(column: pa.Array) -> pa.DictionaryArray:
    """Distinct values written one by one, in Python."""
    kind = kind_of_type(column.type)
    assert kind is not None
    keys = _keys(column)
    coded = keys.dictionary_encode(null_encoding="encode")
    indices = coded.indices.cast(pa.int32())
    first = np.unique(indices.to_numpy(), return_index=True)[1]
    written = [text(value, kind) for value in _objects(keys.take(pa.array(first)))]
    return pa.DictionaryArray.from_arrays(indices, pa.array(written, pa.string()))


def _keys(column: pa.Array) -> pa.Array:
    """The same values in a type that Arrow's kernels know."""
    if is_.is_float16(column.type):
        return column.cast(pa.float32())
    if is_.is_binary_view(column.type):
        return column.cast(pa.large_binary())
    return column.storage if isinstance(column.type, pa.UuidType) else column


def _objects(column: pa.Array) -> list[object]:
    """Values as objects that lose nothing: numpy's where Python cuts times to microseconds."""
    kind = column.type
    if is_.is_date(kind):
        days = column.cast(pa.date32()).view(pa.int32())
        return _masked(days, "datetime64[D]")
    if is_.is_timestamp(kind) or is_.is_duration(kind) or is_.is_time(kind):
        unit = "datetime64" if is_.is_timestamp(kind) else "timedelta64"
        counts = column.view(pa.int32() if kind.bit_width == 32 else pa.int64())
        return _masked(counts, f"{unit}[{kind.unit}]")
    return list(column.to_pylist())


def _masked(counts: pa.Array, unit: str) -> list[object]:
    """Counts of a unit as numpy's dates or times; None for null."""
    values = pc.fill_null(counts.cast(pa.int64()), 0).to_numpy().view(unit)
    null = counts.is_null().to_numpy(zero_copy_only=False)
    return [None if missing else value for missing, value in zip(null, values, strict=True)]
