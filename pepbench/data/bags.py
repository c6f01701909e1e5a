"""Multi-valued fields: lists of values in blocks of rows, and their slots in the encoded table.

A *bag* is the values of one row. Values count as often as they occur; a row may have none. A
table stores the first ``max_values`` of a row in as many columns, *slots*, as the longest row
needs; those behind its last value hold :data:`~pepbench.serve.pooling.PADDING`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.types as is_
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from pepbench.data.arrays import ArrayWriter, read_rows, row_blocks
from pepbench.data.columns import as_text, kind_of_type
from pepbench.data.values import MISSING, Kind, text
from pepbench.data.vocabulary import Vocabulary
from pepbench.serve.pooling import PADDING, Pool

LONGEST_BAG = 1024
"""Largest number of values of a row that may be kept."""


class BagOptions(BaseModel):
    """How a multi-valued field is read and pooled."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    pool: Pool = "mean"
    """How the vectors of a row's values become one."""
    max_values: int = Field(default=8, ge=1, le=LONGEST_BAG)
    """Most values of a row that are kept: the first ones."""
    separator: str = ""
    """What is between two values of a text; empty where the raw values are lists."""


class BagMeta(BagOptions):
    """A multi-valued field of a table."""

    slots: int
    """Columns of the table that it takes: the values of the longest row, at least 1."""
    n_values: int
    """Values in all rows."""
    n_empty: int
    """Rows without a value."""
    n_cut: int
    """Rows of which values were left out."""


class BagWriter:
    """Encodes the lists of one field, block by block.

    The values go to a file of their own until the longest row is known; see :func:`write_slots`.
    """

    def __init__(self, options: BagOptions, path: Path) -> None:
        self.options = options
        self.path = path
        self.writer = ArrayWriter(path, "<i4")
        self.longest, self.n_empty, self.n_cut = 1, 0, 0

    def encode(self, column: pa.Array, vocabulary: Vocabulary, lengths: NDArray[np.int32]) -> None:
        """Write the codes of a block of lists; their numbers go to ``lengths``, (n,)."""
        most = self.options.max_values
        given = lengths_of(column)
        self.n_cut += int((given > most).sum())
        if (given > most).any():
            column = pc.list_slice(column, 0, most)
        lengths[:] = np.minimum(given, most)
        self.longest = max(self.longest, int(lengths.max(initial=0)))
        self.n_empty += int((lengths == 0).sum())
        self.writer.append(vocabulary.encode(column.flatten()))

    def meta(self) -> BagMeta:
        """What the table says of the field."""
        return BagMeta(
            **self.options.model_dump(),
            slots=self.longest,
            n_values=self.writer.n_rows,
            n_empty=self.n_empty,
            n_cut=self.n_cut,
        )


def write_slots(counted: Path, writers: dict[int, BagWriter], path: Path) -> str:
    """Write the codes of a table with multi-valued fields; returns the SHA-256 of its rows.

    Parameters
    ----------
    counted
        An array (n, F): codes of fields with one value a row, and the number of values of the
        others.
    writers
        Of the multi-valued fields, by position; their files are complete, and removed here.
    path
        The array (n, Σ slots) to write.
    """
    codes = np.load(counted, mmap_mode="r")
    slots = [writers[f].longest if f in writers else 1 for f in range(codes.shape[1])]
    values = {f: np.load(writer.path, mmap_mode="r") for f, writer in writers.items()}
    done = dict.fromkeys(writers, 0)
    with ArrayWriter(path, "<i4", (sum(slots),)) as out:
        for start, stop in row_blocks(len(codes), 4 * sum(slots)):
            block = read_rows(codes, start, stop)
            columns = []
            for field, n_slots in enumerate(slots):
                if field not in writers:
                    columns.append(block[:, [field]])
                    continue
                lengths = block[:, field]
                end = done[field] + int(lengths.sum())
                columns.append(spread(read_rows(values[field], done[field], end), lengths, n_slots))
                done[field] = end
            out.append(np.hstack(columns))
    for leftover in (counted, *(writer.path for writer in writers.values())):
        leftover.unlink()
    return out.digest


def spread(
    values: NDArray[np.int32], lengths: NDArray[np.integer], slots: int
) -> NDArray[np.int32]:
    """Values of rows one after another as slots of each row: (V,) → (n, slots).

    >>> spread(np.array([5, 6, 7], np.int32), np.array([1, 0, 2]), 2).tolist()
    [[5, -1], [-1, -1], [6, 7]]
    """
    padded = np.full((len(lengths), slots), PADDING, dtype=np.int32)
    padded[np.arange(slots) < lengths[:, None]] = values
    return padded


def lengths_of(column: pa.Array) -> NDArray[np.int64]:
    """Number of values of each row of a list array, (n,); a null has none."""
    lengths = pc.fill_null(pc.list_value_length(column), 0)
    return np.asarray(lengths.to_numpy(zero_copy_only=False), dtype=np.int64)


def is_list(kind: pa.DataType) -> bool:
    """Whether a column of this type holds lists of plain values."""
    lists = is_.is_list(kind) or is_.is_large_list(kind) or is_.is_fixed_size_list(kind)
    return bool(lists) and not is_.is_nested(kind.value_type)


def kind_of_values(kind: pa.DataType) -> Kind | None:
    """The kind of a field's values: of a column with one value a row, or of those in its lists."""
    return kind_of_type(kind.value_type if is_list(kind) else kind)


def lists_of(lengths: NDArray[np.integer], values: pa.Array) -> pa.ListArray:
    """Lists of these lengths, (n,), from their values one after another, (V,).

    >>> lists_of(np.array([2, 0, 1]), pa.array(["a", "b", "c"])).to_pylist()
    [['a', 'b'], [], ['c']]
    """
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values)


def without_missing(lists: pa.Array, words: Sequence[str] = ()) -> pa.ListArray:
    """Lists without what is missing, (n,): null, NaN, empty texts and ``words`` are no values.

    >>> without_missing(pa.array([["a", ""], None, ["", "b"]])).to_pylist()
    [['a'], [], ['b']]
    >>> without_missing(pa.array([[1.0, None], None, [2.5, float("nan")]])).to_pylist()
    [[1.0], [], [2.5]]
    """
    values, lengths = lists.flatten(), lengths_of(lists)
    kind = kind_of_type(values.type) or "text"
    missing = pa.array([MISSING, *(text(word, kind) for word in words)], pa.string())
    texts = as_text(values).cast(pa.string())
    given = pc.invert(pc.is_in(texts, value_set=missing)).to_numpy(zero_copy_only=False)
    before = np.concatenate([[0], np.cumsum(given)])
    ends = np.cumsum(lengths)
    return lists_of(before[ends] - before[ends - lengths], values.filter(pa.array(given)))


def split_texts(column: pa.Array, separator: str) -> pa.ListArray:
    """Texts taken apart at a separator, (n,); spaces around a value are no part of it.

    Parameters
    ----------
    column
        Text, or a dictionary of texts, each of which is taken apart once.
    separator
        One character or more.

    Examples
    --------
    >>> split_texts(pa.array(["a| b", "", "b|", "a| b"]), "|").to_pylist()
    [['a', 'b'], [], ['b'], ['a', 'b']]
    """
    if not is_.is_dictionary(column.type):
        column = column.dictionary_encode()
    parts = pc.split_pattern(column.dictionary.cast(pa.string()), separator)
    trimmed = pc.utf8_trim_whitespace(parts.flatten())
    lists = without_missing(lists_of(lengths_of(parts), trimmed))
    return lists.take(column.indices)
