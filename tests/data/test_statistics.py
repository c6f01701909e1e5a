import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from split_helpers import feature_values

from pepbench.catalog import Catalog
from pepbench.data.describe import chart, coverage, curve, gini, zipf_exponent
from pepbench.data.manage import open_table
from pepbench.data.splits import open_splits

frequencies = st.lists(st.integers(0, 50), min_size=2, max_size=40).map(np.array)


@given(frequencies.filter(lambda f: f.sum() > 0))
def test_gini_is_the_mean_difference_over_twice_the_mean(f):
    differences = np.abs(f[:, None] - f[None, :]).mean()
    assert gini(f) == pytest.approx(differences / (2 * f.mean()))


@given(frequencies.filter(lambda f: f.sum() > 0), st.sampled_from([0.01, 0.1, 0.5, 1.0]))
def test_coverage_is_that_of_the_sorted_features(f, share):
    top = max(1, round(share * len(f)))
    assert coverage(f, share) == pytest.approx(sorted(f)[-top:] @ np.ones(top) / f.sum())


@pytest.mark.parametrize("exponent", [0.4, 0.7, 1.0, 1.5])
def test_zipf_exponent_is_recovered(exponent):
    ranks = np.arange(1, 2_001)
    p = ranks**-exponent / (ranks**-exponent).sum()
    drawn = np.random.default_rng(0).multinomial(10**6, p)
    assert zipf_exponent(drawn) == pytest.approx(exponent, abs=0.02)


def test_curve_falls_and_ends_at_the_ends():
    points = curve(np.random.default_rng(0).permutation(5_000))
    assert points[0] == (1, 4_999)
    assert points[-1] == (5_000, 0)
    assert [f for _, f in points] == sorted((f for _, f in points), reverse=True)
    assert chart(points)[0] == "█"


def test_info_tells_how_uneven_the_features_are(command):
    spec = "synthetic:rows=5000:features=300"
    facts = json.loads(command("data", "info", spec, "--json").out)
    assert 0 < facts["coverage"]["top 1%"] < facts["coverage"]["top 10%"] <= 1
    assert 0 < facts["gini"] < 1
    assert facts["frequency_curve"][0][0] == 1
    assert facts["unseen_share"].keys() == {"validation", "test"}
    text = command("data", "info", spec).out
    assert "coverage" in text
    assert "█" in text


def test_export_gives_the_splits_back_with_row_numbers(command, tmp_path):
    spec = "synthetic:rows=2000:features=60:fields=3"
    ran = command("data", "export", spec, tmp_path / "out.parquet", "--split-seed=3")
    assert ran.code == 0
    rows = pq.read_table(tmp_path / "out.parquet")
    assert rows["row"].to_pylist() == list(range(1, 2_001))
    table = open_table(Catalog().select("dataset", spec).default())
    splits = open_splits(table, 3)
    held = rows.filter(np.array(rows["split"].to_pylist()) == "test")
    test = splits.open_test()
    assert held["label"].to_pylist() == test.labels.tolist()
    values = feature_values(splits)
    for field in range(3):
        raw = held[f"f{field}"].to_pylist()
        for value, feature in zip(raw, test.ids[:, field], strict=True):
            assert values[feature] in (value, None)
    left = [path.name for path in tmp_path.iterdir()]
    assert sorted(left) == ["cache", "out.parquet"]


def test_an_export_replaces_exports_only(command, tmp_path):
    mine = tmp_path / "mine.parquet"
    pq.write_table(pa.table({"label": [0, 1]}), mine)
    before = mine.read_bytes()
    ran = command("data", "export", "synthetic:rows=2000", mine)
    assert (ran.code, mine.read_bytes()) == (2, before)
    assert "exists and is no such export; remove it, or name another file" in ran.err
    for _ in range(2):
        assert command("data", "export", "synthetic:rows=2000", tmp_path / "o.parquet").code == 0


def test_export_to_nowhere_is_an_error(command, tmp_path):
    ran = command("data", "export", "synthetic:rows=2000", tmp_path / "no" / "out.parquet")
    assert ran.code == 2
    assert "out.parquet cannot be written" in ran.err
    ran = command("data", "export", "synthetic:rows=2000", tmp_path / "out.csv")
    assert ran.code == 2
    assert "out.csv: the export is a Parquet file; name it out.parquet" in ran.err
    assert not (tmp_path / "out.csv").exists()
