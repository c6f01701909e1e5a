"""A user's own data with rare, missing and binned values: served as it was encoded."""

import numpy as np
import pandas as pd
import pytest

from pepbench.catalog import Catalog
from pepbench.data.manage import open_table
from pepbench.data.splits import open_splits
from pepbench.export.folder import described_fields
from pepbench.serve.vocabulary import read_fields


@pytest.fixture
def rows():
    rng = np.random.default_rng(0)
    n = 400
    return pd.DataFrame(
        {
            "city": rng.choice(["Rome", "Oslo", "Lima", None], n),
            "shop": rng.zipf(1.7, n) % 50,
            "price": np.where(rng.random(n) < 0.1, np.nan, rng.normal(size=n)),
            "clicked": rng.integers(0, 2, n),
        }
    )


def test_raw_values_of_own_data_get_the_codes_of_the_split(pepbench, rows, tmp_path, monkeypatch):
    monkeypatch.setenv("PEPBENCH_CACHE", str(tmp_path / "cache"))
    rows.to_parquet(tmp_path / "rows.parquet")
    added = pepbench(
        "data", "add", "mine", "--from", "rows.parquet", "--label=clicked", "--fields=city,shop",
        "--numeric=price", "--bins=5", "--min-count=3",
    )  # fmt: skip
    assert added.code == 0, added.err
    dataset = Catalog().select("dataset", "mine").default()
    splits = open_splits(open_table(dataset), 0)
    fields = read_fields(described_fields(splits))
    assert [field.name for field in fields] == list(splits.fields.names)
    for column, field in enumerate(fields):
        expected = splits.codes_of_values(column)[splits.table.codes[:, column]]
        np.testing.assert_array_equal(field.codes(rows[field.name].tolist()), expected)
    price = next(field for field in fields if field.name == "price")
    # A number that no row has is binned like its neighbours.
    assert price.codes([-1e9, 1e9, "x"]).tolist() == [1, len(price.edges) + 1, 0]
