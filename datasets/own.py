"""A user's own file, as described to ``pepbench data add``."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pepbench.data.arrays import json_digest
from pepbench.data.bags import (
    BagOptions,
    is_list,
    kind_of_values,
    lengths_of,
    lists_of,
    split_texts,
    without_missing,
)
from pepbench.data.cache import table_folder
from pepbench.data.columns import as_text
from pepbench.data.dataset import Block, Dataset, SplitScheme, Transform, ValueTransform
from pepbench.data.dense import LARGEST as LARGEST_DENSE
from pepbench.data.encoding import FieldEncoding, truncated_mantissa
from pepbench.data.file_description import FileDescription, load_description
from pepbench.data.readers.chunk import Chunk
from pepbench.data.readers.formats import FORMATS
from pepbench.data.readers.raw_files import existing, not_empty
from pepbench.data.table import read_table
from pepbench.data.times import TimeReader
from pepbench.data.values import NUMBER, number, text
from pepbench.data.vocabulary import hashed
from pepbench.errors import DataError, quoted
from pepbench.serve.transforms import LARGEST_COUNT

CONVENTIONS = (
    {"0", "0.0", "1", "1.0", "+1"},
    {"-1", "-1.0", "1", "1.0", "+1"},
    {"false", "true"},
)
"""Labels that may stand in one column, in lower case."""
POSITIVE = {"1", "1.0", "+1", "true"}
PARTS = {"0": 0, "train": 0, "training": 0, "2": 2, "test": 2} | dict.fromkeys(
    ("1", "validation", "valid", "val"), 1
)


@dataclass(frozen=True)
class Own(Dataset):
    """A CSV, TSV, Parquet or libFM file of your own, under the name that you gave it.

    ``pepbench data add mine --from clicks.parquet --label clicked`` describes and adds it;
    ``own:data=mine`` is then a data set like any other.
    """

    name = "own"
    title = "A file of your own"
    licence = "yours to know"
    citation = "your own file"
    url = "docs/data.md"
    version = 2

    data: Annotated[str, "the name that was given to it"] = ""

    @classmethod
    def described(cls, name: str, description: FileDescription) -> Self:
        """A data set that has not been added yet, with its description."""
        dataset = cls(data=name)
        vars(dataset)["description"] = description
        return dataset

    @cached_property
    def description(self) -> FileDescription:
        """The user's description of the file."""
        description = load_description(self.data)
        if description is None:
            raise DataError(
                f"no data set of your own is named {self.data!r}; "
                f"add it with: pepbench data add {self.data or 'NAME'} --from FILE --label COLUMN"
            )
        return description

    @property
    def how_to_add(self) -> str:
        """The command that adds it, by the name that the user gave it."""
        return f"pepbench data add {self.data or 'NAME --label COLUMN'} --from FILE"

    @property
    def source(self) -> str:  # type: ignore[override]
        """The files, by their content: added twice, under two names, they are one source."""
        with suppress(DataError):
            digests = sorted(read_table(table_folder(self)).meta.sources.values())
            return f"{self.name}:{json_digest(digests, 12)}"
        return f"{self.name}:{self.data}"

    @property
    def sample(self) -> int | None:
        """From the description."""
        return self.description.rows or None

    def identity(self) -> dict[str, Any]:
        """The description as well as the name."""
        if not self.data:
            return {}
        return {"data": self.data, **self.description.identity()}

    def raw_files(self, source: Path) -> dict[str, Path]:
        """The file itself."""
        return {source.name: not_empty(existing(source, "expected a file"))}

    def split_scheme(self, source: Path | None) -> SplitScheme:  # noqa: ARG002
        """From the description."""
        return self.description.scheme

    @property
    def user_field(self) -> str | None:  # type: ignore[override]
        """The column that the rows are split by, a field or not, if that is the user."""
        described = self.description
        return described.split_column if described.scheme == "group" else None

    def encoding(self, field: str) -> FieldEncoding:
        """From the description."""
        return self.description.encoding(field)

    def value_transform(self, field: str) -> ValueTransform | None:
        """From the description."""
        return self.description.value_transform(field)

    def bag(self, field: str) -> BagOptions | None:
        """From the description."""
        return self.description.bag(field)

    def dense_transform(self, name: str) -> Transform:
        """From the description."""
        return self.description.dense[name]

    def blocks(self, source: Path | None) -> Iterator[Block]:
        """Yield all rows in the order of the file."""
        assert source is not None
        about = self.description
        labels = LabelReader(about.label, about.positive)
        key_of = KEYS[about.scheme](about.split_column) if about.split_column else None
        for chunk in FORMATS[about.format].chunks(source, about.columns, tuple(about.multi)):
            if about.missing:
                chunk = chunk.with_missing(about.missing)
            columns = {name: category(chunk, name, about.hash.get(name)) for name in about.fields}
            columns |= {name: binned(chunk, name, about.missing) for name in about.numeric}
            columns |= {
                name: chunk.log_squared(name, -LARGEST_COUNT, LARGEST_COUNT) for name in about.log
            }
            columns |= {
                name: bags(chunk, name, separator, about.missing, about.hash.get(name))
                for name, separator in about.multi.items()
            }
            dense = {name: dense_numbers(chunk, name, about.missing) for name in about.dense}
            key = key_of(chunk) if key_of else None
            kinds = {name: kind_of_values(chunk[name].type) or "text" for name in about.hash}
            yield Block(columns, labels.codes(chunk), key, dense, kinds)


