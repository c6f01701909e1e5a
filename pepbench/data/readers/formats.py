"""The formats that a user's own rows may have: CSV, TSV, Parquet, libFM."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pepbench.data.bags import is_list
from pepbench.data.columns import kind_of_type
from pepbench.data.readers.chunk import Chunk
from pepbench.data.readers.delimited import (
    Dialect,
    read_chunks,
    read_header,
    refuse_unknown,
    squeezed,
)
from pepbench.data.readers.raw_files import (
    COMPRESSED_SUFFIXES,
    PARQUET_SUFFIXES,
    first_line,
    readable,
)
from pepbench.data.values import NUMBER
from pepbench.errors import DataError

ROWS_AT_A_TIME = 1 << 16
WHOLE_NUMBER = r"^[+-]?[0-9]+$"


@dataclass(frozen=True)
class Format:
    """How to read one kind of file."""

    suffixes: tuple[str, ...]
    columns: Callable[[Path], dict[str, str]]
    """Names of all columns, and the kind of their values in words, judged by the file's start."""
    chunks: Callable[..., Iterator[Chunk]]
    """All rows: takes the path, the wanted columns, and those of them that may hold lists."""


def format_of(path: Path) -> str:
    """The name of a file's format, by its suffix; that of a compression is ignored.

    Raises
    ------
    DataError
        For unknown suffixes.
    """
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED_SUFFIXES:
        suffixes.pop()
    for name, form in FORMATS.items():
        if suffixes and suffixes[-1] in form.suffixes:
            return name
    raise DataError(
        f"{path}: unknown format; say which with --format: {', '.join(FORMATS)}; write others, "
        "such as JSON or Excel's, as Parquet first"
    )


def entry_ids(chunk: Chunk, column: str) -> pa.DictionaryArray:
    """The ids of libFM entries such as ``204:1``: (n,)."""
    texts, indices = chunk.distinct(column)
    ids = pc.extract_regex(texts, r"^(?P<id>[^:]+):1(?:[.]0*)?$").field("id")
    wrong = pc.equal(pc.fill_null(ids, ""), "").to_numpy(zero_copy_only=False)
    chunk.refuse(column, wrong, indices, "expected an entry of weight 1, such as '204:1'")
    return pa.DictionaryArray.from_arrays(pa.array(indices), ids)


def _text_format(suffixes: tuple[str, ...], separator: str, *, quotes: bool) -> Format:
    dialect = Dialect(separator, quotes=quotes)

    def chunks(
        path: Path,
        wanted: Sequence[str] | None = None,
        lists: Sequence[str] = (),  # noqa: ARG001
    ) -> Iterator[Chunk]:
        names = read_header(path, dialect)
        for chunk in read_chunks(
            path, names, separator=separator, header=True, quotes=quotes, wanted=wanted
        ):
            chunk.refuse_header()
            yield chunk

    def columns(path: Path) -> dict[str, str]:
        for chunk in islice(chunks(path), 1):
            return {name: _kind_of_texts(chunk.distinct(name)[0]) for name in chunk.columns}
        raise DataError(f"{path} holds no rows below its header")

    return Format(suffixes, columns, chunks)


def _kind_of_texts(texts: pa.StringArray) -> str:
    given = texts.filter(pc.not_equal(texts, ""))
    for pattern, kind in ((WHOLE_NUMBER, "whole numbers"), (NUMBER, "numbers")):
        if len(given) and pc.all(pc.match_substring_regex(given, pattern)).as_py():
            return kind
    return "text"


def _parquet(path: Path) -> pq.ParquetFile:
    with readable(path):
        file = pq.ParquetFile(path)
    names = file.schema_arrow.names
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"{path}: column {name!r} occurs twice; rename one")
    return file


def _parquet_columns(path: Path) -> dict[str, str]:
    return {field.name: _kind_of_type(field.type) for field in _parquet(path).schema_arrow}


def _kind_of_type(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind) or (pa.types.is_decimal(kind) and kind.scale <= 0):
        return "whole numbers"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "numbers"
    if is_list(kind):
        return f"lists of {_kind_of_type(kind.value_type)}"
    return str(kind)


def _parquet_chunks(
    path: Path, wanted: Sequence[str], lists: Sequence[str] = ()
) -> Iterator[Chunk]:
    file = _parquet(path)
    refuse_unknown(path, wanted, file.schema_arrow.names)
    for name in wanted:
        kind = file.schema_arrow.field(name).type
        if kind_of_type(kind) is None and not (name in lists and is_list(kind)):
            remedy = f"read it with --multi {name}" if is_list(kind) else "take it apart"
            raise DataError(
                f"{path}, column {name!r}: holds {kind}, expected one value a row; "
                f"leave it out or {remedy}"
            )
    first_row = 1
    batches = file.iter_batches(batch_size=ROWS_AT_A_TIME, columns=list(wanted))
    while True:
        with readable(path):
            batch = next(batches, None)
        if batch is None:
            return
        chunk = Chunk(path, first_row, {name: _plain(batch[name]) for name in wanted})
        for name in wanted:
            if not _is_utf_8(chunk[name]):
                raise DataError(
                    f"{path}, column {name!r}: rows {first_row} to {first_row + len(chunk) - 1} "
                    "hold text that is not UTF-8; store it as binary"
                )
        yield chunk
        first_row += len(batch)


def _plain(column: pa.Array) -> pa.Array:
    """A column, or lists, in the type of their kind for which Arrow has all functions."""
    kind = column.type
    if is_list(kind):
        plain = _plain_type(kind.value_type)
        return column if plain == kind.value_type else column.cast(pa.large_list(plain))
    plain = _plain_type(kind)
    return column if plain == kind else column.cast(plain)


def _plain_type(kind: pa.DataType) -> pa.DataType:
    if pa.types.is_string_view(kind):
        return pa.large_string()
    if pa.types.is_binary_view(kind):
        return pa.large_binary()
    if pa.types.is_decimal32(kind) or pa.types.is_decimal64(kind):
        return pa.decimal128(kind.precision, kind.scale)
    return kind


def _is_utf_8(column: pa.Array) -> bool:
    try:
        column.validate(full=True)
    except pa.ArrowInvalid as error:
        return "UTF8" not in str(error)
    return True


def _entry_columns(path: Path) -> dict[str, str]:
    n_entries = squeezed(first_line(path)).count(b" ")
    return {"label": "whole numbers"} | {f"f{i}": "entries" for i in range(n_entries)}


def _entry_chunks(
    path: Path,
    wanted: Sequence[str],
    lists: Sequence[str] = (),  # noqa: ARG001
) -> Iterator[Chunk]:
    names = list(_entry_columns(path))
    for chunk in read_chunks(path, names, separator=" ", spaces=True, wanted=wanted):
        entries = {name: entry_ids(chunk, name) for name in wanted if name != "label"}
        yield Chunk(path, chunk.first_row, chunk.columns | entries)


FORMATS = {
    "csv": _text_format((".csv",), ",", quotes=True),
    "tsv": _text_format((".tsv", ".tab"), "\t", quotes=False),
    "parquet": Format(PARQUET_SUFFIXES, _parquet_columns, _parquet_chunks),
    "libfm": Format((".libfm", ".libsvm", ".svm"), _entry_columns, _entry_chunks),
}
