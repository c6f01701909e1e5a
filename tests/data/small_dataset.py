"""A data set of rows given in memory, cut into blocks of any size."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pyarrow as pa

from pepbench.data.dataset import Block, Dataset


@dataclass(frozen=True)
class Small(Dataset):
    name = "small"
    title = "Small"
    licence = "none"
    citation = "none"
    url = "none"
    generated: ClassVar[bool] = True
    columns: ClassVar[dict[str, list[Any]]] = {}
    labels: ClassVar[Sequence[float]] = ()
    block_rows: ClassVar[int] = 1_000
    fail_at: ClassVar[int | None] = None

    def blocks(self, source: Path | None) -> Iterator[Block]:  # noqa: ARG002
        for start in range(0, len(self.labels), self.block_rows):
            if self.fail_at is not None and start >= self.fail_at:
                raise RuntimeError("the reader broke")
            part = slice(start, start + self.block_rows)
            columns = {name: pa.array(values[part]) for name, values in self.columns.items()}
            yield Block(columns, np.asarray(self.labels[part]))


def small(columns: dict[str, list[Any]], labels: Sequence[float], **more: Any) -> Small:
    members = {"columns": columns, "labels": labels, **more}
    return type("Given", (Small,), members)()


def random_rows(n: int = 200, seed: int = 0) -> tuple[dict[str, list[str]], list[int]]:
    rng = np.random.default_rng(seed)
    sizes = {"a": 7, "b": 40}
    columns = {name: rng.integers(0, k, n).astype(str).tolist() for name, k in sizes.items()}
    return columns, rng.integers(0, 2, n).tolist()


def overwrite(path: Path, content: bytes) -> None:
    """Damage a finished file of the cache, which is read-only."""
    path.unlink()
    path.write_bytes(content)
