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
from typing import Any, ClassVar, NamedTuple

import pyarrow as pa
from numpy.typing import NDArray

from pepbench.component import Component


class Block(NamedTuple):
    """Some consecutive rows.

    The same columns, in the same order, come with every block of a data set. A missing value is
    a value of its own: null and the empty string are one feature.
    """

    columns: dict[str, pa.Array]
    """One array of n raw values for each field, of any type that Arrow can write as text."""
    labels: NDArray[Any]
    """Shape (n,): 0 or 1."""


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
    files: ClassVar[tuple[str, ...]] = ()
    """Names of the files that the source folder must hold."""
    generated: ClassVar[bool] = False
    """Whether the rows need no raw files."""

    @abstractmethod
    def blocks(self, source: Path | None) -> Iterator[Block]:
        """Yield all rows in order, in blocks that fit in memory.

        How rows are cut into blocks must not change what the rows are.

        Parameters
        ----------
        source
            The folder that holds :attr:`files`; None for generated data sets.

        Raises
        ------
        DataError
            If a raw file is not what it should be: names the file and the row.
        """

    def truth(self) -> Truth | None:
        """What was planted into generated rows; None for all others."""
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
