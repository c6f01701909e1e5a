"""The text of a value: what it becomes in a vocabulary, the same at training and at serving.

The text depends on the value and its column's kind alone, never on its neighbours, so that a value
has one code wherever it appears. Needs numpy only: :mod:`pepbench.serve` uses it as it is.
"""

from __future__ import annotations

import datetime
import math
import re
import uuid
from collections.abc import Callable
from contextlib import suppress
from decimal import Context, Decimal
from typing import Any, Literal, get_args

import numpy as np

Kind = Literal[
    "text",
    "exact",
    "float64",
    "float32",
    "float16",
    "boolean",
    "date",
    "time",
    "timestamp",
    "instant",
    "duration",
    "binary",
    "uuid",
]
"""What a column holds. ``exact``: whole and decimal numbers; ``timestamp``: without a time zone;
``instant``: a timestamp with a zone, written in UTC; ``time``: of the day; ``binary``: the text
where the bytes are UTF-8, as some writers store text, else hexadecimal after ``0x``."""

KINDS: tuple[Kind, ...] = get_args(Kind)

MISSING = ""
"""The text of null, NaN and whatever words are declared missing: one value."""

NUMBER = r"^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,3})?$"
"""A number as text, for the readers and when serving: Python's ``float`` would also read ``1_000``,
spaces around a number, and the digits of other scripts."""
_NUMBER = re.compile(NUMBER[1:-1])

_WHOLE = 2.0**64
"""Whole floats below are written as whole numbers: no integer column holds larger ones."""
_DIGITS = 80
"""Whole numbers of more digits keep their exponent: ``1e999999999`` must not fill the memory."""
_CONTEXT = Context(prec=_DIGITS)
_MOMENT = re.compile(
    r"([+-]?\d{4,}-\d\d-\d\d(?:[ T]\d\d[\d:]*)?)(?:\.(\d*))?\s*(Z|[+-]\d{2}(?::?\d{2})?)?"
)
_CLOCK = re.compile(r"^\d\d:\d\d(:\d\d(\.\d+)?)?$")
_NANOSECONDS = {"h": 3600 * 10**9, "m": 60 * 10**9, "s": 10**9, "ms": 10**6, "us": 10**3, "ns": 1}
_PLAIN = (
    *(str, int, float, np.generic, bytes, bytearray, memoryview, Decimal, uuid.UUID),
    *(datetime.date, datetime.time, datetime.timedelta),
)
"""What Python and numpy have as values; pandas derives its times from them."""


def text(value: object, kind: Kind = "text") -> str:
    r"""The text of a raw value in a column of a kind.

    Parameters
    ----------
    value
        A Python object, a numpy scalar, or a text of the value. In a column of text everything that
        is no text is taken as what it is: ``5`` and ``5.0`` are ``"5"``.
    kind
        Of the column that the value is looked up in.

    Returns
    -------
    The text; empty for a missing value. What is no value of the kind comes back as its own text,
    which no vocabulary of the kind holds.

    Examples
    --------
    >>> text(5), text(12345678901.0), text(None), text(float("nan")), text(True)
    ('5', '12345678901', '', '', 'true')
    >>> text(np.float32(0.1)), text(0.1, "float32"), text("0.10", "float32")
    ('0.1', '0.1', '0.1')
    >>> text(datetime.date(2024, 2, 29)), text("2024-02-29 12:00:00.500", "timestamp")
    ('2024-02-29', '2024-02-29T12:00:00.5')
    >>> text(b"Rome"), text(b"\x00\xff"), text(-0.0)
    ('Rome', '0x00ff', '0')
    """
    if _is_null(value):
        return MISSING
    value = _unwrapped(value)
    if isinstance(value, np.datetime64 | np.timedelta64) and np.isnat(value):
        return MISSING
    if isinstance(value, str):
        value = str(value)
        if kind == "text" or value == MISSING:
            return value
    try:
        return _WRITERS[kind if kind != "text" else kind_of(value)](value)
    except (ValueError, TypeError, KeyError, AttributeError, ArithmeticError):
        return str(value)


