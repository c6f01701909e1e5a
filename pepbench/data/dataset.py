"""The seam of data sets: one class a data set, which yields its rows block by block.

A data set is a frozen dataclass whose fields are its options (see :mod:`pepbench.component`).
It says what it is called, who may use it and how to cite it, and turns raw files, or a random
number generator, into :class:`Block` objects. Encoding, caching and splitting are not its business.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, NamedTuple

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from pepbench.component import Between, Component
from pepbench.data.encoding import FieldEncoding
from pepbench.data.sources import files_in
from pepbench.data.text import Column

SplitScheme = Literal["random", "time", "group", "file"]


class Block(NamedTuple):
    """Some consecutive rows.

    The same columns, in the same order, come with every block of a data set. A missing value is
    a value of its own: null and the empty string are one feature.
    """

    columns: dict[str, Column]
    """The n raw values of each field: text, or any type that Arrow can write as text."""
    labels: NDArray[Any]
    """Shape (n,): 0 or 1."""
    split_key: pa.Array | None = None
    """What the rows are split by, one value a row; only where :meth:`Dataset.split_scheme` is not
    ``random``. ``time``: whole numbers, later ones are larger. ``group``: the user, of any type
    that can be written as text. ``file``: 0 for training, 1 validation, 2 test."""


@dataclass(frozen=True)
class Download:
    """A raw file, or an archive of raw files, at a stable public address."""

    url: str
    checksum: str | None
    """As published: ``sha256:…`` or ``md5:…``; None where nobody has published one."""
    folder: str
    """Where in the cache it goes; the same for data sets that share files."""
    largest: int = 2**30
    """How many bytes an archive may unpack to."""

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.url.rsplit("/", 1)[-1]


@dataclass(frozen=True)
class Truth:
    """What is known about generated rows because they were planted."""

    widths: Mapping[str, Mapping[str, int]]
    """For each field, the number of dimensions that the truth gives to each raw value."""
    bayes_auc: float
    """AUC of the true probabilities: what no model beats but by luck."""


@dataclass(frozen=True)
class Dataset(Component, ABC):
    """Base of all data sets: a name, a licence, and an iterator over blocks of rows."""

    kind = "dataset"
    title: ClassVar[str]
    """The name in words."""
    licence: ClassVar[str]
    """Under which terms the rows may be used; shown before they are added."""
    citation: ClassVar[str]
    """What to cite."""
    url: ClassVar[str]
    """Where the raw files, or a description, can be found."""
    source: ClassVar[str] = ""
    """The origin of the rows. Encodings of the same rows share it, so that tests across data sets
    count it once; empty where it is the data set's own name."""
    files: ClassVar[tuple[str, ...]] = ()
    """Names of the files that the source folder must hold."""
    downloads: ClassVar[tuple[Download, ...]] = ()
    """What ``pepbench data fetch`` gets, where licence and publisher permit."""
    generated: ClassVar[bool] = False
    """Whether the rows need no raw files."""

    def split_scheme(self, source: Path | None) -> SplitScheme:  # noqa: ARG002
        """How rows are dealt to training, validation and test."""
        return "random"

    @property
    def sample(self) -> int | None:
        """How many rows to take at random; None for all."""
        return None

    @property
    def user_field(self) -> str | None:
        """The field that says whose a row is; None if none does or rows are nobody's.

        Rows of one user are not independent, and the analysis counts users instead.
        """
        return None

    def encoding(self, field: str) -> FieldEncoding:  # noqa: ARG002
        """Which raw values of a field become features; fitted on training rows."""
        return FieldEncoding()

    def raw_files(self, source: Path) -> dict[str, Path]:
        """The raw files, by the names that their checksums are noted under.

        Parameters
        ----------
        source
            What the user gave: here the folder that holds :attr:`files`.

        Raises
        ------
        DataError
            If one is missing or empty: says what is expected.
        """
        return files_in(source, self.files)

    def identity(self) -> dict[str, Any]:
        """What decides the rows beside name and version; tables are kept in the cache by it."""
        return {
            option.name: getattr(self, option.name)
            for option in self.described_options()
            if getattr(self, option.name) != option.default
        }

    @abstractmethod
    def blocks(self, source: Path | None) -> Iterator[Block]:
        """Yield all rows in order, in blocks that fit in memory.

        How rows are cut into blocks must not change what the rows are.

        Parameters
        ----------
        source
            What :meth:`raw_files` was given: the folder that holds :attr:`files`, or a file; None
            for generated data sets.

        Raises
        ------
        DataError
            If a raw file is not what it should be: names the file and the row.
        """

    def truth(self) -> Truth | None:
        """What was planted into generated rows; None for all others."""
        return None

    def probabilities(self) -> Iterator[NDArray[np.float64]] | None:
        """Yield the planted probability of label 1 of each row, in order; None for all others.

        For the analysis alone, after the last fit: no method ever sees it.
        """
        return None

    @property
    def spec(self) -> str:
        """The name and the options that are not at their default: ``synthetic:rows=50000``."""
        changed = [
            f"{option.name}={value}"
            for option in self.described_options()
            if (value := getattr(self, option.name)) != option.default
        ]
        return ":".join([self.name, *changed])


@dataclass(frozen=True)
class SampledDataset(Dataset):
    """Base of data sets that are often too large: with an option to take some rows only."""

    rows: Annotated[int, Between(0, 2**40, tuned=False), "rows to take at random; 0 for all"] = 0

    @property
    def sample(self) -> int | None:
        """How many rows to take at random; None for all."""
        return self.rows or None
