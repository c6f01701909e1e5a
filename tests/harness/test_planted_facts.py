"""What is kept about widths and truth beside the records of a run."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from pepbench.datasets.synthetic import Synthetic
from scipy.special import expit
from scipy.stats import spearmanr
from split_helpers import feature_values

from pepbench.data.manage import open_table
from pepbench.data.splits import open_splits
from pepbench.harness.fit_checks import BrokenContract, learnt_widths
from pepbench.harness.planted_facts import (
    facts_are_stored,
    feature_table,
    store_facts,
    true_test_probabilities,
)
from pepbench.metrics import auc
from pepbench.records import Record, RecordStore
from pepbench.report.findings import load_runs
from pepbench.tables.layout import Dense, Masked

METHODS = "--methods=random-mask,popularity-mask,hash,full"
SPEC = {"rows": 2000, "features": 60, "fields": 4}


@pytest.fixture
def splits(tiny_cache):  # noqa: ARG001
    return open_splits(open_table(Synthetic(**SPEC)), seed=0)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """The folder and the output of a run that all tests start from, once it has been made."""
    return tmp_path_factory.mktemp("original"), []


@pytest.fixture
def ran(original, tiny_run, tmp_path):
    made, outputs = original
    if not outputs:
        finished = tiny_run(METHODS, "--budgets=10%", f"--out={made}")
        assert finished.code == 0, finished.err
        outputs.append(finished.out)
    return Path(shutil.copytree(made, tmp_path / "run")), outputs[0]


def test_true_probabilities_are_those_of_the_test_rows(splits):
    truth = true_test_probabilities(Synthetic(**SPEC), splits)
    test = splits.open_test()
    values = feature_values(splits)
    known = ~np.isin(test.ids, splits.fields.offsets).any(axis=1)
    codes = np.array([[int(values[i]) for i in row] for row in test.ids[known].tolist()])
    expected = expit(Synthetic(**SPEC).model.logits(codes))
    assert known.sum() > 100
    np.testing.assert_allclose(truth[known], expected)
    assert len(truth) == len(test.labels)
    assert auc(test.labels, truth) > 0.8


def test_features_are_kept_with_planted_widths_by_raw_value(splits):
    kept = feature_table(splits).to_pandas()
    planted = Synthetic(**SPEC).truth().widths
    for field, width, value in zip(
        kept["field"], kept["planted_width"], feature_values(splits), strict=True
    ):
        assert (pd.isna(width)) if value is None else (width == planted[field][value])
    assert (kept["frequency"] == splits.fields.frequencies).all()


def test_facts_are_written_once_and_read_back(splits, tmp_path):
    store = RecordStore(tmp_path)
    assert store.load_truth(splits.fingerprint) is None
    assert store.load_features(splits.fingerprint) is None
    store_facts(store, Synthetic(**SPEC), splits)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    store_facts(store, Synthetic(**SPEC), splits)
    assert before == {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.*")}
    assert store.load_features(splits.fingerprint).equals(feature_table(splits))
    assert len(store.load_truth(splits.fingerprint)) == len(store.load_labels(splits.fingerprint))


@pytest.mark.slow
def test_final_runs_keep_the_widths_of_their_tables(ran, splits):
    folder, _ = ran
    store = RecordStore(folder)
    widths = {}
    for record in store:
        has_widths = record.spec.role == "final" and record.spec.method.name.endswith("mask")
        assert (record.widths_sha256 is not None) == has_widths
        if has_widths:
            widths[record.spec.method.name] = store.load_widths(record.key)
            assert widths[record.spec.method.name].sum() == record.n_parameters
    assert all(w.dtype == np.uint8 and len(w) == splits.fields.n_features for w in widths.values())


def test_run_reports_correlations_and_the_gap(ran, splits):
    folder, out = ran
    table = pd.read_csv(folder / "widths.csv").set_index("method")
    assert set(table.index) == {"random-mask", "popularity-mask", "hash", "full"}
    store = RecordStore(folder)
    finals = [r for r in store if r.spec.role == "final" and r.spec.method.name == "random-mask"]
    planted = splits.true_widths()
    seen = splits.fields.frequencies > 0
    expected = [spearmanr(store.load_widths(r.key)[seen], planted[seen]).statistic for r in finals]
    assert table.loc["random-mask", "planted_correlation"] == pytest.approx(np.mean(expected))
    assert table.loc["random-mask", "planted_spread"] == pytest.approx(np.std(expected, ddof=1))
    assert table.loc["popularity-mask", "frequency_correlation"] > 0.6
    assert table.loc["hash", "planted_correlation":"frequency_spread"].isna().all()
    labels = splits.open_test().labels
    bayes = auc(labels, true_test_probabilities(Synthetic(**SPEC), splits))
    assert table["bayes_gap"].to_numpy() == pytest.approx(bayes - table["auc"].to_numpy())
    assert "Bayes gap" in out


@pytest.mark.slow
def test_damaged_widths_are_set_aside_and_their_run_repeated(ran, tiny_run):
    folder, _ = ran
    before = {path.name: path.read_bytes() for path in (folder / "widths").iterdir()}
    damaged, missing = sorted((folder / "widths").glob("*.npy"))[:2]
    damaged.write_bytes(b"nonsense")
    missing.unlink()
    assert "2 trials run" in tiny_run(METHODS, "--budgets=10%", f"--out={folder}").err
    damaged.with_name(damaged.name + ".damaged").unlink()
    assert before == {path.name: path.read_bytes() for path in (folder / "widths").iterdir()}


@pytest.mark.slow
def test_a_report_lives_with_damaged_and_missing_files(ran, pepbench, nothing_drawn):  # noqa: ARG001
    folder, _ = ran
    (features,) = (folder / "widths").glob("features-*.parquet")
    features.write_bytes(b"nonsense")
    shutil.rmtree(folder / "predictions")
    ran_again = pepbench("report", folder)
    assert ran_again.code == 0
    assert "nothing is said about widths" in ran_again.err
    assert load_runs([folder]).recovery.frame.empty


def test_records_made_before_widths_were_kept_are_still_read(ran):
    folder, _ = ran
    for path in (folder / "records").glob("*.json"):
        document = json.loads(path.read_text())
        del document["widths_sha256"]
        path.write_text(json.dumps(document))
    shutil.rmtree(folder / "widths")
    store = RecordStore(folder, warn=pytest.fail)
    assert len(list(store)) == 4 * 4
    figures = load_runs([folder], pytest.fail).recovery.frame
    assert figures["bayes_gap"].notna().all()
    assert figures["planted_correlation"].isna().all()


def test_keys_do_not_depend_on_widths(ran):
    folder, _ = ran
    for path in (folder / "records").glob("*.json"):
        record = Record.model_validate_json(path.read_bytes())
        assert record.spec.key() == path.stem
        assert "widths" not in record.spec.model_dump_json()


class Odd(Dense):
    def __init__(self, widths):
        super().__init__(np.zeros((3, 2), np.float32))
        object.__setattr__(self, "given", np.array(widths))

    def widths(self):
        return self.given


@pytest.mark.parametrize(
    ("widths", "reason"),
    [([1, 2], "shape"), ([1, 2, 3], "outside 0 … 2"), ([-1, 0, 0], "outside 0 … 2")],
)
def test_layouts_with_impossible_widths_break_the_contract(widths, reason):
    with pytest.raises(BrokenContract, match=reason):
        learnt_widths(Odd(widths), n_features=3, dim=2)


def test_widths_are_kept_in_the_smallest_type():
    layout = Masked.from_table(np.ones((3, 300), np.float32), np.ones((3, 300), bool))
    assert learnt_widths(layout, 3, 300).dtype == np.uint16


def test_facts_are_stored_only_if_every_file_is_whole(splits, tmp_path):
    dataset, store = Synthetic(**SPEC), RecordStore(tmp_path)
    assert not facts_are_stored(store, dataset, splits)
    store_facts(store, dataset, splits)
    assert facts_are_stored(store, dataset, splits)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 3
    for path in files:
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        assert not facts_are_stored(store, dataset, splits)
        path.write_bytes(whole)
    assert facts_are_stored(store, dataset, splits)