def kind_of(value: object) -> Kind:
    """The kind of a column that holds such values.

    >>> kind_of(1), kind_of(np.float32(1)), kind_of(datetime.datetime(2024, 1, 1)), kind_of(b"")
    ('exact', 'float32', 'timestamp', 'binary')
    """
    if isinstance(value, np.generic):
        numpy_kind = _NUMPY_KINDS.get(value.dtype.kind)
        if numpy_kind is not None:
            return numpy_kind
        if isinstance(value, np.floating):
            return "float64" if value.dtype.itemsize >= 8 else _SMALL_FLOATS[value.dtype.itemsize]
        if isinstance(value, np.datetime64):
            return "date" if np.datetime_data(value.dtype)[0] in _CALENDAR else "timestamp"
    if isinstance(value, datetime.datetime):
        return "timestamp" if value.tzinfo is None else "instant"
    for types, kind in _PYTHON_KINDS:
        if isinstance(value, types):
            return kind
    return "text"


_CALENDAR = ("Y", "M", "W", "D")
_NUMPY_KINDS: dict[str, Kind] = {
    "b": "boolean",
    "i": "exact",
    "u": "exact",
    "m": "duration",
    "S": "binary",
    "V": "binary",
    "U": "text",
}
_SMALL_FLOATS: dict[int, Kind] = {2: "float16", 4: "float32"}
_PYTHON_KINDS: tuple[tuple[type | tuple[type, ...], Kind], ...] = (
    (bool, "boolean"),
    ((int, Decimal), "exact"),
    (float, "float64"),
    (datetime.date, "date"),
    (datetime.time, "time"),
    (datetime.timedelta, "duration"),
    ((bytes, bytearray, memoryview), "binary"),
    (uuid.UUID, "uuid"),
)


def number(value: object) -> float | None:
    """A raw value as a number to be binned: None for a missing one, NaN for what is none.

    >>> number("1.5"), number(""), number("1_000"), number(np.int8(3))
    (1.5, None, nan, 3.0)
    """
    value = _unwrapped(value)
    if isinstance(value, bytes | bytearray | memoryview):
        value = text(value)
    if _is_null(value) or (isinstance(value, str) and value == MISSING):
        return None
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        return math.nan
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return math.nan
    return None if math.isnan(found) and not isinstance(value, str) else found


def _is_null(value: object) -> bool:
    return value is None or type(value).__name__ in ("NAType", "NaTType")  # Those of pandas.


def _unwrapped(value: object) -> object:
    """The Python value of a scalar of Arrow, torch or another library; others as they are."""
    if isinstance(value, _PLAIN):
        return value
    unwrap = getattr(value, "as_py", None) or getattr(value, "item", None)
    # Tensors of several numbers have an item, too, and refuse to give it.
    with suppress(ValueError, TypeError, RuntimeError):
        return unwrap() if unwrap is not None else value
    return value


def _text(value: Any) -> str:
    return str(value)


def _exact(value: Any) -> str:
    if isinstance(value, np.integer | int):
        whole = int(value)
        return str(whole) if whole.bit_length() < 4 * _DIGITS else hex(whole)
    given = Decimal(_plain(value) if isinstance(value, str | Decimal) else repr(float(value)))
    if given.is_nan():
        return MISSING
    if given.is_infinite():
        return _float(np.float64(given))
    if given == given.to_integral_value() and given.adjusted() < _DIGITS:
        return str(int(given))
    return str(given.normalize(_CONTEXT))


def _plain(value: Any) -> Any:
    """A number as it is, but a text that only Python takes for one is refused."""
    if isinstance(value, str) and ("_" in value or not value.isascii() or value != value.strip()):
        raise ValueError(f"{value!r} is no number")
    return value


def _float(value: np.floating[Any]) -> str:
    if math.isnan(value):
        return MISSING
    if abs(value) < _WHOLE and float(value).is_integer():
        return str(int(value))
    return str(value)


def _rounded(kind: type[np.floating[Any]]) -> Callable[[Any], str]:
    def write(value: Any) -> str:
        with np.errstate(over="ignore"):
            return _float(kind(float(_plain(value))))

    return write


def _boolean(value: Any) -> str:
    if isinstance(value, str):
        return {"1": "true", "true": "true", "0": "false", "false": "false"}[value.lower()]
    return {1: "true", 0: "false"}[value]


