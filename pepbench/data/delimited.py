"""Reading text files of separated columns in chunks, with errors that name file and row.

Everything is read as text; :meth:`Chunk.integers` and :meth:`Chunk.positions` turn columns into
numbers. A row's number is that of its line in the file, from 1, a header included.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from csv import QUOTE_NONE
from csv import reader as reader_of_rows
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pepbench.data.encoding import log_squared
from pepbench.data.integer_columns import bucketed_counts, whole_numbers_of
from pepbench.data.line_blocks import BLOCK_BYTES, first_line, line_blocks
from pepbench.data.parsing import Fault, Form
from pepbench.data.pipeline import ordered_map
from pepbench.data.text import Column, TextColumn
from pepbench.data.tokens import dictionary_column
from pepbench.errors import DataError


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some consecutive rows of a file, all columns as text."""

    path: Path
    first_row: int
    """Number of the first row."""
    columns: dict[str, Column]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, column: str) -> Column:
        return self.columns[column]

    def error(self, index: int, message: str) -> DataError:
        """The error for the row at a position in this chunk."""
        return DataError(f"{self.path}, row {self.first_row + index}: {message}")

    def integers(self, column: str, low: int, high: int) -> NDArray[np.int64]:
        """A column as whole numbers, (n,); raises :class:`DataError` outside [low, high]."""
        values = self.columns[column]
        if isinstance(values, TextColumn):
            quick = whole_numbers_of(values)
            if quick is not None and quick.min() >= low and quick.max() <= high:
                return quick
        texts, indices = self.distinct(column)
        numbers, legal = whole_numbers(texts, low, high)
        self.refuse(column, ~legal, indices, f"expected a whole number from {low} to {high}")
        return numbers[indices]

    def log_squared(self, column: str, low: int, high: int) -> pa.DictionaryArray:
        """A column of whole numbers in the buckets of :func:`log_squared`, (n,); blanks stay.

        Raises :class:`DataError` outside [low, high].
        """
        values = self.columns[column]
        if isinstance(values, TextColumn):
            quick = bucketed_counts(values, low, high)
            if quick is not None:
                return quick
        texts, indices = self.distinct(column)
        numbers, legal = whole_numbers(texts, low, high)
        blank = pc.equal(texts, "")
        wrong = ~legal & ~blank.to_numpy(zero_copy_only=False)
        expected = f"expected a whole number from {low} to {high}, or nothing"
        self.refuse(column, wrong, indices, expected)
        new = pc.if_else(blank, "", log_squared(numbers))
        return pa.DictionaryArray.from_arrays(pa.array(indices), new)

    def distinct(self, column: str) -> tuple[pa.StringArray, NDArray[np.int32]]:
        """The different values of a column, (k,), and which of them each row has, (n,)."""
        values = self.columns[column]
        if isinstance(values, TextColumn):
            values = dictionary_column(values)
        elif not pa.types.is_dictionary(values.type):
            if values.null_count or not pa.types.is_string(values.type):
                values = pc.fill_null(values.cast(pa.string()), "")
            values = values.dictionary_encode()
        return values.dictionary, values.indices.to_numpy()

    def refuse(
        self, column: str, wrong: NDArray[np.bool_], indices: NDArray[np.int32], expected: str
    ) -> None:
        """Name the first row with one of the values that are ``wrong``, (k,), if there is one."""
        if wrong.any():
            index = int(np.argmax(wrong[indices]))
            values = self.columns[column]
            is_text = isinstance(values, TextColumn)
            value = values.text(index) if is_text else values[index].as_py()
            raise self.error(index, f"{column} is {value!r}, {expected}")

    def positions(self, column: str, known: pa.Array, where: str) -> NDArray[np.int64]:
        """Where each value of a column is in ``known``, (n,); raises for those that are not."""
        found = pc.index_in(self.columns[column], value_set=known)
        wrong = np.flatnonzero(found.is_null().to_numpy(zero_copy_only=False))
        if len(wrong):
            index = int(wrong[0])
            value = self.columns[column][index].as_py()
            raise self.error(index, f"{column} {value!r} is not in {where}")
        return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.int64)

    def check_unique(self, column: str) -> None:
        """Raise :class:`DataError` if a value occurs twice."""
        seen: set[str] = set()
        for index, value in enumerate(self.columns[column].to_pylist()):
            if value in seen:
                raise self.error(index, f"{column} {value!r} occurs a second time")
            seen.add(value)


