"""The interface of data sets: one class for each, which yields its rows block by block.

A data set is a frozen dataclass whose fields are its options (see :mod:`pepbench.component`).
It has a name, a licence and a citation, and turns raw files, or a random number generator, into
:class:`Block` objects. Encoding, caching and splitting are done elsewhere.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pepbench.component import Between, Component
from pepbench.data.bags import BagOptions
from pepbench.data.encoding import FieldEncoding
from pepbench.data.readers.raw_files import files_in
from pepbench.data.values import Kind
from pepbench.serve.dense import Transform as Transform
from pepbench.serve.transforms import ValueTransform as ValueTransform

SplitScheme = Literal["random", "time", "group", "file"]
SCHEMES: dict[str, SplitScheme] = {
    "random": "random",
    "time": "time",
    "user": "group",
    "file": "file",
}
"""Split schemes by the names that users write."""
MOST_ROWS = 2**40


class Block(NamedTuple):
    """Some consecutive rows.

    All blocks of a data set have the same columns in the same order. A missing value is a value of
    its own: null and the empty string are one feature.
    """

    columns: dict[str, pa.Array]
    """The n raw values of each field: text, or any type that Arrow can cast to text. Lists of such
    values where :meth:`Dataset.bag` says that the field is multi-valued."""
    labels: NDArray[Any]
    """Shape (n,): 0 or 1."""
    split_key: pa.Array | None = None
    """What the rows are split by, (n,); only if :meth:`Dataset.split_scheme` is not ``random``.
    ``time``: whole numbers, larger is later. ``group``: the user, of any type that can be cast to
    text. ``file``: 0 for training, 1 validation, 2 test."""
    dense: Mapping[str, NDArray[np.float64]] = MappingProxyType({})
    """The n numbers of each dense field, NaN where missing."""
    kinds: Mapping[str, Kind] = MappingProxyType({})
    """What the raw values of a field were, where its column holds what became of them, such as
    hashes: serving writes raw values as text by it."""


@dataclass(frozen=True)
class Download:
    """A raw file, or an archive of raw files, at a stable public address."""

    url: str
    checksum: str | None
    """As published: ``sha256:…`` or ``md5:…``; None if none is published."""
    folder: str
    """Name of its folder in the cache; the same for data sets that share files."""
    largest: int = 2**30
    """Largest size of an unpacked archive, in bytes."""

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Truth:
    """The known truth behind generated rows."""

    widths: Mapping[str, Mapping[str, int]]
    """True width of each raw value, by field."""
    bayes_auc: float
    """AUC of the true probabilities: no model is better, except by chance."""


@dataclass(frozen=True)
class Dataset(Component, ABC):
    """Base of all data sets: a name, a licence, and an iterator over blocks of rows."""

    kind = "dataset"
    title: ClassVar[str]
    """The name in full."""
    licence: ClassVar[str]
    """Terms of use; shown before a download."""
    citation: ClassVar[str]
    """The publication to cite."""
    url: ClassVar[str]
    """Address of the raw files, or of a description."""
    source: ClassVar[str] = ""
    """The origin of the rows. Encodings of the same rows share it, so that tests across data sets
    count it once; empty where it is the data set's own name."""
    files: ClassVar[tuple[str, ...]] = ()
    """Names of the raw files, all in one folder."""
    downloads: ClassVar[tuple[Download, ...]] = ()
    """What ``pepbench data fetch`` downloads, where licence and publisher permit."""
    generated: ClassVar[bool] = False
    """Whether the rows need no raw files."""
    user_field: ClassVar[str | None] = None
    """The field that holds the user of each row; None if rows have no known user.

    Rows of one user are not independent, and the analysis counts users instead."""

    @property
    def how_to_add(self) -> str:
        """The command that adds it."""
        return f"pepbench data add {self.spec} --from FOLDER"

    def split_scheme(self, source: Path | None) -> SplitScheme:  # noqa: ARG002
        """How rows are assigned to training, validation and test."""
        return "random"

    @property
    def sample(self) -> int | None:
        """Number of rows to take at random; None for all."""
        return None

    def encoding(self, field: str) -> FieldEncoding:  # noqa: ARG002
        """Which raw values of a field become features; fitted on training rows."""
        return FieldEncoding()

    def value_transform(self, field: str) -> ValueTransform | None:  # noqa: ARG002
        """What the raw values of a field's column became in :meth:`blocks`, if that is known.

        Exported tables do the same to the values that they are given.
        """
        return None

    def bag(self, field: str) -> BagOptions | None:  # noqa: ARG002
        """How the values of a multi-valued field are kept and pooled; None for other fields."""
        return None

    def dense_transform(self, name: str) -> Transform:  # noqa: ARG002
        """How the numbers of a dense field are scaled."""
        return "standard"

    def raw_files(self, source: Path) -> dict[str, Path]:
        """The raw files by name; their checksums are recorded under these names.

        Parameters
        ----------
        source
            Given by the user: here the folder of :attr:`files`.

        Raises
        ------
        DataError
            If one is missing or empty; the message says what is expected.
        """
        return files_in(source, self.files)

    def identity(self) -> dict[str, Any]:
        """What determines the rows, with name and version: the key of a table in the cache."""
        return {
            option.name: getattr(self, option.name)
            for option in self.described_options()
            if getattr(self, option.name) != option.default
        }

    @abstractmethod
    def blocks(self, source: Path | None) -> Iterator[Block]:
        """Yield all rows in order, in blocks that fit in memory.

        The rows must not depend on how they are cut into blocks.

        Parameters
        ----------
        source
            As for :meth:`raw_files`: the folder of :attr:`files`, or a file; None for generated
            data sets.

        Raises
        ------
        DataError
            If a raw file is not as expected; the message names file and row.
        """

    def truth(self) -> Truth | None:
        """The known truth behind generated rows; None for other data sets."""
        return None

    def probabilities(self) -> Iterator[NDArray[np.float64]] | None:
        """Yield the true probability of label 1 of each row, in order; None if it is not known.

        Used by the analysis alone, after the last fit; no method sees it.
        """
        return None

    @property
    def spec(self) -> str:
        """The name, and the options that are not at their default: ``synthetic:rows=50000``."""
        changed = [
            f"{option.name}={value}"
            for option in self.described_options()
            if (value := getattr(self, option.name)) != option.default
        ]
        return ":".join([self.name, *changed])


@dataclass(frozen=True)
class SampledDataset(Dataset):
    """Base of large data sets: with an option to take only some rows."""

    rows: Annotated[
        int, Between(0, MOST_ROWS, tuned=False), "rows to take at random; 0 for all"
    ] = 0

    @property
    def sample(self) -> int | None:
        """Number of rows to take at random; None for all."""
        return self.rows or None
