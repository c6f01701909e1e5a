"""A chunk: some consecutive rows of a file, checked column by column with errors that name the row.

Columns are Arrow arrays of n values. Text is a dictionary array, so that a check looks at each
different value once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pepbench.data.columns import as_text, kind_of_type
from pepbench.data.encoding import log_squared
from pepbench.data.values import Kind, text
from pepbench.errors import DataError, quoted

NUMBERS = ("exact", "float64", "float32", "float16")
TEXT = pa.dictionary(pa.int32(), pa.string())
"""Type of a column of text."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some consecutive rows of a file."""

    path: Path
    first_row: int
    """Number of the first row; in text files, of its line, from 1, a header included."""
    columns: dict[str, pa.Array]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, column: str) -> pa.Array:
        return self.columns[column]

    def error(self, index: int, message: str) -> DataError:
        """The error for the row at a position in this chunk."""
        return DataError(f"{self.path}, row {self.first_row + index}: {message}")

    def refuse_header(self) -> None:
        """Raise :class:`DataError` for a row that names the columns, as joined files have it."""
        names_them = np.ones(len(self), dtype=np.bool_)
        for name in self.columns:
            texts, indices = self.distinct(name)
            is_name = pc.is_in(texts, value_set=pa.array([name, f"\ufeff{name}"]))
            names_them &= is_name.to_numpy(zero_copy_only=False)[indices]
            if not names_them.any():
                return
        index = int(np.argmax(names_them))
        raise self.error(index, "holds the names of the columns again; remove this row")

    def kind(self, column: str) -> Kind:
        """What a column holds; text if it holds several values a row."""
        return kind_of_type(self.columns[column].type) or "text"

    def with_missing(self, words: Sequence[str]) -> Chunk:
        """The same rows with null for values that one of the words stands for."""
        columns = {}
        for name, column in self.columns.items():
            if pa.types.is_nested(column.type):  # Its values are compared one by one later.
                columns[name] = column
                continue
            texts, indices = self.distinct(name)
            meant = pa.array({text(word, self.kind(name)) for word in words}, pa.string())
            mask = pc.is_in(texts, value_set=meant).to_numpy(zero_copy_only=False)[indices]
            rows = np.arange(len(column))
            columns[name] = column.take(pa.array(rows, mask=mask)) if mask.any() else column
        return replace(self, columns=columns)

    def distinct(self, column: str) -> tuple[pa.StringArray, NDArray[np.int32]]:
        """The values of a column as text, (k,), and the position of each row's among them, (n,).

        Of a column that comes as a dictionary they are those of the dictionary.
        """
        values = as_text(self.columns[column])
        if not pa.types.is_dictionary(values.type):
            values = values.dictionary_encode()
        return values.dictionary, values.indices.to_numpy()

    def refuse(
        self, column: str, wrong: NDArray[np.bool_], indices: NDArray[np.integer], expected: str
    ) -> None:
        """Raise for the first row with one of the distinct values that are ``wrong``, (k,)."""
        if wrong.any():
            index = int(np.argmax(wrong[indices]))
            written = as_text(self.columns[column][index : index + 1])[0].as_py()
            is_number = written and self.kind(column) in NUMBERS
            raise self.error(
                index, f"{column} is {written if is_number else quoted(written)}, {expected}"
            )

    def integers(self, column: str, low: int, high: int) -> NDArray[np.int64]:
        """A column as whole numbers, (n,); raises :class:`DataError` outside [low, high]."""
        texts, indices = self.distinct(column)
        numbers, legal = whole_numbers(texts, low, high)
        self.refuse(column, ~legal, indices, f"expected a whole number from {low} to {high}")
        return numbers[indices]

    def log_squared(self, column: str, low: int, high: int) -> pa.DictionaryArray:
        """A column of whole numbers in the buckets of :func:`log_squared`, (n,); blanks stay blank.

        Raises :class:`DataError` outside [low, high].
        """
        numbers, blank, indices = self._numbers_or_blanks(column, low, high)
        buckets = pc.if_else(pa.array(blank), "", log_squared(numbers))
        return pa.DictionaryArray.from_arrays(pa.array(indices), buckets, safe=False)

    def counts(self, column: str, low: int, high: int) -> NDArray[np.float64]:
        """A column of whole numbers, (n,), NaN for blanks.

        Raises :class:`DataError` outside [low, high].
        """
        numbers, blank, indices = self._numbers_or_blanks(column, low, high)
        return np.where(blank, np.nan, numbers)[indices]

    def _numbers_or_blanks(
        self, column: str, low: int, high: int
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_], NDArray[np.int32]]:
        """The different numbers of a column, which of them are blank, and each row's place."""
        texts, indices = self.distinct(column)
        numbers, legal = whole_numbers(texts, low, high)
        blank = pc.equal(texts, "").to_numpy(zero_copy_only=False)
        expected = f"expected a whole number from {low} to {high}, or nothing"
        self.refuse(column, ~legal & ~blank, indices, expected)
        return numbers, blank, indices

    def positions(self, column: str, known: pa.Array, where: str) -> NDArray[np.int64]:
        """The position of each value of a column in ``known``, (n,).

        Raises :class:`DataError` for a value that is not there; ``where`` names the place.
        """
        texts, indices = self.distinct(column)
        found = pc.fill_null(pc.index_in(texts, value_set=known.cast(pa.string())), -1)
        positions: NDArray[np.int64] = found.to_numpy().astype(np.int64)[indices]
        if positions.min(initial=0) < 0:
            index = int(np.argmin(positions))
            value = self.columns[column][index].as_py()
            raise self.error(index, f"{column} {quoted(value)} is not in {where}")
        return positions

    def check_unique(self, column: str) -> None:
        """Raise :class:`DataError` if a value occurs twice."""
        seen: set[str] = set()
        for index, value in enumerate(self.columns[column].to_pylist()):
            if value in seen:
                raise self.error(index, f"{column} {quoted(value)} occurs a second time")
            seen.add(value)


def whole_numbers(
    texts: pa.StringArray, low: int, high: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Texts as whole numbers, (k,), and which of them are such and in [low, high], (k,)."""
    whole = pc.not_equal(texts, "")
    try:
        # Most columns are sound; the regular expression costs ten times as much as the cast.
        cast = pc.if_else(whole, texts, "0").cast(pa.int64())
        if pc.any(pc.match_substring(texts, "x", ignore_case=True)).as_py():
            raise pa.ArrowInvalid("Arrow reads hexadecimal numbers; we do not")
    except pa.ArrowInvalid:
        whole = pc.match_substring_regex(texts, r"^-?[0-9]{1,18}$")
        cast = pc.if_else(whole, texts, "0").cast(pa.int64())
    numbers = np.asarray(cast.to_numpy())
    legal = whole.to_numpy(zero_copy_only=False) & (numbers >= low) & (numbers <= high)
    return numbers, legal