def whole_numbers(
    texts: pa.StringArray, low: int, high: int
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Texts as whole numbers, (k,), and which of them are such and in [low, high], (k,)."""
    whole = pc.not_equal(texts, "")
    try:
        # Most columns are sound; the regular expression costs ten times as much as the cast.
        cast = pc.if_else(whole, texts, "0").cast(pa.int64())
        if pc.any(pc.match_substring(texts, "x")).as_py():
            raise pa.ArrowInvalid("Arrow reads hexadecimal numbers; we do not")
    except pa.ArrowInvalid:
        whole = pc.match_substring_regex(texts, r"^-?[0-9]{1,18}$")
        cast = pc.if_else(whole, texts, "0").cast(pa.int64())
    numbers = np.asarray(cast.to_numpy())
    legal = whole.to_numpy(zero_copy_only=False) & (numbers >= low) & (numbers <= high)
    return numbers, legal


def read_chunks(
    path: Path,
    columns: Sequence[str],
    *,
    separator: str,
    encoding: str = "utf-8",
    header: bool = False,
    quotes: bool = False,
    wanted: Sequence[str] | None = None,
    dictionaries: bool = False,
    raw: Sequence[str] = (),
    chunk_bytes: int = BLOCK_BYTES,
) -> Iterator[Chunk]:
    """Read a file, plain or compressed, in chunks of about ``chunk_bytes``, parsed in threads.

    Parameters
    ----------
    path
        The file; its last line must end in a newline, else it counts as cut.
    columns
        Names of all columns.
    separator
        One character or more.
    encoding
        How text is encoded.
    header
        Whether the first line must be ``columns``.
    quotes
        Whether values may stand in double quotes, two for one; never over several lines.
    wanted
        Names of the columns to keep; all if not given.
    dictionaries
        Whether columns become dictionary arrays: quicker where most values occur often, but known
        to fewer of Arrow's functions.
    raw
        With ``dictionaries``, names of columns that may come as :class:`TextColumn`: quicker still,
        for columns that are only encoded.
    chunk_bytes
        How much of the file becomes a chunk.

    Raises
    ------
    DataError
        If the file is empty or cut, its header differs, a row has too few or too many columns, an
        open quote or a NUL byte, or text cannot be decoded.
    """
    kind = pa.dictionary(pa.int32(), pa.string()) if dictionaries else pa.string()
    form = Form(
        tuple(columns), tuple(wanted or columns), kind, separator, encoding, quotes, frozenset(raw)
    )
    blocks: Iterator[bytes] = line_blocks(path, chunk_bytes)
    first_row = 1
    if header:
        blocks = without_header(path, blocks, form)
        first_row = 2
    for parsed in ordered_map(form.parse, blocks):
        if isinstance(parsed, Fault):
            raise DataError(f"{path}, row {first_row + parsed.index}: {parsed.message}")
        yield Chunk(path, first_row, parsed)
        first_row += len(next(iter(parsed.values())))


def header_of(path: Path, separator: str, encoding: str = "utf-8", *, quotes: bool) -> list[str]:
    """Names in the first line of a file.

    Raises
    ------
    DataError
        If two are equal, one is empty, or the line cannot be decoded.
    """
    line = first_line(path).removeprefix(b"\xef\xbb\xbf")
    try:
        text = line.decode(encoding)
    except UnicodeDecodeError:
        raise DataError(f"{path}, row 1: not {encoding} text; convert the file") from None
    reader = reader_of_rows([text], delimiter=separator, quoting=0 if quotes else QUOTE_NONE)
    names = next(reader, [])
    for name in names:
        if not name:
            raise DataError(f"{path}, row 1: column {names.index(name) + 1} has no name; add one")
        if names.count(name) > 1:
            raise DataError(f"{path}, row 1: column {name!r} occurs twice; rename one")
    return names


def without_header(path: Path, blocks: Iterator[bytes], form: Form) -> Iterator[bytes]:
    """Take off the first line, which must hold the names of the columns."""
    block = next(blocks)
    line, newline, rest = block.partition(b"\n")
    text = line.decode(form.encoding, errors="replace").rstrip("\r")
    if not newline:
        raise DataError(
            f"{path}, row 1: the file ends without a newline, so it was cut; get it again"
        )
    names = text.removeprefix("\ufeff").split(form.separator)
    if form.quotes:
        names = [name.removeprefix('"').removesuffix('"') for name in names]
    if tuple(names) != form.columns:
        expected = form.separator.join(form.columns)
        raise DataError(f"{path}, row 1: header {text[:200]!r}, expected {expected!r}")
    return chain([rest] if rest else [], blocks)


def read_whole(
    path: Path,
    columns: Sequence[str],
    *,
    separator: str,
    encoding: str = "utf-8",
    header: bool = False,
) -> Chunk:
    """Read a file that fits in memory; see :func:`read_chunks`."""
    chunks = list(read_chunks(path, columns, separator=separator, encoding=encoding, header=header))
    if not chunks:
        raise DataError(f"{path} holds no rows")
    whole = {name: pa.concat_arrays([chunk[name] for chunk in chunks]) for name in columns}
    return Chunk(path, chunks[0].first_row, whole)