def category(chunk: Chunk, column: str, buckets: int | None) -> pa.Array:
    """A column unchanged, or hashed into this many values."""
    return chunk[column] if buckets is None else hashed(chunk[column], buckets)


def bags(
    chunk: Chunk, column: str, separator: str, missing: Sequence[str], buckets: int | None
) -> pa.ListArray:
    """Lists of values, or texts taken apart at a separator, (n,); perhaps hashed."""
    where = f"{chunk.path}, column {column!r}: holds"
    values = chunk[column]
    if is_list(values.type):
        if separator:
            raise DataError(f"{where} lists, which need no separator: write --multi {column}")
        lists = values
    elif separator:
        lists = split_texts(as_text(values), separator)
    else:
        raise DataError(
            f"{where} no lists; say what is between two values, as in --multi '{column}:|'"
        )
    lists = without_missing(lists, missing)
    if buckets is None:
        return lists
    return lists_of(lengths_of(lists), hashed(lists.flatten(), buckets))


def binned(chunk: Chunk, column: str, missing: Sequence[str] = ()) -> pa.Array:
    """A column of numbers truncated to 16 binary digits, as text; missing values are empty."""
    numbers, indices = finite_numbers(chunk, column, missing)
    names = _number_texts(numbers)
    return names if indices is None else pa.DictionaryArray.from_arrays(pa.array(indices), names)


def dense_numbers(chunk: Chunk, column: str, missing: Sequence[str] = ()) -> NDArray[np.float64]:
    """A column of numbers, (n,), NaN where missing."""
    numbers, indices = finite_numbers(chunk, column, missing)
    given = pc.fill_null(numbers, float("nan")).to_numpy(zero_copy_only=False)
    rows = np.arange(len(given)) if indices is None else indices
    expected = f"expected a number of at most {LARGEST_DENSE:g} in size"
    chunk.refuse(column, np.abs(given) > LARGEST_DENSE, rows, expected)
    return np.asarray(given if indices is None else given[indices], dtype=np.float64)


