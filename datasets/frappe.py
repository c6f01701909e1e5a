"""Frappe: which apps people used in which context."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import pyarrow as pa

from pepbench.data.dataset import Block, Download, SampledDataset
from pepbench.data.readers.delimited import read_chunks
from pepbench.data.readers.formats import entry_ids
from pepbench.data.readers.raw_files import existing, not_empty
from pepbench.errors import DataError

FIELDS = (
    "user", "item", "daytime", "weekday", "isweekend", "homework", "cost", "weather", "country",
    "city",
)  # fmt: skip
FILES = ("frappe.train.libfm", "frappe.validation.libfm", "frappe.test.libfm")
"""Training, validation and test rows."""
ADDRESS = (
    "https://raw.githubusercontent.com/hexiangnan/neural_factorization_machine/master/data/frappe"
)
CHECKSUMS = {
    FILES[1]: "fdf4be563a7dd9b15f7a6e8b32671e90e6e7a2a2bd3af4e10bf13c5ad7e76e9e",
    FILES[2]: "a2ebaef3a9af8e55f8bb0d08bc4923965e42e43760ebd7635ac2f8c5db99e097",
}
"""Published checksums; there is none of the training file."""


@dataclass(frozen=True)
class Frappe(SampledDataset):
    """Frappe as prepared for NFM (He & Chua 2017): 10 fields; positive: used, negative: sampled.

    Reads ``frappe.train.libfm``, ``frappe.validation.libfm`` and ``frappe.test.libfm``. If all
    three exist, the split is the files' own (202,027 / 57,722 / 28,860 rows); else the rows of the
    existing ones are split at random by seed. ``pepbench data info frappe`` says which.
    """

    name = "frappe"
    title = "Frappe app usage with contexts"
    licence = "research use; cite the paper"
    citation = (
        "L. Baltrunas, K. Church, A. Karatzoglou, N. Oliver: Frappe: Understanding the Usage and "
        "Perception of Mobile App Recommendations In-The-Wild. arXiv 1505.03014, 2015"
    )
    url = "https://github.com/hexiangnan/neural_factorization_machine/tree/master/data/frappe"
    files = FILES
    user_field = "user"
    downloads = tuple(
        Download(
            f"{ADDRESS}/{name}",
            f"sha256:{CHECKSUMS[name]}" if name in CHECKSUMS else None,
            "frappe",
        )
        for name in FILES
    )

    def raw_files(self, source: Path) -> dict[str, Path]:
        """Those of the three files that exist."""
        expected = f"expected a folder with {', '.join(FILES)}, or some of them"
        if not existing(source, expected).is_dir():
            raise DataError(f"{source} is not a folder; {expected}")
        there = [name for name in FILES if existing(source / name).is_file()]
        if not there:
            raise DataError(f"{source} lacks all of {', '.join(FILES)}; {expected}")
        return {name: not_empty(source / name) for name in there}

    def split_scheme(self, source: Path | None) -> Literal["random", "file"]:
        """The files' own split if all three exist."""
        assert source is not None
        return "file" if len(self.raw_files(source)) == len(FILES) else "random"

    def blocks(self, source: Path | None) -> Iterator[Block]:
        """Yield training, validation and test rows, in the order of the files."""
        assert source is not None
        for name, path in self.raw_files(source).items():
            part = FILES.index(name)
            for chunk in read_chunks(path, ("label", *FIELDS), separator=" "):
                labels = chunk.integers("label", -1, 1)
                if not labels.all():
                    raise chunk.error(int(np.argmin(labels != 0)), "label is 0, expected -1 or 1")
                columns = {field: entry_ids(chunk, field) for field in FIELDS}
                yield Block(columns, labels > 0, pa.array(np.full(len(chunk), part)))
