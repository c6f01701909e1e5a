"""Budgets, times and sizes as people write and read them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction

from pepbench.errors import PlanError

SECONDS = {"": 1.0, "s": 1.0, "m": 60.0, "min": 60.0, "h": 3600.0, "d": 86400.0}
"""Units of a time; a number alone is seconds."""
BYTES = {"": 1, "B": 1, "kB": 10**3, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
BYTES |= {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
"""Units of a size; a number alone is bytes."""
LONGEST = 10**6 * 86400.0
LARGEST = 2.0**50

_BUDGET = re.compile(
    r"(?P<number>\d{1,18}(?:\.\d{0,18})?|\.\d{1,18})(?P<unit>%|k|m|kb|mb|gb)?",
    re.IGNORECASE | re.ASCII,
)
_PARAMETERS = {"": 1, "k": 10**3, "m": 10**6, "kb": 250, "mb": 250_000, "gb": 250_000_000}
"""Parameters in a unit; a parameter takes 4 bytes."""

_PART = re.compile(r"(?P<number>[1-9]\d{0,5})/(?P<of>[1-9]\d{0,5})", re.ASCII)

FULL = "100%"
"""The budget of methods that have a single size."""


@dataclass(frozen=True)
class Budget:
    """A number of embedding parameters, as a share of the full table or absolute.

    ``5%`` of N·D; ``50k`` or ``50000`` parameters; ``2MB`` of float32 values (500,000 parameters).

    >>> Budget("5%").parameters(full=2000), Budget("2MB").parameters(full=10**6)
    (100, 500000)
    """

    text: str

    def __post_init__(self) -> None:
        """Refuse what is not a budget."""
        number, unit = self._parts()
        if number <= 0:
            raise PlanError(f"budget {self.text!r} must be above zero")
        if unit == "%" and number > 100:
            raise PlanError(f"budget {self.text!r} is above the full table; write at most 100%")

    def parameters(self, full: int) -> int:
        """The budget of a table whose full size is ``full`` = N·D; rounded down.

        Raises
        ------
        PlanError
            If it is above the full table or less than one parameter.
        """
        count = self._count(full)
        if count > full:
            raise PlanError(
                f"budget {self.text!r} is {count:,} parameters, above the full table's {full:,}"
            )
        if count < 1:
            raise PlanError(f"budget {self.text!r} is less than one of {full:,} parameters")
        return count

    def within(self, full: int) -> int:
        """As :meth:`parameters`, but the full table's size where the budget is above it."""
        return full if self._count(full) > full else self.parameters(full)

    def refuse_lost_sign(self, n_features: int, full: int) -> None:
        """Refuse ``5`` where ``5%`` must be meant: at most 100 and below one for each feature.

        Raises
        ------
        PlanError
            With both ways to write it.
        """
        number, unit = self._parts()
        if not unit and number <= 100 and number < n_features:
            raise PlanError(
                f"budget {self.text!r} is a number of parameters, {self.text.strip()} of "
                f"{full:,}; write {self.text.strip()}% for a share of the full table, or "
                f"{float(number / 1000):g}k if so few parameters are meant"
            )

    @property
    def amount(self) -> tuple[Fraction, bool]:
        """Its number, of per cent or of parameters, and whether it is a share of the full table.

        >>> Budget("5%").amount == Budget("5.0%").amount, Budget("50k").amount
        (True, (Fraction(50000, 1), False))
        """
        number, unit = self._parts()
        return (number, True) if unit == "%" else (number * _PARAMETERS[unit], False)

    @property
    def order(self) -> int:
        """To sort by without a full table: shares of it come above absolute numbers.

        >>> sorted(["50k", "5%", "2MB", "20%"], key=lambda text: Budget(text).order)
        ['50k', '2MB', '5%', '20%']
        """
        return self._count(10**12)

    def _count(self, full: int) -> int:
        number, unit = self._parts()
        return int(full * number / 100) if unit == "%" else int(number * _PARAMETERS[unit])

    def _parts(self) -> tuple[Fraction, str]:
        match = _BUDGET.fullmatch(self.text.strip())
        if match is None:
            raise PlanError(
                f"budget {self.text!r} is not a size; write a share of the full table (5%), "
                "a number of parameters (50k) or a size in bytes (2MB)"
            )
        # Exact: 0.57% of 10,000 is 57, in floating point 56.
        return Fraction(match["number"]), (match["unit"] or "").lower()