def finite_numbers(
    chunk: Chunk, column: str, missing: Sequence[str] = ()
) -> tuple[pa.DoubleArray, NDArray[np.int32] | None]:
    """A column's numbers, null where missing, and where to find each row's, None if in order.

    A word of ``missing`` that is a number stands for the number, however it is written: a file has
    ``-999.0`` for a word ``-999``, and the reverse.
    """
    values = chunk[column]
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        indices, numbers = None, values.cast(pa.float64(), safe=False)
    else:
        texts, indices = chunk.distinct(column)
        blank = pc.equal(texts, "")
        legal = pc.or_(pc.match_substring_regex(texts, NUMBER), blank)
        wrong = ~legal.to_numpy(zero_copy_only=False)
        expected = "expected a number, or nothing; --missing names words for nothing"
        chunk.refuse(column, wrong, indices, expected)
        numbers = pc.if_else(blank, None, texts).cast(pa.float64())
    words = [value for word in missing if (value := number(word)) is not None]
    if words:
        numbers = pc.if_else(pc.is_in(numbers, pa.array(words, pa.float64())), None, numbers)
    infinite = pc.fill_null(pc.is_inf(numbers), False).to_numpy(zero_copy_only=False)
    rows = np.arange(len(numbers)) if indices is None else indices
    chunk.refuse(column, infinite, rows, "expected a finite number, or nothing")
    return numbers, indices


def _number_texts(numbers: pa.DoubleArray) -> pa.StringArray:
    given = pc.fill_null(numbers, float("nan")).to_numpy(zero_copy_only=False)
    texts = pa.array(truncated_mantissa(given)).cast(pa.string())
    return pc.if_else(pa.array(np.isnan(given)), "", texts)


@dataclass(frozen=True)
class LabelReader:
    """Labels 0 and 1 of a column that keeps to one of the :data:`CONVENTIONS` in all chunks.

    Parameters
    ----------
    column
        Name of the column.
    positive
        The text of label 1, all others are 0; None for the conventions.
    """

    column: str
    positive: str | None = None
    _seen: dict[str, int] = field(default_factory=dict)
    """The first row of each different text."""

    def codes(self, chunk: Chunk) -> NDArray[np.uint8]:
        """Labels of a chunk, (n,); raises :class:`DataError` for the first that does not fit."""
        texts, indices = chunk.distinct(self.column)
        if self.positive is not None:
            blank = pc.equal(texts, "").to_numpy(zero_copy_only=False)
            chunk.refuse(self.column, blank, indices, "expected a label; drop such rows")
            positive = text(self.positive, chunk.kind(self.column))
            chosen = np.array([word == positive for word in texts.to_pylist()], dtype=np.uint8)
            return chosen[indices]
        present, first = np.unique(indices, return_index=True)
        words = [word.lower() for word in texts.to_pylist()]
        for code, index in sorted(zip(present, first, strict=True), key=lambda pair: pair[1]):
            self._check(chunk, int(index), words[code], texts[code].as_py())
        return np.array([word in POSITIVE for word in words], dtype=np.uint8)[indices]

    def _check(self, chunk: Chunk, index: int, word: str, raw: str) -> None:
        remedy = "name the value that counts as 1 with --positive"
        self._seen.setdefault(word, chunk.first_row + index)
        if not word:
            raise chunk.error(index, f"{self.column} is '', expected a label; drop such rows")
        if not any(word in convention for convention in CONVENTIONS):
            raise chunk.error(index, f"{self.column} is {quoted(raw)}, expected 0 or 1; {remedy}")
        if not any(self._seen.keys() <= convention for convention in CONVENTIONS):
            others = ", ".join(f"{w!r} in row {row}" for w, row in self._seen.items() if w != word)
            raise chunk.error(
                index,
                f"{self.column} is {word!r} after {others}; a column holds 0 and 1, -1 and 1, or "
                f"false and true, not a mixture: {remedy}",
            )


def part_key(chunk: Chunk, column: str) -> pa.Array:
    """Parts 0, 1, 2 from their numbers or names, (n,)."""
    texts, indices = chunk.distinct(column)
    found = [PARTS.get(word.lower()) for word in texts.to_pylist()]
    wrong = np.array([part is None for part in found], dtype=np.bool_)
    chunk.refuse(column, wrong, indices, "expected train, validation or test")
    return pa.array(np.array(found, dtype=np.int64)[indices])


KEYS: dict[SplitScheme, Callable[[str], Callable[[Chunk], pa.Array]]] = {
    "time": TimeReader,
    "group": lambda column: lambda chunk: chunk[column],
    "file": lambda column: lambda chunk: part_key(chunk, column),
}
"""For each scheme, what makes the key to split a chunk's rows by, given the column."""
