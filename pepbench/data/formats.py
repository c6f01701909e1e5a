"""File formats that a user's own rows may come in: CSV, TSV, Parquet, libFM."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pepbench.data.delimited import Chunk, header_of, read_chunks
from pepbench.data.line_blocks import first_line, readable
from pepbench.errors import DataError

ROWS_AT_A_TIME = 1 << 16
WHOLE_NUMBER = r"^[+-]?[0-9]{1,18}$"
NUMBER = r"^[+-]?([0-9]+[.]?[0-9]*|[.][0-9]+)([eE][+-]?[0-9]{1,3})?$"


@dataclass(frozen=True)
class Format:
    """How to read one kind of file."""

    suffixes: tuple[str, ...]
    columns: Callable[[Path], dict[str, str]]
    """Names of all columns, and what is in them, in words: looks at the beginning of the file."""
    chunks: Callable[[Path, Sequence[str]], Iterator[Chunk]]
    """All rows, of the wanted columns."""


def format_of(path: Path) -> str:
    """The name of a file's format, by its suffix; ``.gz``, ``.zst`` and ``.bz2`` are looked under.

    Raises
    ------
    DataError
        For unknown suffixes.
    """
    suffixes = [suffix for suffix in path.suffixes if suffix not in (".gz", ".zst", ".bz2")]
    for name, form in FORMATS.items():
        if suffixes and suffixes[-1].lower() in form.suffixes:
            return name
    raise DataError(f"{path}: unknown format; say which with --format: {', '.join(FORMATS)}")


def entry_ids(chunk: Chunk, column: str) -> pa.Array:
    """The ids of entries such as ``204:1``: (n,)."""
    texts, indices = chunk.distinct(column)
    ids = pc.extract_regex(texts, r"^(?P<id>[^:]+):1(?:[.]0*)?$").field("id")
    wrong = pc.equal(pc.fill_null(ids, ""), "").to_numpy(zero_copy_only=False)
    chunk.refuse(column, wrong, indices, "expected an entry of weight 1, such as '204:1'")
    return pa.DictionaryArray.from_arrays(pa.array(indices), ids)


def _text_columns(separator: str, *, quotes: bool) -> Callable[[Path], dict[str, str]]:
    def columns(path: Path) -> dict[str, str]:
        names = header_of(path, separator, quotes=quotes)
        chunks = read_chunks(path, names, separator=separator, header=True, quotes=quotes)
        for chunk in islice(chunks, 1):
            return {name: _kind_of_texts(chunk[name]) for name in names}
        raise DataError(f"{path} holds no rows below its header")

    return columns


def _text_chunks(
    separator: str, *, quotes: bool
) -> Callable[[Path, Sequence[str]], Iterator[Chunk]]:
    def chunks(path: Path, wanted: Sequence[str]) -> Iterator[Chunk]:
        return read_chunks(
            path,
            header_of(path, separator, quotes=quotes),
            separator=separator,
            header=True,
            quotes=quotes,
            wanted=wanted,
            dictionaries=True,
        )

    return chunks


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
    if pa.types.is_integer(kind):
        return "whole numbers"
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return "numbers"
    return str(kind)


def _parquet_chunks(path: Path, wanted: Sequence[str]) -> Iterator[Chunk]:
    file = _parquet(path)
    for name in wanted:
        kind = file.schema_arrow.field(name).type
        if pa.types.is_nested(kind):
            raise DataError(
                f"{path}, column {name!r}: holds {kind}, expected one value a row; "
                "leave it out or take it apart"
            )
    first_row = 1
    batches = file.iter_batches(batch_size=ROWS_AT_A_TIME, columns=list(wanted))
    while True:
        with readable(path):
            batch = next(batches, None)
        if batch is None:
            return
        yield Chunk(path, first_row, {name: batch[name] for name in wanted})
        first_row += len(batch)


def _entry_columns(path: Path) -> dict[str, str]:
    n_entries = len(first_line(path).split(b" ")) - 1
    return {"label": "whole numbers"} | {f"f{i}": "entries" for i in range(n_entries)}


def _entry_chunks(path: Path, wanted: Sequence[str]) -> Iterator[Chunk]:
    names = list(_entry_columns(path))
    for chunk in read_chunks(path, names, separator=" ", wanted=wanted, dictionaries=True):
        entries = {name: entry_ids(chunk, name) for name in wanted if name != "label"}
        yield Chunk(path, chunk.first_row, chunk.columns | entries)


FORMATS = {
    "csv": Format((".csv",), _text_columns(",", quotes=True), _text_chunks(",", quotes=True)),
    "tsv": Format(
        (".tsv", ".tab"), _text_columns("\t", quotes=False), _text_chunks("\t", quotes=False)
    ),
    "parquet": Format((".parquet", ".pq"), _parquet_columns, _parquet_chunks),
    "libfm": Format((".libfm", ".libsvm", ".svm"), _entry_columns, _entry_chunks),
}