def parse_seconds(text: str) -> float:
    """Read a time: a number above zero, and a unit of s, m (or min), h or d; none is seconds.

    Raises
    ------
    PlanError
        If ``text`` is not a time.

    >>> [parse_seconds(text) for text in ("90", "90s", "10m", "10 min", "1.5h", "2d")]
    [90.0, 90.0, 600.0, 600.0, 5400.0, 172800.0]
    """
    return _parse(
        text, SECONDS, LONGEST, "time; write, say, 90s, 10m, 1.5h or 2d, at most 1000000d"
    )


def parse_bytes(text: str) -> int:
    """Read a size: a number above zero, and a unit such as MB (10⁶) or MiB (2²⁰); none is bytes.

    Raises
    ------
    PlanError
        If ``text`` is not a size.

    >>> [parse_bytes(text) for text in ("4096", "1.5GB", "1 GiB")]
    [4096, 1500000000, 1073741824]
    """
    return round(_parse(text, BYTES, LARGEST, "size; write, say, 500MB or 4GiB, at most 1024TiB"))


def duration(seconds: float) -> str:
    """Write a time in at most six characters, if it is below a hundred hours.

    >>> [duration(seconds) for seconds in (0.42, 12.3, 185, 3720, 200_000)]
    ['0.4s', '12s', '3m05s', '1h02m', '55h33m']
    """
    if seconds < 9.95:
        return f"{seconds:.1f}s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m{whole % 60:02d}s"
    return f"{whole // 3600}h{whole % 3600 // 60:02d}m"


def dataset_title(spec: str) -> str:
    """What people read in place of a data set's spec, if it has options.

    >>> dataset_title("synthetic:rows=5000000:features=1000000:fields=39")
    'drawn, 5M rows, 1M features, 39 fields'
    >>> dataset_title("ml-100k-ids"), dataset_title("synthetic:rows=2500:seed=1")
    ('ml-100k-ids', 'drawn, 2.5k rows, seed 1')
    """
    name, *options = spec.split(":")
    if not options:
        return spec
    words = ["drawn" if name == "synthetic" else name]
    for option in options:
        key, _, value = option.partition("=")
        counted = key in ("rows", "features", "fields") and value.isdecimal()
        words.append(f"{_round_count(int(value))} {key}" if counted else f"{key} {value}".strip())
    return ", ".join(words)


def _round_count(count: int) -> str:
    """A count with its unit where that loses no digit."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if count >= size and count % (size // 10) == 0:
            return f"{count / size:g}{unit}"
    return f"{count:,}"


def byte_size(n_bytes: float) -> str:
    """A number of bytes, with a unit of powers of a thousand.

    >>> byte_size(14_393_953_738), byte_size(2_500)
    ('14.4 GB', '2.5 kB')
    """
    for unit in ("bytes", "kB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.1f} {unit}" if unit != "bytes" else f"{n_bytes:.0f} bytes"
        n_bytes /= 1000
    return f"{n_bytes:.1f} GB"


def _parse(text: str, units: Mapping[str, float], most: float, no_what: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([A-Za-z]*)", text.strip(), re.ASCII)
    if match and match[2] in units and 0 < (found := float(match[1]) * units[match[2]]) <= most:
        return found
    raise PlanError(f"{text!r} is no {no_what}")


def parse_part(text: str) -> tuple[int, int]:
    """One of several parts, counted from 1.

    >>> parse_part("3/10")
    (3, 10)

    Raises
    ------
    PlanError
        If it is none.
    """
    found = _PART.fullmatch(text)
    if found and int(found["number"]) <= int(found["of"]):
        return int(found["number"]), int(found["of"])
    raise PlanError(f"{text!r} is no part; write 1/8 to 8/8, say")
