"""Reading text files of separated columns in chunks, with errors that name file and row.

Everything is read as text; :meth:`Chunk.integers` and :meth:`Chunk.positions` turn columns into
numbers. A row's number is that of its line in the file, from 1, a header included.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as csv
from numpy.typing import NDArray

from pepbench.errors import DataError

CHUNK_BYTES = 1 << 22


@dataclass(frozen=True, eq=False)
class Chunk:
    """Some consecutive rows of a file, all columns as text."""

    path: Path
    first_row: int
    """Number of the first row."""
    columns: dict[str, pa.Array]

    def __len__(self) -> int:
        return len(next(iter(self.columns.values())))

    def __getitem__(self, column: str) -> pa.Array:
        return self.columns[column]

    def error(self, index: int, message: str) -> DataError:
        """The error for the row at a position in this chunk."""
        return DataError(f"{self.path}, row {self.first_row + index}: {message}")

    def integers(self, column: str, low: int, high: int) -> NDArray[np.int64]:
        """A column as whole numbers, (n,); raises :class:`DataError` outside [low, high]."""
        texts = self.columns[column]
        whole = pc.match_substring_regex(texts, r"^-?[0-9]{1,18}$")
        numbers = pc.if_else(whole, texts, None).cast(pa.int64())
        legal = pc.and_(pc.greater_equal(numbers, low), pc.less_equal(numbers, high))
        wrong = np.flatnonzero(~pc.fill_null(legal, False).to_numpy(zero_copy_only=False))
        if len(wrong):
            index = int(wrong[0])
            raise self.error(
                index,
                f"{column} is {texts[index].as_py()!r}, expected a whole number "
                f"from {low} to {high}",
            )
        return np.asarray(numbers.to_numpy(zero_copy_only=False), dtype=np.int64)

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


def read_chunks(
    path: Path,
    columns: Sequence[str],
    *,
    separator: str,
    encoding: str = "utf-8",
    header: bool = False,
    chunk_bytes: int = CHUNK_BYTES,
) -> Iterator[Chunk]:
    """Read a file in chunks of about ``chunk_bytes``.

    Parameters
    ----------
    path
        The file; its last line must end in a newline, else it counts as cut.
    columns
        Names of all columns.
    separator
        One character. There is no quoting.
    encoding
        How text is encoded.
    header
        Whether the first line must be ``columns``.
    chunk_bytes
        Longer than any row.

    Raises
    ------
    DataError
        If the file is empty or cut, its header differs, a row has too few or too many columns,
        or text cannot be decoded.
    """
    _check_end(path)
    if header:
        _check_header(path, columns, separator, encoding)
    first_row = 2 if header else 1
    invalid: list[csv.InvalidRow] = []

    def note(row: csv.InvalidRow) -> str:
        invalid.append(row)
        return "error"

    try:
        reader = csv.open_csv(
            path,
            read_options=csv.ReadOptions(
                use_threads=False,  # row numbers are known to a single thread only
                block_size=chunk_bytes,
                column_names=columns,
                skip_rows=int(header),
                encoding=encoding,
            ),
            parse_options=csv.ParseOptions(
                delimiter=separator,
                quote_char=False,
                escape_char=False,
                ignore_empty_lines=False,
                invalid_row_handler=note,
            ),
            convert_options=csv.ConvertOptions(
                column_types=dict.fromkeys(columns, pa.string()), strings_can_be_null=False
            ),
        )
        for batch in reader:
            yield Chunk(path, first_row, dict(zip(columns, batch.columns, strict=True)))
            first_row += len(batch)
    except (pa.ArrowInvalid, UnicodeDecodeError) as error:
        if invalid:
            raise DataError(
                f"{path}, row {invalid[0].number}: {invalid[0].actual_columns} columns, "
                f"expected {len(columns)}"
            ) from None
        _check_encoding(path, encoding)
        raise DataError(f"{path} cannot be read: {error}") from None


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


def _check_end(path: Path) -> None:
    with path.open("rb") as file:
        if file.seek(0, os.SEEK_END) == 0:
            raise DataError(f"{path} is empty; get it again")
        file.seek(-1, os.SEEK_END)
        if file.read(1) == b"\n":
            return
        file.seek(0)
        last_row = 1 + sum(part.count(b"\n") for part in iter(lambda: file.read(CHUNK_BYTES), b""))
    raise DataError(
        f"{path}, row {last_row}: the file ends without a newline, so it was cut; get it again"
    )


def _check_header(path: Path, columns: Sequence[str], separator: str, encoding: str) -> None:
    with path.open("rb") as file:
        line = file.readline().decode(encoding, errors="replace").rstrip("\r\n")
    if line.split(separator) != list(columns):
        raise DataError(
            f"{path}, row 1: header {line[:200]!r}, expected {separator.join(columns)!r}"
        )


def _check_encoding(path: Path, encoding: str) -> None:
    with path.open("rb") as file:
        for row, line in enumerate(file, start=1):
            try:
                line.decode(encoding)
            except UnicodeDecodeError:
                raise DataError(f"{path}, row {row}: not {encoding} text") from None