def _moment(value: Any) -> np.datetime64:
    """A date or time that is no text as numpy has it, in UTC where it has a zone."""
    if hasattr(value, "to_datetime64"):  # pandas keeps nanoseconds, which datetime lacks.
        return np.datetime64(value.to_datetime64())
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        value = value.astimezone(datetime.UTC).replace(tzinfo=None)
    return np.datetime64(value)


def _timestamp(value: Any) -> str:
    if isinstance(value, str):
        return _timestamp_of_text(value)
    moment = _moment(value)
    if np.isnat(moment):
        return MISSING
    if np.datetime_data(moment.dtype)[0] in (*_CALENDAR, "h", "m"):
        moment = moment.astype("datetime64[s]")
    return _without_zeros(str(moment))


def _timestamp_of_text(value: str) -> str:
    """In UTC where a zone is given; digits below the nanosecond are cut off."""
    found = _MOMENT.fullmatch(value)
    if found is None:
        raise ValueError(f"{value!r} is no date")
    whole, fraction, zone = found.groups(default="")
    # In seconds, since numpy wraps around where a year and a fraction do not fit into 64 bits.
    moment = np.datetime64(whole.replace(" ", "T")).astype("datetime64[s]")
    if zone not in ("", "Z"):
        digits = zone[1:].replace(":", "").ljust(4, "0")
        minutes = int(digits[:2]) * 60 + int(digits[2:])
        moment -= np.timedelta64(minutes if zone[0] == "+" else -minutes, "m")
    return _without_zeros(f"{moment}.{fraction[:9]}")


def _instant(value: Any) -> str:
    written = _timestamp(value)
    return f"{written}Z" if written else written


def _date(value: Any) -> str:
    return _timestamp(value).removesuffix("T00:00:00")


def _time(value: Any) -> str:
    if isinstance(value, str):
        if not _CLOCK.match(value):
            raise ValueError(f"{value!r} is no time of the day")
        value = np.timedelta64(np.datetime64(f"1970-01-01T{value}", "ns") - np.datetime64(0, "ns"))
    if isinstance(value, datetime.time):
        return _without_zeros(value.replace(tzinfo=None).isoformat())
    return _without_zeros(str(np.datetime64(_nanoseconds(value), "ns")).partition("T")[2])


def _duration(value: Any) -> str:
    if isinstance(value, str):
        return value
    return f"PT{_exact(Decimal(_nanoseconds(value)).scaleb(-9))}S"


def _nanoseconds(value: Any) -> int:
    if isinstance(value, np.timedelta64):
        unit, step = np.datetime_data(value.dtype)
        if unit in ("D", "W"):
            return int(value.astype("timedelta64[D]").astype(np.int64)) * 86_400 * 10**9
        return int(value.astype(np.int64)) * step * _NANOSECONDS[unit]
    if hasattr(value, "to_timedelta64"):
        return _nanoseconds(value.to_timedelta64())
    whole: datetime.timedelta = value
    return ((whole.days * 86_400 + whole.seconds) * 10**6 + whole.microseconds) * 1000


def _without_zeros(written: str) -> str:
    """Without the zeros at the end of a fraction of a second."""
    return written.rstrip("0").rstrip(".") if "." in written else written


def _binary(value: Any) -> str:
    if isinstance(value, str):
        return value
    content = bytes(memoryview(value))  # bytes(10**12) would be a terabyte of zeros.
    try:
        written = content.decode()
    except UnicodeDecodeError:
        return f"0x{content.hex()}"
    return f"0x{content.hex()}" if written.startswith("0x") else written


def _uuid(value: Any) -> str:
    if isinstance(value, bytes):
        return str(uuid.UUID(bytes=value))
    return str(value if isinstance(value, uuid.UUID) else uuid.UUID(value))


_WRITERS: dict[Kind, Callable[[Any], str]] = {
    "text": _text,
    "exact": _exact,
    "float64": _rounded(np.float64),
    "float32": _rounded(np.float32),
    "float16": _rounded(np.float16),
    "boolean": _boolean,
    "date": _date,
    "time": _time,
    "timestamp": _timestamp,
    "instant": _instant,
    "duration": _duration,
    "binary": _binary,
    "uuid": _uuid,
}
