"""Criteo: a week of display advertising, the field's standard benchmark."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa

from pepbench.component import Between, OneOf
from pepbench.data.dataset import Block, SampledDataset, Transform, ValueTransform
from pepbench.data.encoding import FieldEncoding
from pepbench.data.readers.chunk import Chunk
from pepbench.data.readers.delimited import read_chunks
from pepbench.data.readers.raw_files import first_line, one_file

NUMBERS = tuple(f"I{i}" for i in range(1, 14))
CATEGORIES = tuple(f"C{i}" for i in range(1, 27))
COLUMNS = ("Label", *NUMBERS, *CATEGORIES)
FILES = (
    "train.txt", "train.txt.gz", "train.txt.zst", "train.csv", "train.tiny.csv", "dac_sample.txt",
)  # fmt: skip
LARGEST = 2**40


@dataclass(frozen=True)
class Criteo(SampledDataset):
    """Criteo Display Advertising (2014): 13 counts and 26 categories; positive: a click.

    Counts v > 2 become ⌊(ln v)²⌋, smaller ones are unchanged, blanks are a value of their own, as
    in the winning code of the challenge. With ``numeric=dense`` the counts are dense fields,
    ln(1 + v) with those below zero as zero, as in DLRM's code; blanks are missing. Categories in
    fewer than ``min_count`` training rows share one feature. Reads ``train.txt`` (45.8 million
    rows, tab separated, without header; also as .gz or .zst) or the sample ``train.tiny.csv``
    (comma separated, with a header and an Id, which is dropped).
    """

    name = "criteo"
    title = "Criteo display advertising challenge"
    licence = "Criteo: research use, no redistribution"
    citation = "Criteo Labs: Display Advertising Challenge, Kaggle 2014"
    url = "https://ailab.criteo.com/ressources/"
    files = (FILES[0],)

    min_count: Annotated[
        int, Between(1, 10**9, tuned=False), "fewest training rows of a category"
    ] = 10
    split: Annotated[
        str, OneOf("random", "time", tuned=False), "time: in the order of the file"
    ] = "random"

    numeric: Annotated[
        str, OneOf("bins", "dense", tuned=False), "counts as categories, or as numbers"
    ] = "bins"

    def dense_transform(self, name: str) -> Transform:  # noqa: ARG002
        """The logarithm of all counts."""
        return "log1p"

    def raw_files(self, source: Path) -> dict[str, Path]:
        """The one file."""
        path = one_file(source, FILES)
        return {path.name: path}

    def split_scheme(self, source: Path | None) -> Literal["random", "time"]:  # noqa: ARG002
        """At random, or in the order of the file, which is by time."""
        return "time" if self.split == "time" else "random"

    def encoding(self, field: str) -> FieldEncoding:
        """Rare categories share a feature; buckets of counts do not."""
        return FieldEncoding(min_count=self.min_count if field in CATEGORIES else 1)

    def value_transform(self, field: str) -> ValueTransform | None:
        """Counts are put into buckets."""
        return "log" if field in NUMBERS else None

    def blocks(self, source: Path | None) -> Iterator[Block]:
        """Yield all rows in the order of the file."""
        assert source is not None
        for chunk in read_rows(one_file(source, FILES)):
            labels = chunk.integers("Label", 0, 1)
            columns, dense = {}, {}
            if self.numeric == "dense":
                dense = {n: chunk.counts(n, -LARGEST, LARGEST) for n in NUMBERS}
            else:
                columns = {n: chunk.log_squared(n, -LARGEST, LARGEST) for n in NUMBERS}
            columns |= {name: chunk[name] for name in CATEGORIES}
            order = pa.array(np.arange(len(chunk)) + chunk.first_row)
            yield Block(columns, labels, order, dense)


def read_rows(path: Path) -> Iterator[Chunk]:
    """Read the original, or the sample with its header and Id; both give the same columns."""
    if first_line(path).startswith(b"Id,Label,"):
        names = ("Id", *COLUMNS)
        return read_chunks(path, names, separator=",", header=True, wanted=COLUMNS)
    return read_chunks(path, COLUMNS, separator="\t")
