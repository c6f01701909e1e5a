"""Epinions, Ciao, The Complete Journey, Frappe's log and MovieLens 1M without times."""

import numpy as np
import pandas as pd
import pytest
from pepbench.datasets.ciao import Ciao
from pepbench.datasets.complete_journey import PRODUCT, CompleteJourney
from pepbench.datasets.epinions import Epinions
from pepbench.datasets.frappe import FIELDS
from pepbench.datasets.frappe_log import FrappeLog, unused_apps
from pepbench.datasets.ml_1m import MovieLens1M, MovieLens1MIds

from pepbench.data.describe import describe
from pepbench.data.manage import add
from pepbench.data.splits import open_splits
from pepbench.errors import DataError


def decoded(table, *fields):
    """Raw values of some fields of a table, a column each."""
    at = [table.meta.fields.index(field) for field in fields]
    columns = {
        field: np.array(table.vocabularies[i], dtype=object)[table.codes[:, i]]
        for field, i in zip(fields, at, strict=True)
    }
    return pd.DataFrame(columns)


def written(folder, name, **columns):
    folder.mkdir(exist_ok=True)
    pd.DataFrame(columns).to_parquet(folder / name, index=False)
    return folder


@pytest.mark.parametrize(
    ("dataset", "folder", "rows", "positive"),
    [
        pytest.param(
            Epinions(), "epinions", 761_795, 0.7390, marks=pytest.mark.slow, id="epinions"
        ),
        pytest.param(Ciao(), "ciao", 282_650, 0.8003, id="ciao"),
    ],
)
def test_product_ratings_have_the_known_rows(raw, dataset, folder, rows, positive):
    table = add(dataset, raw(folder))
    assert table.meta.n_rows == rows
    assert table.meta.n_positive / rows == pytest.approx(positive, abs=5e-5)
    given = pd.read_parquet(raw(folder) / "ratings.parquet").drop_duplicates(["user", "item"])
    assert (table.labels == (given["rating"] >= 4)).all()
    assert (decoded(table, "item")["item"].astype(int).to_numpy() == given["item"]).all()


def test_first_rating_of_a_pair_is_kept_across_blocks(tmp_path, monkeypatch):
    monkeypatch.setattr("pepbench.data.readers.formats.ROWS_AT_A_TIME", 3)
    folder = written(
        tmp_path / "raw",
        "ratings.parquet",
        user=[1, 1, 1, 1, 2, 1, 2, 3, 3, 3, 3, 3],
        item=[1, 2, 1, 1, 1, 2, 1, 1, 2, 3, 4, 5],
        category=[1] * 12,
        rating=[5, 3, 1, 1, 4, 5, 1, 2, 2, 2, 5, 0],
    )
    table = add(Ciao(), folder)
    assert table.labels.tolist() == [1, 0, 1, 0, 0, 0, 1, 0]
    assert decoded(table, "user", "item").to_numpy().tolist()[:3] == [
        ["1", "1"],
        ["1", "2"],
        ["2", "1"],
    ]


def test_rating_outside_the_scale_is_named(tmp_path):
    folder = written(
        tmp_path / "raw",
        "ratings.parquet",
        user=[1, 2],
        item=[1, 1],
        category=[1, 1],
        rating=[5, 0],
    )
    with pytest.raises(DataError, match=r"ratings\.parquet, row 2: rating is 0, .* from 1 to 5"):
        add(Epinions(), folder)


@pytest.mark.slow
def test_complete_journey_has_the_known_rows_split_in_time(raw):
    splits = open_splits(add(CompleteJourney(), raw("complete-journey")), 0)
    meta = splits.table.meta
    assert (meta.n_rows, len(meta.fields)) == (1_469_307, 11)
    assert meta.n_positive / meta.n_rows == pytest.approx(0.5012, abs=5e-5)
    assert splits.meta.n_rows["test"] == pytest.approx(0.1 * meta.n_rows, rel=1e-3)
    # What training has not seen is new by time: 10 % of a random split would miss far less.
    assert splits.meta.n_unseen["test"] > 0


def test_complete_journey_is_the_same_from_the_packages_own_files(raw, tmp_path):
    """The prepared file taken apart into the two tables that the package ships."""
    prepared = pd.read_parquet(raw("complete-journey") / "transactions.parquet").iloc[:20_000]
    about = list(PRODUCT.values())
    package = tmp_path / "package"
    package.mkdir()
    products = prepared.drop_duplicates("product_id")[["product_id", *about]]
    products = products.mask(products == "NA")
    known = products["manufacturer_id"].notna()
    products = products[known].assign(
        manufacturer_id=products["manufacturer_id"][known].astype(float).astype("int64")
    )
    products.to_parquet(package / "products.parquet", index=False)
    bought = prepared[["household_id", "store_id", "product_id", "week"]].assign(
        retail_disc=prepared["on_promo"] * 0.5,
        transaction_timestamp=pd.to_datetime(prepared["transaction_timestamp"], unit="s"),
    )
    bought.to_parquet(package / "transactions.parquet", index=False)
    alone = tmp_path / "alone"
    alone.mkdir()
    prepared.to_parquet(alone / "transactions.parquet", index=False)
    assert add(CompleteJourney(), package).fingerprint == add(CompleteJourney(), alone).fingerprint


def test_complete_journey_names_what_lacks(tmp_path):
    folder = written(tmp_path / "raw", "transactions.parquet", retail_disc=[0.0])
    with pytest.raises(DataError, match=r"lacks products\.parquet"):
        add(CompleteJourney(), folder)


