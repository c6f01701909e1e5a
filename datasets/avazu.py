"""Avazu: ten days of clicks on mobile advertisements."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from pepbench.component import Between, OneOf
from pepbench.data.dataset import Block, SampledDataset
from pepbench.data.encoding import FieldEncoding
from pepbench.data.readers.chunk import Chunk
from pepbench.data.readers.delimited import read_chunks
from pepbench.data.readers.raw_files import one_file

PLAIN = (
    "C1", "banner_pos", "site_id", "site_domain", "site_category", "app_id", "app_domain",
    "app_category", "device_id", "device_ip", "device_model", "device_type", "device_conn_type",
    *(f"C{i}" for i in range(14, 22)),
)  # fmt: skip
COLUMNS = ("id", "click", "hour", *PLAIN)
FILES = ("train.csv", "train.csv.gz", "train.gz", "train.csv.zst")


@dataclass(frozen=True)
class Avazu(SampledDataset):
    """Avazu click-through rate prediction (2014): 23 fields; positive: a click.

    ``hour`` (YYMMDDHH) becomes the hour of the day and the day of the week, 0 for Monday; the id is
    dropped. Values in fewer than ``min_count`` training rows share one feature. Reads
    ``train.csv`` (40.4 million rows), also as .gz or .zst.
    """

    name = "avazu"
    title = "Avazu click-through rate prediction"
    licence = "Avazu, by the rules of the Kaggle competition: no redistribution"
    citation = "Avazu: Click-Through Rate Prediction, Kaggle 2014"
    url = "https://www.kaggle.com/c/avazu-ctr-prediction"
    files = (FILES[0],)

    min_count: Annotated[int, Between(1, 10**9, tuned=False), "fewest training rows of a value"] = 4
    split: Annotated[str, OneOf("random", "time", tuned=False), "time: by the hour"] = "random"

    def raw_files(self, source: Path) -> dict[str, Path]:
        """The one file."""
        path = one_file(source, FILES)
        return {path.name: path}

    def split_scheme(self, source: Path | None) -> Literal["random", "time"]:  # noqa: ARG002
        """At random or by the hour."""
        return "time" if self.split == "time" else "random"

    def encoding(self, field: str) -> FieldEncoding:  # noqa: ARG002
        """Rare values share a feature."""
        return FieldEncoding(min_count=self.min_count)

    def blocks(self, source: Path | None) -> Iterator[Block]:
        """Yield all rows in the order of the file."""
        assert source is not None
        path = one_file(source, FILES)
        for chunk in read_chunks(path, COLUMNS, separator=",", header=True):
            hours, weekdays, times = calendar(chunk)
            columns = {"hour": hours, "weekday": weekdays, **{name: chunk[name] for name in PLAIN}}
            yield Block(columns, chunk.integers("click", 0, 1), times)


def calendar(chunk: Chunk) -> tuple[pa.Array, pa.Array, pa.Array]:
    """Hour of the day, day of the week and hours since 1970 of each row: three arrays (n,)."""
    stamps = chunk.integers("hour", 10_000_000, 99_999_999)
    distinct, indices = chunk.distinct("hour")
    texts = pc.binary_join_element_wise("20", distinct, "").take(pa.array(indices))
    parsed = pc.strptime(texts, format="%Y%m%d%H", unit="s", error_is_null=True)
    wrong = np.flatnonzero(parsed.is_null().to_numpy(zero_copy_only=False))
    if len(wrong):
        index = int(wrong[0])
        raise chunk.error(index, f"hour is {stamps[index]}, expected YYMMDDHH")
    since_1970 = pc.divide(parsed.cast(pa.int64()), 3_600)
    return pc.hour(parsed), pc.day_of_week(parsed), since_1970
