"""What every data set must do."""

import json

import numpy as np
import pytest
from pepbench.datasets.anime import Anime
from pepbench.datasets.ciao import Ciao
from pepbench.datasets.complete_journey import CompleteJourney
from pepbench.datasets.criteo import Criteo
from pepbench.datasets.epinions import Epinions
from pepbench.datasets.frappe import Frappe
from pepbench.datasets.frappe_log import FrappeLog
from pepbench.datasets.ml_1m import MovieLens1M, MovieLens1MIds
from pepbench.datasets.ml_100k import MovieLens100K, MovieLens100KIds
from pepbench.datasets.synthetic import Synthetic

from pepbench.component import split_spec
from pepbench.data.dataset import Dataset
from pepbench.data.describe import describe
from pepbench.data.manage import add, is_added, open_table, verify
from pepbench.data.splits import open_splits

CASES = [
    (MovieLens100K(), "ml-100k", "4dace3254ade1e55", "9856af4f1274aa48"),
    (MovieLens100KIds(), "ml-100k", "4aa34c96e2374c46", "92571315819757b0"),
    (Anime(), "anime", "36d0d034d061d476", "65d3120ec0d8ac2f"),
    (
        MovieLens100KIds(split="time"),
        "ml-100k",
        "4aa34c96e2374c46",
        "d42b187b5847cc80",
    ),
    (
        MovieLens100KIds(split="user"),
        "ml-100k",
        "4aa34c96e2374c46",
        "8730af71c48baa15",
    ),
    (Criteo(), "criteo", "87edd66f6e67576e", "10ec01376d0b834d"),
    (Criteo(rows=500), "criteo", "3a3e46dc002d9e40", "c2bfdb9059e55ad2"),
    (
        Criteo(min_count=2, split="time"),
        "criteo",
        "87edd66f6e67576e",
        "d26d37cfbe73fdc2",
    ),
    (Ciao(), "ciao", "58f37462bbba7a5d", "465b0b4af148cde3"),
    (FrappeLog(), "frappe", "9935e2373b3a7a3e", "76ff9b821779b620"),
    (MovieLens1M(late=True), "ml-1m", "9089ec5ff63493ba", "03be9dfb9630cf49"),
    (Frappe(), "frappe", "0063c1742ba3d5ab", "53c3be47801b7491"),
    (Synthetic(), None, "c1fbbc8c58806ea7", "c72daeded2e2915c"),
    (
        Synthetic(rows=1_000, fields=3, features=50, dim=3, seed=5),
        None,
        "c6045d34927df49a",
        "19412e59cc6d39e7",
    ),
]
"""Data set, its folder under the raw data, and the fingerprints of table and split 0."""

LARGE = [
    (Epinions(), "epinions", "1d4e374d1cace080", "30fa4f521bc2d8e5"),
    (CompleteJourney(), "complete-journey", "d99b36a0199cd1df", "04f490f22135e24d"),
    (MovieLens1MIds(), "ml-1m", "eb8fdabca5fbe662", "744a04de2356f97f"),
    (MovieLens1M(), "ml-1m", "a701c12e698a39fa", "5169a0e27a6ee7ea"),
]


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    """One cache for all of these tests: each data set is encoded once."""
    monkeypatch.setenv("PEPBENCH_CACHE", str(tmp_path_factory.getbasetemp() / "contract-cache"))


@pytest.fixture(
    params=[*CASES, *(pytest.param(case, marks=pytest.mark.slow) for case in LARGE)],
    ids=lambda case: case[0].spec,
)
def case(request, raw):
    dataset, folder, *fingerprints = request.param
    return dataset, None if folder is None else raw(folder), *fingerprints


def test_fingerprints_are_pinned(case):
    dataset, source, table_fingerprint, split_fingerprint = case
    table = add(dataset, source)
    assert table.fingerprint == table_fingerprint
    assert open_splits(table, 0).fingerprint == split_fingerprint


def test_says_who_made_it_and_who_may_use_it(case):
    dataset = case[0]
    for text in (dataset.title, dataset.licence, dataset.citation, dataset.url):
        assert text.strip()
    assert dataset.generated == (not dataset.files)


def test_spec_leads_back_to_the_data_set(case):
    dataset: Dataset = case[0]
    name, texts = split_spec(dataset.spec)
    assert name == dataset.name
    assert type(dataset).from_options(type(dataset).parse_options(texts)) == dataset


def test_added_data_set_is_whole_and_described(case):
    dataset, source, *_ = case
    add(dataset, source)
    assert is_added(dataset)
    described = json.loads(json.dumps(describe(dataset)))
    assert verify(dataset) == []
    assert described["rows"] == len(open_table(dataset).labels)
    assert described["features"] == sum(described["fields"].values())


def test_splits_hold_global_ids_of_all_fields(case):
    dataset, source, *_ = case
    splits = open_splits(add(dataset, source), 1)
    fields = splits.fields
    for rows in (splits.train, splits.validation, splits.open_test()):
        assert rows.ids.dtype == np.int32
        assert (rows.ids >= fields.offsets).all()
        assert (rows.ids < fields.offsets + fields.cardinalities).all()
    assert (np.delete(fields.frequencies, fields.offsets) > 0).all()
    for name, rare in zip(fields.names, fields.frequencies[fields.offsets], strict=True):
        assert rare == 0 or splits.table.meta.encoding(name).min_count > 1
    assert fields.frequencies.sum() == splits.train.ids.size