def test_frappe_log_samples_two_unused_apps_in_the_same_circumstances(raw):
    table = add(FrappeLog(), raw("frappe"))
    log = pd.read_parquet(raw("frappe") / "frappe-log.parquet")
    assert table.meta.n_rows == 288_609 == 3 * len(log)
    assert (table.labels.reshape(-1, 3) == [1, 0, 0]).all()
    rows = decoded(table, "user", "item", "daytime", "city", "cost")
    assert (rows["user"].to_numpy().reshape(-1, 3) == log[["user"]].astype(str).to_numpy()).all()
    for field in ("daytime", "city"):
        given = log[[field]].astype(str).to_numpy()
        assert (rows[field].to_numpy().reshape(-1, 3) == given).all()
    used = set(zip(log["user"].astype(str), log["item"].astype(str), strict=True))
    negatives = rows[table.labels == 0]
    assert used.isdisjoint(zip(negatives["user"], negatives["item"], strict=True))
    first, second = negatives["item"].to_numpy().reshape(-1, 2).T
    assert (first != second).all()
    # The cost is the app's: it tells nothing about the label that the app does not.
    assert (rows.groupby("item")["cost"].nunique() == 1).all()


def test_unused_apps_are_uniform_over_what_is_left():
    users, apps = np.zeros(30_000, dtype=int), np.tile([0, 1], 15_000)
    apps[0] = 5
    drawn = unused_apps(users, apps, 2, seed=3)
    counts = np.bincount(drawn.ravel(), minlength=6)
    assert counts[[0, 1, 5]].sum() == 0
    assert (drawn[:, 0] != drawn[:, 1]).all()
    assert counts[2:5] == pytest.approx(20_000, rel=0.03)


def test_log_with_a_user_of_all_apps_is_refused(tmp_path):
    context = {name: ["x", "x"] for name in FIELDS if name not in ("user", "item", "city")}
    folder = written(
        tmp_path / "raw", "frappe-log.parquet", user=[1, 1], item=[1, 2], city=[0, 0], **context
    )
    with pytest.raises(DataError, match="has used so many of 2 apps"):
        add(FrappeLog(), folder)


@pytest.mark.slow
def test_movielens_1m_is_whole_without_times(raw):
    ids, plain = (add(dataset, raw("ml-1m")) for dataset in (MovieLens1MIds(), MovieLens1M()))
    assert ids.meta.n_rows == plain.meta.n_rows == 739_012
    assert (ids.labels == plain.labels).all()
    assert "timestamp" not in plain.meta.fields
    assert len(plain.meta.fields) == 6
    late = add(MovieLens1M(late=True), raw("ml-1m"))
    assert (late.meta.n_rows, len(late.meta.fields)) == (146_035, 7)


@pytest.fixture
def forms(raw, tmp_path):
    """The same 3,000 ratings as GroupLens writes them, as Parquet and as CSV."""
    given = pd.read_parquet(raw("ml-1m") / "ratings.parquet")
    given = given[given["timestamp"].notna()].iloc[::200].head(3_000)
    columns = ["user_id", "movie_id", "rating", "timestamp"]
    given = given[columns].astype("int64")

    def folder_of(name, rows=given):
        folder = tmp_path / f"{name}-{len(rows.columns)}-{len(rows)}-{rows.isna().sum().sum()}"
        folder.mkdir()
        for file in ("users.dat", "movies.dat"):
            (folder / file).write_bytes((raw("ml-1m") / file).read_bytes())
        path = folder / f"ratings.{name}"
        if name == "dat":
            lines = ["::".join(map(str, row)) for row in rows.to_numpy().tolist()]
            path.write_text("\n".join(lines) + "\n")
        elif name == "csv":
            rows.rename(columns={"user_id": "userId", "movie_id": "movieId"}).to_csv(
                path, index=False
            )
        else:
            rows.to_parquet(path, index=False)
        return folder

    return given, folder_of


@pytest.mark.parametrize(
    "dataset", [MovieLens1M(), MovieLens1MIds(split="time"), MovieLens1M(late=True)]
)
def test_ratings_are_the_same_from_every_form(forms, dataset):
    _, folder_of = forms
    found = {
        open_splits(add(dataset, folder_of(name)), 0).fingerprint
        for name in ("dat", "parquet", "csv")
    }
    assert len(found) == 1


@pytest.mark.parametrize("name", ["dat", "parquet", "csv"])
def test_ratings_without_times_lack_one_field_and_the_split_by_time(forms, name):
    given, folder_of = forms
    folder = folder_of(name, given.drop(columns="timestamp"))
    assert len(add(MovieLens1M(), folder).meta.fields) == 6
    with pytest.raises(DataError, match=r"3,000 ratings have no time.*split=random"):
        add(MovieLens1MIds(split="time"), folder)
    with pytest.raises(DataError, match="late=true needs the times"):
        add(MovieLens1M(late=True), folder)


@pytest.mark.parametrize("name", ["parquet", "csv"])
def test_a_single_missing_time_takes_the_field_away(forms, name):
    given, folder_of = forms
    given = given.astype({"timestamp": "Int64"})
    given.iloc[7, 3] = None
    folder = folder_of(name, given)
    assert "timestamp" not in add(MovieLens1M(), folder).meta.fields
    with pytest.raises(DataError, match=r": 1 ratings have no time"):
        add(MovieLens1MIds(split="time"), folder)


def test_encodings_of_the_same_rows_name_one_source(raw):
    add(FrappeLog(), raw("frappe"))
    assert describe(FrappeLog())["source"] == "frappe"
    assert MovieLens1M.source == MovieLens1MIds.source != ""
    assert not Ciao.source
