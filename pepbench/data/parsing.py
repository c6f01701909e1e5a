"""One block of separated text into columns, or into the first fault that it has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.csv as csv

from pepbench.data.text import TextColumn
from pepbench.data.tokens import dictionary_column, tokenise

UNIT_SEPARATOR = "\x1f"
"""Stands for separators of more than one character, which Arrow does not know."""


@dataclass(frozen=True)
class Fault:
    """What is wrong in a row of a block."""

    index: int
    message: str


@dataclass(frozen=True)
class Form:
    """How the lines of a file are to be read."""

    columns: tuple[str, ...]
    wanted: tuple[str, ...]
    kind: pa.DataType
    separator: str
    encoding: str
    quotes: bool
    raw: frozenset[str] = frozenset()
    """Columns that are not made into arrays, where our own reader will do."""

    def parse(self, block: bytes) -> dict[str, pa.Array | TextColumn] | Fault:
        """The wanted columns of a block as text, or its first fault."""
        fault = self._visible_fault(block)
        if fault is not None:
            # A fault that Arrow finds may lie in an earlier row.
            if fault.index == 0:
                return fault
            block = b"\n".join(block.split(b"\n", fault.index)[:-1]) + b"\n"
        delimiter = self.separator
        if len(delimiter) > 1:
            delimiter = UNIT_SEPARATOR
            block = block.replace(self.separator.encode(), UNIT_SEPARATOR.encode())
        if self.plain:
            parsed = self._tokenised(block, delimiter)
        else:
            parsed = self._read(block, delimiter)
        return parsed if fault is None or isinstance(parsed, Fault) else fault

    @property
    def plain(self) -> bool:
        """Whether our own, quicker reader will do."""
        is_dictionary = pa.types.is_dictionary(self.kind)
        return is_dictionary and not self.quotes and self.encoding == "utf-8"

    def _tokenised(self, block: bytes, delimiter: str) -> dict[str, pa.Array | TextColumn] | Fault:
        found = tokenise(block, ord(delimiter), len(self.columns))
        if isinstance(found, tuple):
            row, n_columns = found
            return Fault(row, f"{n_columns} columns, expected {len(self.columns)}")
        columns = dict(zip(self.columns, found, strict=True))
        if self.raw and not block.isascii() and (fault := self._undecodable(block)):
            return fault
        try:
            return {
                name: columns[name] if name in self.raw else dictionary_column(columns[name])
                for name in self.wanted
            }
        except pa.ArrowInvalid as error:
            return self._undecodable(block) or Fault(0, f"cannot be read: {error}")

    def _read(self, block: bytes, delimiter: str) -> dict[str, pa.Array] | Fault:
        invalid: list[csv.InvalidRow] = []

        def note(row: csv.InvalidRow) -> str:
            invalid.append(row)
            return "error"

        try:
            table = csv.read_csv(
                pa.BufferReader(block),
                read_options=csv.ReadOptions(
                    use_threads=False,  # row numbers are known to a single thread only
                    block_size=max(2, len(block)) + 1,
                    column_names=self.columns,
                    encoding=self.encoding,
                ),
                parse_options=csv.ParseOptions(
                    delimiter=delimiter,
                    quote_char='"' if self.quotes else False,
                    escape_char=False,
                    ignore_empty_lines=False,
                    invalid_row_handler=note,
                ),
                convert_options=csv.ConvertOptions(
                    column_types=dict.fromkeys(self.columns, self.kind),
                    include_columns=self.wanted,
                    strings_can_be_null=False,
                ),
            )
        except (pa.ArrowInvalid, UnicodeDecodeError) as error:
            if invalid:
                found = invalid[0].actual_columns
                return Fault(
                    invalid[0].number - 1, f"{found} columns, expected {len(self.columns)}"
                )
            return self._undecodable(block) or Fault(0, f"cannot be read: {error}")
        return {name: _one_array(table[name]) for name in self.wanted}

    def _visible_fault(self, block: bytes) -> Fault | None:
        """NUL bytes, open quotes and a missing last newline, whichever comes first."""
        faults = []
        nul = block.find(b"\0")
        if nul >= 0:
            faults.append(Fault(block.count(b"\n", 0, nul), "has a NUL byte; is it a text file?"))
        open_quote = _first_open_quote(block) if self.quotes and b'"' in block else None
        if open_quote is not None:
            faults.append(
                Fault(
                    open_quote,
                    "a quote is opened and not closed on the same line; close it, or take line "
                    "breaks out of quoted values, or convert the file to Parquet",
                )
            )
        if not block.endswith(b"\n"):
            faults.append(
                Fault(
                    block.count(b"\n"),
                    "the file ends without a newline, so it was cut; get it again, or end it with "
                    "a newline if it is whole",
                )
            )
        return min(faults, key=lambda fault: fault.index, default=None)

    def _undecodable(self, block: bytes) -> Fault | None:
        for index, line in enumerate(block.split(b"\n")):
            try:
                line.decode(self.encoding)
            except UnicodeDecodeError:
                column = next(
                    (
                        name
                        for name, text in zip(
                            self.columns, line.split(self.separator.encode()), strict=False
                        )
                        if not _decodes(text, self.encoding)
                    ),
                    None,
                )
                where = f" in column {column}" if column else ""
                return Fault(index, f"not {self.encoding} text{where}; convert the file")
        return None


def _one_array(column: pa.ChunkedArray) -> pa.Array:
    return column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()


def _first_open_quote(block: bytes) -> int | None:
    """Index of the first line with an odd number of quotes."""
    content = np.frombuffer(block, dtype=np.uint8)
    ends = np.flatnonzero(content == ord("\n"))
    per_line = np.bincount(np.searchsorted(ends, np.flatnonzero(content == ord('"'))))
    odd = np.flatnonzero(per_line % 2)
    return int(odd[0]) if len(odd) else None


def _decodes(text: bytes, encoding: str) -> bool:
    try:
        text.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
