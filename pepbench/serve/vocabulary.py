"""Vocabularies: raw values of a field to codes within the field, 0 for unseen values."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pepbench.data.values import KINDS, MISSING, Kind, number, text
from pepbench.errors import ServeError
from pepbench.serve.columns import column, refuse_several
from pepbench.serve.pooling import EXPONENTS, PADDING, Pool
from pepbench.serve.transforms import LARGEST_COUNT, ValueTransform, bucket, text_hash

_OCTETS = (bytes, bytearray, memoryview)
_MANTISSA = np.uint64(2**64 - 2**36)
"""The sign, the exponent and the first 16 binary digits of a double: bins compare no more."""


@dataclass(frozen=True)
class ServedBag:
    """How the values of a row in a multi-valued field are read and pooled."""

    max_values: int
    """Values of a row that are kept: the first ones."""
    pool: Pool
    separator: str = ""
    """What is between two values of a text; empty where a text is one value."""

    def values_of(self, cell: Any) -> list[Any]:
        """The values of one row: a list as it is, a text taken apart, no values if missing."""
        if self.separator and isinstance(cell, _OCTETS):
            cell = text(cell)
        if isinstance(cell, str):
            parts = cell.split(self.separator) if self.separator else [cell]
            return [part.strip() if self.separator else part for part in parts]
        if isinstance(cell, Iterable) and not isinstance(cell, bytes):
            return list(cell)
        return [cell]


@dataclass(frozen=True, eq=False)
class FieldVocabulary:
    """The vocabulary, or the bins, of one field.

    Parameters
    ----------
    name
        Of the field.
    cardinality
        Features, the code for unseen values included.
    values
        Raw values as text: the first has code 1. Empty where numbers are binned.
    edges
        Rising bounds of bins; None for categories. A number below the first is in bin 1, one at
        or above the last in bin ``len(edges) + 1``.
    missing
        Code of a missing number; 0 where training had none.
    kind
        What the raw values are: their text depends on it (:mod:`pepbench.data.values`).
    bag
        Of a multi-valued field; None for a field with one value a row.
    missing_words
        Words that stand for a missing value.
    transform
        What raw values become before they are looked up; None: they are as they are.

    Examples
    --------
    >>> FieldVocabulary("city", 3, ("Rome", "Oslo")).codes(["Oslo", "Atlantis"]).tolist()
    [2, 0]
    >>> FieldVocabulary("age", 4, (), (18.0,), 3).codes([17, "18", None]).tolist()
    [1, 2, 3]
    >>> tags = FieldVocabulary("tags", 3, ("a", "b"), bag=ServedBag(3, "mean", "|"))
    >>> tags.slot_codes([["b", "new"], "a|b", None]).tolist()
    [[2, 0, -1], [1, 2, -1], [-1, -1, -1]]
    >>> FieldVocabulary("visits", 3, ("SP2", "47"), transform="log").codes([2, "1000"]).tolist()
    [1, 2]
    """

    name: str
    cardinality: int
    values: tuple[str, ...]
    edges: tuple[float, ...] | None = None
    missing: int = 0
    kind: Kind = "text"
    missing_words: tuple[str, ...] = ()
    bag: ServedBag | None = None
    transform: ValueTransform | None = None

    @property
    def slots(self) -> int:
        """Columns of codes that the field takes."""
        return 1 if self.bag is None else self.bag.max_values

    def slot_codes(self, values: Iterable[Any]) -> NDArray[np.int64]:
        """Codes within the field: n raw values, or lists of them, → (n, slots), padded with −1."""
        if self.bag is None:
            return self.codes(values)[:, None]
        missing = {MISSING, *self._missing_texts}
        rows = [self._kept(cell, missing) for cell in column(self.name, values)]
        codes = np.full((len(rows), self.slots), PADDING, dtype=np.int64)
        kept = [row[: self.slots] for row in rows]
        lengths = np.array([len(row) for row in kept], dtype=np.int64)
        filled = np.arange(self.slots) < lengths[:, None]
        codes[filled] = self.codes([value for row in kept for value in row])
        return codes

    def _kept(self, cell: Any, missing: Collection[str]) -> list[Any]:
        """The values of one row of a multi-valued field that are not missing."""
        assert self.bag is not None
        # As in training, where a text is missing as a whole before it is taken apart.
        if isinstance(cell, (str, *_OCTETS)) and text(cell) in missing:
            return []
        return [one for one in self.bag.values_of(cell) if text(one, self.kind) not in missing]

    @cached_property
    def _code_of(self) -> dict[str | None, int]:
        code_of: dict[str | None, int] = dict(
            zip(self.values, range(1, self.cardinality), strict=False)
        )
        return code_of | dict.fromkeys(self._missing_texts, code_of.get(MISSING, 0))

    @cached_property
    def _missing_texts(self) -> frozenset[str]:
        return frozenset(text(word, self.kind) for word in self.missing_words)

    def codes(self, values: Iterable[Any]) -> NDArray[np.int64]:
        """Codes within the field: (n,) raw values → (n,).

        Raises
        ------
        ServeError
            If the values are no column, or one of them is several values.
        """
        values = column(self.name, values)
        if self.edges is not None:
            words = self._missing_texts
            codes = self._bins([_number(value, words, self.kind) for value in values])
        elif self.transform is not None:
            written = map(self._transformed, values)
            codes = np.array([self._code_of.get(w, 0) for w in written], dtype=np.int64)
        else:
            codes = np.fromiter(map(self._code, values), dtype=np.int64, count=len(values))
        refuse_several(self.name, [values[row] for row in np.flatnonzero(codes == 0)])
        return codes

    def _code(self, value: Any) -> int:
        if self.kind == "text" and type(value) is str:
            return self._code_of.get(value, 0)
        written = text(value, self.kind)
        code = self._code_of.get(written)
        if code is None and self.kind == "text" and written != MISSING:
            # A column of text may hold what pandas reads as another type: True, 1.0.
            code = self._code_of.get(str(value))
        return code or 0

    def _transformed(self, value: Any) -> str | None:
        """What the vocabulary may have of a raw value; None for what is no count."""
        written = text(value, self.kind)
        if written == MISSING or written in self._missing_texts:
            return MISSING
        if isinstance(self.transform, int):
            return str(text_hash(written.encode(errors="replace")) % self.transform)
        count = number(value)
        if count is None or not count.is_integer() or abs(count) > LARGEST_COUNT:
            return None
        return bucket(int(count))

    def _bins(self, numbers: list[float | None]) -> NDArray[np.int64]:
        known = np.array([math.nan if v is None else v for v in numbers], dtype=np.float64)
        cut = (known.view(np.uint64) & _MANTISSA).view(np.float64)
        n_bins = self.cardinality - 1 - (self.missing > 0)
        codes = 1 + np.searchsorted(np.array(self.edges), cut, side="right")
        codes = np.where(np.isnan(known), 0, np.minimum(codes, n_bins))
        return np.where([value is None for value in numbers], self.missing, codes)


def _number(value: Any, words: Collection[str], kind: Kind) -> float | None:
    """A raw value as a number; None for a missing one, as are those among the words.

    A file of numbers has ``-999.0`` for a word ``-999``, and the reverse.
    """
    found = number(value)
    is_word = bool(words) and (
        text(value, kind) in words or any(found == number(word) for word in words)
    )
    return None if is_word else found


def finite_numbers(
    name: str, values: Iterable[Any], words: frozenset[str] = frozenset()
) -> NDArray[np.float64]:
    """Raw values of a dense field as numbers, (n,), NaN where missing, or among the words.

    Raises
    ------
    ServeError
        If a value is no number, or infinite.
    """
    numbers = []
    for row, value in enumerate(column(name, values)):
        found = _number(value, words, "text")
        if found is not None and not math.isfinite(found):
            raise ServeError(f"row {row + 1}: {name} is {value!r}, expected a number")
        numbers.append(math.nan if found is None else found)
    return np.array(numbers, dtype=np.float64)


def read_fields(entries: object) -> tuple[FieldVocabulary, ...]:
    """The fields that ``meta.json`` describes.

    Raises
    ------
    ServeError
        If a description is not complete, or its values are not as many as it says.
    """
    try:
        return tuple(_field(entry) for entry in entries)  # type: ignore[attr-defined]
    except (TypeError, KeyError, ValueError) as error:
        raise ServeError(f"meta.json describes its fields wrongly: {error!r}") from None


def _field(entry: Mapping[str, Any]) -> FieldVocabulary:
    values: Sequence[str] = entry.get("values", ())
    edges = entry.get("edges")
    field = FieldVocabulary(
        name=str(entry["name"]),
        cardinality=int(entry["cardinality"]),
        values=tuple(values),
        edges=None if edges is None else tuple(float(edge) for edge in edges),
        missing=int(entry.get("missing", 0)),
        kind=entry.get("kind", "text"),
        bag=_bag(entry["bag"]) if "bag" in entry else None,
        missing_words=tuple(map(str, entry.get("missing_words", ()))),
        transform="log" if entry.get("log") else int(entry["hash"]) if "hash" in entry else None,
    )
    if field.kind not in KINDS:
        raise ValueError(f"kind {field.kind!r} of {field.name!r}")
    if isinstance(field.transform, int) and field.transform < 1:
        raise ValueError(f"hash of {field.name!r}")
    if not 1 <= field.cardinality < 2**31 or not 0 <= field.missing < field.cardinality:
        raise ValueError(f"cardinality of {field.name!r}")
    if field.edges is None and len(field.values) != field.cardinality - 1:
        raise ValueError(f"{field.name!r} has {len(field.values)} values")
    return field


def _bag(entry: Mapping[str, Any]) -> ServedBag:
    bag = ServedBag(int(entry["max_values"]), entry["pool"], str(entry["separator"]))
    if bag.pool not in EXPONENTS or not 1 <= bag.max_values < 2**16:
        raise ValueError(f"bag {dict(entry)}")
    return bag
