"""Delimited text in chunks: Arrow parses blocks of lines in threads; errors name file and row.

All values are read as text, exactly as they stand. A row is a line: values hold no newlines, so
that a file can be cut anywhere and every error names a line of the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.csv as csv

from pepbench.data.pipeline import ordered_map
from pepbench.data.readers.chunk import TEXT, Chunk
from pepbench.data.readers.raw_files import BLOCK_BYTES, BYTE_ORDER_MARK, first_line, line_blocks
from pepbench.errors import DataError, unknown_name

UNIT_SEPARATOR = "\x1f"
"""Replaces separators of more than one character, which Arrow does not support."""
NUL_BYTE = "has a NUL byte; is it a text file?"
CARRIAGE_RETURN = "has a carriage return within the line; remove it"
OPEN_QUOTE = (
    "a quote is opened and not closed on the same line; close it, or take line breaks out of "
    "quoted values, or convert the file to Parquet"
)


@dataclass(frozen=True)
class BadRow:
    """The first row of a block that cannot be read, from 0, and what is wrong with it."""

    index: int
    message: str


@dataclass(frozen=True)
class Dialect:
    """How the lines of a file become values."""

    separator: str
    """One character or more."""
    encoding: str = "utf-8"
    quotes: bool = False
    """Whether values may stand in double quotes, two of them for one; never over several lines."""
    spaces: bool = False
    """Whether any spaces and tabs separate values, and none at the ends of a line."""

    def columns(
        self, block: bytes, names: Sequence[str], wanted: Sequence[str]
    ) -> dict[str, pa.DictionaryArray] | BadRow:
        """The ``wanted`` ones of the columns ``names`` of a block of lines."""
        error = None
        if self.spaces:
            block = squeezed(block)
        suspicious = (
            not block.endswith(b"\n")
            or b"\0" in block
            or (self.quotes and b'"' in block and any(map(_has_open_quote, block.split(b"\n"))))
        )
        if not suspicious:
            try:
                table = self._read(
                    block,
                    csv.ReadOptions(
                        use_threads=False,
                        block_size=max(2, len(block)) + len(BYTE_ORDER_MARK) + 1,
                        column_names=names,
                        encoding=self.encoding,
                    ),
                    csv.ConvertOptions(
                        column_types=dict.fromkeys(names, TEXT),
                        include_columns=wanted,
                        strings_can_be_null=False,
                        check_utf8=not block.isascii(),
                    ),
                )
                # A carriage return within a line would end a row, too, and a quote may stay open
                # at the end of its line, though the number of quotes is even.
                is_plain = b"\r" not in block and not (self.quotes and b'"' in block)
                if is_plain or len(table) == block.count(b"\n"):
                    return {name: table[name].chunk(0) for name in wanted}
            except (pa.ArrowInvalid, UnicodeDecodeError) as caught:
                error = caught
        return self._first_bad_row(block, names) or BadRow(0, f"cannot be read: {error}")

    def values(self, line: bytes) -> list[str]:
        """The values of one line, without its end.

        Raises
        ------
        UnicodeDecodeError
            If the line is not text in the encoding.
        """
        options = csv.ReadOptions(encoding=self.encoding, block_size=len(line) + 8)
        return list(self._read(line + b"\n", options).column_names)

    def ends_within(self, line: bytes) -> bool:
        """Whether a line has a carriage return outside of quotes, where a row would end."""
        return b"\r" in (re.sub(rb'"[^"]*"', b"", line) if self.quotes else line)

    def _read(
        self, block: bytes, read: csv.ReadOptions, convert: csv.ConvertOptions | None = None
    ) -> pa.Table:
        separator = self.separator
        if len(separator) > 1:
            separator = UNIT_SEPARATOR
            block = block.replace(self.separator.encode(), UNIT_SEPARATOR.encode())
        if block.startswith(BYTE_ORDER_MARK):
            # Arrow would drop one, though it is part of the first value.
            block = BYTE_ORDER_MARK + block
        parse = csv.ParseOptions(
            delimiter=separator,
            quote_char='"' if self.quotes else False,
            escape_char=False,
            ignore_empty_lines=False,
        )
        return csv.read_csv(pa.BufferReader(block), read, parse, convert).combine_chunks()

    def _first_bad_row(self, block: bytes, names: Sequence[str]) -> BadRow | None:
        *lines, cut = block.split(b"\n")
        for index, line in enumerate(lines):
            message = self._problem(line.removesuffix(b"\r"), names)
            if message:
                return BadRow(index, message)
        if not cut:
            return None
        return BadRow(
            len(lines),
            "the file ends without a newline, so it was cut; get it again, or end it with a "
            "newline if it is whole",
        )

    def _problem(self, line: bytes, names: Sequence[str]) -> str | None:
        if b"\0" in line:
            return NUL_BYTE
        if not line and len(names) > 1:
            return "is blank; remove it"
        if self.quotes and _has_open_quote(line):
            return OPEN_QUOTE
        if self.ends_within(line):
            return CARRIAGE_RETURN
        if not _decodes(line, self.encoding):
            parts = zip(names, line.split(self.separator.encode()), strict=False)
            column = next((n for n, text in parts if not _decodes(text, self.encoding)), None)
            where = f" in column {column}" if column else ""
            return f"not {self.encoding} text{where}; convert the file"
        try:
            n_found = len(self.values(line))
        except pa.ArrowInvalid:
            return OPEN_QUOTE
        if n_found == len(names):
            return None
        remedy = "; quote values that hold the separator, and begin with the header"
        return f"{n_found} columns, expected {len(names)}" + (remedy if self.quotes else "")


def refuse_unknown(path: Path, wanted: Iterable[str], columns: Sequence[str]) -> None:
    """Raise :class:`DataError` for a column that a file does not have."""
    for name in wanted:
        if name not in columns:
            raise DataError(f"{path}: {unknown_name('column', name, columns)}")


def read_chunks(
    path: Path,
    columns: Sequence[str],
    *,
    separator: str,
    encoding: str = "utf-8",
    header: bool = False,
    quotes: bool = False,
    spaces: bool = False,
    wanted: Sequence[str] | None = None,
    chunk_bytes: int = BLOCK_BYTES,
) -> Iterator[Chunk]:
    """Read a file, plain or compressed, in chunks of about ``chunk_bytes``, parsed in threads.

    Parameters
    ----------
    path
        The file; its last line must end in a newline, else it counts as cut.
    columns
        Names of all columns.
    separator, encoding, quotes, spaces
        See :class:`Dialect`.
    header
        Whether the first line must be ``columns``.
    wanted
        Names of the columns to return; all if not given.
    chunk_bytes
        How much of the file becomes a chunk.

    Raises
    ------
    DataError
        If the file is empty or cut, its header differs, a row has too few or too many columns, an
        open quote or a NUL byte, or text cannot be decoded.
    """
    refuse_unknown(path, wanted or (), columns)
    dialect = Dialect(separator, encoding, quotes, spaces)
    blocks: Iterator[bytes] = line_blocks(path, chunk_bytes)
    first_row = 1
    if header:
        blocks = check_header(path, blocks, columns, dialect)
        first_row = 2

    def parse(block: bytes) -> dict[str, pa.DictionaryArray] | BadRow:
        return dialect.columns(block, columns, wanted or columns)

    for parsed in ordered_map(parse, blocks):
        yield (chunk := chunk_of(path, first_row, parsed))
        first_row += len(chunk)


def chunk_of(path: Path, first_row: int, parsed: dict[str, pa.Array] | BadRow) -> Chunk:
    """The chunk of a parsed block; raises :class:`DataError` for a bad row."""
    if isinstance(parsed, BadRow):
        raise DataError(f"{path}, row {first_row + parsed.index}: {parsed.message}")
    return Chunk(path, first_row, parsed)


def read_header(path: Path, dialect: Dialect) -> list[str]:
    """Names in the first line of a file; see :func:`named`.

    Raises
    ------
    DataError
        If two are equal, one in the middle is empty, or the line cannot be decoded.
    """
    line = first_line(path)
    if not line:
        raise DataError(f"{path}, row 1: is blank, expected the names of the columns; remove it")
    if b"\0" in line:
        raise DataError(f"{path}, row 1: {NUL_BYTE}")
    if dialect.quotes and _has_open_quote(line):
        raise DataError(f"{path}, row 1: a quote is opened and not closed on the same line")
    if dialect.ends_within(line):
        raise DataError(f"{path}, row 1: {CARRIAGE_RETURN}")
    try:
        names = named(dialect.values(line))
    except UnicodeDecodeError:
        raise DataError(f"{path}, row 1: not {dialect.encoding} text; convert the file") from None
    except pa.ArrowInvalid as error:
        raise DataError(f"{path}, row 1: cannot be read: {error}; is it a text file?") from None
    for name in names:
        if not name:
            raise DataError(f"{path}, row 1: column {names.index(name) + 1} has no name; add one")
        if names.count(name) > 1:
            raise DataError(f"{path}, row 1: column {name!r} occurs twice; rename one")
    return names


def _names_in(line: bytes, dialect: Dialect) -> list[str] | None:
    """The names of a header; None if it is blank or cannot be read."""
    with suppress(UnicodeDecodeError, pa.ArrowInvalid):
        return None if dialect.ends_within(line) else named(dialect.values(line))
    return None


def named(names: list[str]) -> list[str]:
    """Names of columns, where a first or last one without a name gets that of pandas.

    The first holds row numbers in files that pandas or R wrote; the last is empty where lines end
    in a separator.

    >>> named(["", "user", "item", ""])
    ['Unnamed: 0', 'user', 'item', 'Unnamed: 3']
    """
    ends = (0, len(names) - 1)
    return [name or (f"Unnamed: {i}" if i in ends else "") for i, name in enumerate(names)]


def check_header(
    path: Path, blocks: Iterator[bytes], columns: Sequence[str], dialect: Dialect
) -> Iterator[bytes]:
    """Check that the first line holds the names of the columns; returns the blocks without it."""
    line, newline, rest = next(blocks).partition(b"\n")
    line = line.removesuffix(b"\r")
    if not newline:
        raise DataError(
            f"{path}, row 1: the file ends without a newline, so it was cut; get it again"
        )
    if _names_in(line, dialect) != list(columns):
        found = line.decode(dialect.encoding, errors="replace")[:200]
        expected = dialect.separator.join(columns)
        raise DataError(f"{path}, row 1: header {found!r}, expected {expected!r}")
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


def squeezed(block: bytes) -> bytes:
    r"""Lines with single spaces in place of all spaces and tabs, and none at their ends.

    >>> squeezed(b" 1  3:1\t4:1 \n0 3:1 \r\n")
    b'1 3:1 4:1\n0 3:1\r\n'
    """
    if any(odd in block for odd in (b"\t", b"  ", b" \n", b" \r", b"\n ")) or block[:1] == b" ":
        block = re.sub(rb"[ \t]+", b" ", block)
        block = re.sub(rb" ?(\r?\n) ?", rb"\1", block)
    return block.strip(b" ")


def _has_open_quote(line: bytes) -> bool:
    return line.count(b'"') % 2 == 1


def _decodes(text: bytes, encoding: str) -> bool:
    try:
        text.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True
