"""A user's own file, as described to ``pepbench data add``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pepbench.data.bags import (
    BagOptions,
    is_list,
    lengths_of,
    lists_of,
    split_texts,
    texts_of_lists,
)
from pepbench.data.columns import texts
from pepbench.data.dataset import Block, Dataset, SplitScheme
from pepbench.data.encoding import FieldEncoding, truncated_mantissa
from pepbench.data.file_description import FileDescription, load_description
from pepbench.data.readers.chunk import Chunk
from pepbench.data.readers.formats import FORMATS, NUMBER
from pepbench.data.readers.raw_files import existing, not_empty
from pepbench.data.vocabulary import hashed
from pepbench.errors import DataError

LABELS = {"0": 0, "-1": 0, "0.0": 0, "false": 0, "1": 1, "1.0": 1, "true": 1, "+1": 1}
PARTS = {"0": 0, "train": 0, "training": 0, "1": 1, "validation": 1, "2": 2, "test": 2}
LARGEST = 2**53


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
        """The field that the rows are split by, if that is the user."""
        described = self.description
        by_user = described.scheme == "group" and described.split_column in described.fields
        return described.split_column if by_user else None

    def encoding(self, field: str) -> FieldEncoding:
        """From the description."""
        return self.description.encoding(field)

    def bag(self, field: str) -> BagOptions | None:
        """From the description."""
        return self.description.bag(field)

    def blocks(self, source: Path | None) -> Iterator[Block]:
        """Yield all rows in the order of the file."""
        assert source is not None
        about = self.description
        for chunk in FORMATS[about.format].chunks(source, about.columns, tuple(about.multi)):
            columns = {name: category(chunk, name, about.hash.get(name)) for name in about.fields}
            columns |= {name: binned(chunk, name) for name in about.numeric}
            columns |= {
                name: texts_of(chunk, name).log_squared(name, -LARGEST, LARGEST)
                for name in about.log
            }
            columns |= {
                name: bags(chunk, name, separator, about.hash.get(name))
                for name, separator in about.multi.items()
            }
            key = KEYS[about.scheme](chunk, about.split_column) if about.split_column else None
            yield Block(columns, labels(chunk, about.label, about.positive), key)


def texts_of(chunk: Chunk, column: str) -> Chunk:
    """The chunk with one column as text; a dictionary array stays one."""
    values = chunk[column]
    if pa.types.is_floating(values.type):
        # pandas stores whole numbers with missing values as floats.
        whole = pc.all(pc.equal(pc.floor(values), values)).as_py()
        values = pc.if_else(pc.is_nan(values), None, values)
        values = values.cast(pa.int64()) if whole else values
    if pa.types.is_dictionary(values.type) and values.null_count == 0:
        texts = values.dictionary.cast(pa.string())
        values = pa.DictionaryArray.from_arrays(values.indices.cast(pa.int32()), texts)
    else:
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        values = pc.fill_null(values.cast(pa.string()), "")
    return Chunk(chunk.path, chunk.first_row, {**chunk.columns, column: values})


def category(chunk: Chunk, column: str, buckets: int | None) -> pa.Array:
    """A column unchanged, or hashed into this many values."""
    return chunk[column] if buckets is None else hashed(texts_of(chunk, column)[column], buckets)


def bags(chunk: Chunk, column: str, separator: str, buckets: int | None) -> pa.ListArray:
    """Lists of values, or texts taken apart at a separator, (n,); perhaps hashed."""
    where = f"{chunk.path}, column {column!r}: holds"
    values = chunk[column]
    if is_list(values.type):
        if separator:
            raise DataError(f"{where} lists, which need no separator: write --multi {column}")
        lists = texts_of_lists(values)
    elif separator:
        lists = split_texts(texts(values), separator)
    else:
        raise DataError(
            f"{where} no lists; say what is between two values, as in --multi '{column}:|'"
        )
    if buckets is None:
        return lists
    return lists_of(lengths_of(lists), hashed(lists.flatten(), buckets))


def binned(chunk: Chunk, column: str) -> pa.Array:
    """A column of numbers truncated to 16 binary digits, as text; missing values are empty."""
    values = chunk[column]
    if pa.types.is_integer(values.type) or pa.types.is_floating(values.type):
        return _number_texts(values.cast(pa.float64()))
    as_text = texts_of(chunk, column)
    texts, indices = as_text.distinct(column)
    blank = pc.equal(texts, "")
    legal = pc.or_(pc.match_substring_regex(texts, NUMBER), blank)
    wrong = ~legal.to_numpy(zero_copy_only=False)
    as_text.refuse(column, wrong, indices, "expected a number, or nothing")
    numbers = pc.if_else(blank, None, texts).cast(pa.float64())
    return pa.DictionaryArray.from_arrays(pa.array(indices), _number_texts(numbers))


def _number_texts(numbers: pa.DoubleArray) -> pa.StringArray:
    given = pc.fill_null(numbers, float("nan")).to_numpy(zero_copy_only=False)
    texts = pa.array(truncated_mantissa(given)).cast(pa.string())
    return pc.if_else(pa.array(np.isnan(given)), "", texts)


def labels(chunk: Chunk, column: str, positive: str | None) -> NDArray[np.uint8]:
    """Labels 0 and 1 of a chunk, (n,)."""
    as_text = texts_of(chunk, column)
    texts, indices = as_text.distinct(column)
    if positive is not None:
        wrong = pc.equal(texts, "").to_numpy(zero_copy_only=False)
        as_text.refuse(column, wrong, indices, "expected a label")
        codes = np.array([text == positive for text in texts.to_pylist()], dtype=np.uint8)
        return codes[indices]
    found = [LABELS.get(text.lower()) for text in texts.to_pylist()]
    wrong = np.array([code is None for code in found], dtype=np.bool_)
    as_text.refuse(
        column, wrong, indices, "expected 0 or 1; name the value that counts as 1 with --positive"
    )
    return np.array(found, dtype=np.uint8)[indices]


def time_key(chunk: Chunk, column: str) -> pa.Array:
    """Times as whole numbers, (n,): microseconds since 1970, or the file's own numbers."""
    values = chunk[column]
    if pa.types.is_timestamp(values.type) or pa.types.is_date(values.type):
        return values.cast(pa.timestamp("us"), safe=False).cast(pa.int64())
    if pa.types.is_integer(values.type):
        return values.cast(pa.int64())
    as_text = texts_of(chunk, column)
    texts, indices = as_text.distinct(column)
    whole = pc.match_substring_regex(texts, r"^-?[0-9]{1,18}$")
    if pc.all(whole).as_py():
        return texts.cast(pa.int64()).take(pa.array(indices))
    stamps = pc.match_substring_regex(
        texts,
        r"^[0-9]{4}-[01][0-9]-[0-3][0-9]([ T][0-2][0-9]:[0-5][0-9]:[0-5][0-9]([.][0-9]{1,6})?)?$",
    )
    wrong = ~stamps.to_numpy(zero_copy_only=False)
    as_text.refuse(column, wrong, indices, "expected a whole number or 2024-12-31 23:59:59")
    try:
        times = texts.cast(pa.timestamp("us"))
    except pa.ArrowInvalid as error:
        raise DataError(f"{chunk.path}, column {column!r}: {error}") from None
    return times.cast(pa.int64()).take(pa.array(indices))


def user_key(chunk: Chunk, column: str) -> pa.Array:
    """Users, unchanged."""
    return chunk[column]


def part_key(chunk: Chunk, column: str) -> pa.Array:
    """Parts 0, 1, 2 from their numbers or names, (n,)."""
    as_text = texts_of(chunk, column)
    texts, indices = as_text.distinct(column)
    found = [PARTS.get(text.lower()) for text in texts.to_pylist()]
    wrong = np.array([part is None for part in found], dtype=np.bool_)
    as_text.refuse(column, wrong, indices, "expected train, validation or test")
    return pa.array(np.array(found, dtype=np.int64)[indices])


KEYS: dict[SplitScheme, Callable[[Chunk, str], pa.Array]] = {
    "time": time_key,
    "group": user_key,
    "file": part_key,
}
