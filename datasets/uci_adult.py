"""UCI Adult: who earns more than 50,000 dollars a year, from a census."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from pepbench.data.dataset import Block, Dataset, Download
from pepbench.data.encoding import FieldEncoding
from pepbench.data.readers.chunk import Chunk
from pepbench.data.readers.delimited import Dialect, chunk_of
from pepbench.data.readers.raw_files import readable

COLUMNS = (
    "age", "workclass", "fnlwgt", "education", "education-num", "marital-status", "occupation",
    "relationship", "race", "sex", "capital-gain", "capital-loss", "hours-per-week",
    "native-country",
)  # fmt: skip
NUMBERS = (
    "age", "fnlwgt", "education-num", "capital-gain", "capital-loss", "hours-per-week",
)  # fmt: skip
LARGEST = 10**9
LABEL = "income"
ADDRESS = "https://archive.ics.uci.edu/ml/machine-learning-databases/adult"
CHECKSUMS = {
    "adult.data": "5b00264637dbfec36bdeaab5676b0b309ff9eb788d63554ca0a249491c86603d",
    "adult.test": "a2a9044bc167a35b2361efbabec64e89d69ce82d9790d2980119aac5fd7e9c05",
}


@dataclass(frozen=True)
class UciAdult(Dataset):
    """UCI Adult (census income): 14 fields; positive: an income above 50K.

    Six columns of numbers are cut into 32 bins each; ``?`` counts as missing. The 48,842 rows of
    ``adult.data`` and ``adult.test`` are split at random by seed: the publisher's own split has no
    validation rows.
    """

    name = "uci-adult"
    title = "UCI Adult (census income)"
    licence = "CC BY 4.0"
    citation = "B. Becker, R. Kohavi: Adult. UCI Machine Learning Repository, 1996"
    url = "https://archive.ics.uci.edu/dataset/2/adult"
    files = tuple(CHECKSUMS)
    downloads = tuple(
        Download(f"{ADDRESS}/{name}", f"sha256:{checksum}", "adult")
        for name, checksum in CHECKSUMS.items()
    )

    def encoding(self, field: str) -> FieldEncoding:
        """Numbers are binned."""
        return FieldEncoding(bins=32) if field in NUMBERS else FieldEncoding()

    def blocks(self, source: Path | None) -> Iterator[Block]:
        """Yield the rows of both files."""
        assert source is not None
        for path in self.raw_files(source).values():
            chunk = read_rows(path)
            for name in NUMBERS:
                chunk.integers(name, 0, LARGEST)
            texts, indices = chunk.distinct(LABEL)
            legal = pc.match_substring_regex(texts, r"^(<=|>)50K[.]?$")
            wrong = ~legal.to_numpy(zero_copy_only=False)
            chunk.refuse(LABEL, wrong, indices, "expected <=50K or >50K")
            columns = {name: without_question_marks(chunk, name) for name in COLUMNS}
            positive = pc.starts_with(texts, ">").to_numpy(zero_copy_only=False)
            yield Block(columns, positive[indices])


def without_question_marks(chunk: Chunk, column: str) -> pa.DictionaryArray:
    """A column with missing values empty, (n,)."""
    texts, indices = chunk.distinct(column)
    given = pc.if_else(pc.equal(texts, "?"), "", texts)
    return pa.DictionaryArray.from_arrays(pa.array(indices), given)


def read_rows(path: Path) -> Chunk:
    """One of the files, without the remark at its start and the empty line at its end."""
    with readable(path):
        content = path.read_bytes()
    if content.endswith(b"\n\n"):
        content = content[:-1]
    first_row = 1
    if content.startswith(b"|"):
        content = content.partition(b"\n")[2]
        first_row = 2
    names = (*COLUMNS, LABEL)
    return chunk_of(path, first_row, Dialect(", ").columns(content, names, names))
