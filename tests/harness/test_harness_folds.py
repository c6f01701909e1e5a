import json
import math
import shutil
from collections import Counter
from statistics import mean

import numpy as np
import pandas as pd
import pytest
from run_helpers import records, results

import pepbench
from pepbench.catalog import Catalog
from pepbench.data import cache
from pepbench.data.manage import open_table
from pepbench.data.split_schemes import VALIDATION, Fold, parts_of
from pepbench.errors import DataError, PlanError
from pepbench.export.export_run import CellFilter, ExportOptions, export_run
from pepbench.export.folder import ExportError
from pepbench.export.last_training import typical_fold
from pepbench.harness import cells as cells_module
from pepbench.harness import trial as trial_module
from pepbench.harness.cells import expand
from pepbench.harness.open_rows import open_rows
from pepbench.harness.run_options import RunOptions
from pepbench.harness.status.run_counts import RunCounts
from pepbench.harness.time_estimate import estimate
from pepbench.harness.trial import run_trial
from pepbench.plan import Plan
from pepbench.records import FINALIST_REACH, ScoresRecord, best_trial
from pepbench.report.page.tables import protocol_rows
from pepbench.run_command import dry_run
from pepbench.serve import load

PLAN = {
    "datasets": ["synthetic:rows=2000:features=60:fields=4"],
    "methods": ["full", "uniform"],
    "budgets": ["50%"],
    "dim": 4,
    "epochs": 2,
    "batch_size": 256,
    "trials": 3,
    # So close together that two trials are always finalists.
    "tune_learning_rate": [9e-4, 1.1e-3],
    "tune_l2": [5e-6, 2e-5],
    "finalists": 2,
    "folds": 3,
    "seeds": 1,
    "contrast": [{"methods": ["uniform", "full"], "budgets": ["50%"]}],
}


@pytest.fixture(scope="module")
def ran(tmp_path_factory, session_cache):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEPBENCH_CACHE", str(session_cache))
        folder = tmp_path_factory.mktemp("folds")
        return pepbench.run(PLAN, out=folder)


def with_auc(record, auc):
    return record.model_copy(update={"validation": ScoresRecord(auc=auc, log_loss=0.5)})


def of_fold(ran, fold, method):
    return [
        record
        for record in records(ran.folder)
        if record.spec.data.fold == fold and record.spec.method.name == method
    ]


def test_each_fold_has_its_own_trials_finalists_and_final_run(ran):
    for fold in range(3):
        roles = Counter(record.spec.role for record in of_fold(ran, fold, "full"))
        assert roles["tuning"] == 3
        assert roles["final"] == 1
        assert roles["finalist"] == 4


def test_methods_share_rates_seeds_and_rows_within_a_fold_but_not_across(ran):
    def drawn(fold, method):
        tuning = [r for r in of_fold(ran, fold, method) if r.spec.role == "tuning"]
        return sorted((r.spec.training.learning_rate, r.spec.training.l2) for r in tuning)

    def seeds(fold):
        return {record.spec.seed for record in of_fold(ran, fold, "full")}

    for fold in range(3):
        assert drawn(fold, "full") == drawn(fold, "uniform")
    assert drawn(0, "full") != drawn(1, "full")
    assert not seeds(0) & seeds(1)
    splits = {record.spec.data.split_fingerprint for record in records(ran.folder)}
    assert len(splits) == 3


def test_the_final_run_repeats_the_finalist_of_the_highest_mean(ran):
    for fold in range(3):
        members = of_fold(ran, fold, "full")
        aucs = {}
        for record in members:
            if record.spec.role != "final":
                aucs.setdefault(record.spec.settings(), []).append(record.validation.auc)
        several = {s: values for s, values in aucs.items() if len(values) == 3}
        assert len(several) == 2
        best = max(several, key=lambda settings: mean(several[settings]))
        (final,) = [record for record in members if record.spec.role == "final"]
        assert final.spec.settings() == best
        assert best_trial(members).spec.settings() == best


def test_the_leaderboard_has_one_row_over_all_folds(ran):
    board = ran.leaderboard
    assert board["folds"].tolist() == [3, 3]
    assert board["seeds"].tolist() == [3, 3]
    tests = [r.test.auc for r in records(ran.folder) if r.spec.method.name == "full" and r.test]
    full = board.set_index("method").loc["full"]
    assert full["auc"] == pytest.approx(sum(tests) / 3)
    assert full["tuning_trials"] == 9


def test_the_primary_contrast_is_the_mean_difference_over_folds(ran):
    (row,) = ran.findings.contrasts.query("primary").to_dict("records")
    by_fold = {
        (r.spec.method.name, r.spec.data.fold): r.test.auc
        for r in records(ran.folder)
        if r.test is not None
    }
    differences = pd.Series([by_fold["uniform", j] - by_fold["full", j] for j in range(3)])
    assert row["difference"] == pytest.approx(differences.mean())
    assert row["folds_won"] == pytest.approx((differences > 0).mean())
    assert row["basis"] == "folds"
    shares = row["share_rows"] + row["share_seeds"] + row["share_tuning_and_split"]
    assert shares == pytest.approx(1.0)


@pytest.mark.usefixtures("tiny_cache")
def test_a_run_in_shards_by_fold_gives_the_same_records(ran, tmp_path):
    for part in ("2/2", "1/2"):
        pepbench.run(PLAN, out=tmp_path / "shards", shard=part)
    assert results(tmp_path / "shards") == results(ran.folder)


@pytest.mark.usefixtures("tiny_cache")
def test_a_killed_run_goes_on_where_it_was(ran, tmp_path):
    (tmp_path / "run" / "records").mkdir(parents=True)
    (tmp_path / "run" / "plan.toml").write_bytes((ran.folder / "plan.toml").read_bytes())
    for path in sorted((ran.folder / "records").glob("*.json"))[::2]:
        if json.loads(path.read_text())["test"] is None:
            (tmp_path / "run" / "records" / path.name).write_bytes(path.read_bytes())
    again = pepbench.run(PLAN, out=tmp_path / "run")
    assert again.trials_reused > 0
    assert results(again.folder) == results(ran.folder)


@pytest.mark.usefixtures("tiny_cache")
def test_infeasible_trials_are_replaced_with_the_same_rates(tmp_path):
    # Widths above the budget cannot be; the plug-in's option goes up to twice what fits.
    plugin = tmp_path / "picky.py"
    plugin.write_text(PICKY)
    plan = {**PLAN, "methods": ["picky"], "folds": 1, "trials": 6, "sampler": "halton"}
    del plan["contrast"]
    found = records(pepbench.run(plan, out=tmp_path / "run", plugins=[plugin]).folder)
    tuning = [record for record in found if record.spec.role == "tuning"]
    feasible = [record for record in tuning if record.status == "ok"]
    assert len(feasible) == 6
    assert len(tuning) > 6
    rates = Counter(record.spec.training.learning_rate for record in feasible)
    assert len(rates) == 6


PICKY = '''
from dataclasses import dataclass
from typing import Annotated
from pepbench.method import Between, Infeasible, Method, PlainTable


@dataclass(frozen=True)
class Picky(Method):
    """Half of its options do not fit."""

    name = "picky"
    wide: Annotated[float, Between(0.0, 1.0), "above one half it does not fit"] = 0.0

    def embedding(self, fields, dim, budget):
        if self.wide > 0.5:
            raise Infeasible("does not fit")
        return PlainTable(fields.n_features, 1)
'''


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"folds": 0}, "--folds"),
        ({"folds": 101}, "--folds"),
        ({"finalists": 4}, "finalists = 4 are more than trials = 3"),
        ({"contrast": [{"methods": ["pep", "full"], "budgets": ["50%"]}]}, "unknown method 'pep'"),
        ({"contrast": [{"methods": ["full", "uniform"], "budgets": ["5%"]}]}, "did you mean '50%'"),
        ({"contrast": [{"methods": ["full"], "budgets": ["50%"]}]}, "two different methods"),
    ],
)
@pytest.mark.usefixtures("tiny_cache")
def test_mistakes_are_one_line_and_nothing_is_written(changes, words, tmp_path):
    with pytest.raises(PlanError, match=words) as caught:
        pepbench.run({**PLAN, **changes}, out=tmp_path / "run")
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("folds", [{"folds": 1}, {"folds": 3, "only_folds": [1, 3]}])
@pytest.mark.usefixtures("tiny_cache")
def test_contrasts_of_fewer_than_three_folds_are_warned_of_and_hold_over_rows(tmp_path, folds):
    plan = {**PLAN, **folds, "trials": 1, "finalists": 1}
    found = pepbench.run(plan, out=tmp_path / "run")
    assert "fewer than 3 folds" in found.warnings[0]
    (row,) = found.findings.contrasts.query("primary").to_dict("records")
    assert row["basis"] == "rows only"
    assert math.isnan(row["folds_won"])


@pytest.mark.usefixtures("tiny_cache")
def test_a_folder_with_another_number_of_folds_is_refused(ran):
    with pytest.raises(PlanError, match=r"--folds 4 needs a new folder.*3 fold.* go on with"):
        pepbench.run({**PLAN, "folds": 4}, out=ran.folder)


@pytest.mark.usefixtures("tiny_cache")
def test_nothing_is_left_to_do_where_finalists_are_fewer(ran):
    whole = records(ran.folder)
    cells = expand(Plan.load(ran.folder / "plan.toml", {}), Catalog())
    assert estimate(cells, whole, 1).runs == 0
    repeated = {(r.spec.place, r.spec.settings()) for r in whole if r.spec.role == "final"}
    alone, within_reach = (
        [
            with_auc(r, 0.7 if (r.spec.place, r.spec.settings()) in repeated else other)
            if r.spec.role == "tuning"
            else r
            for r in whole
            if r.spec.role != "finalist"
        ]
        for other in (0.7 - 2 * FINALIST_REACH, 0.7 - FINALIST_REACH / 2)
    )
    assert estimate(cells, alone, 1).runs == 0
    assert estimate(cells, within_reach, 1).runs == len(cells) * 2 * 2


@pytest.mark.usefixtures("tiny_cache")
def test_a_trial_in_place_of_an_infeasible_one_is_counted(ran):
    (cell, *_) = expand(Plan.load(ran.folder / "plan.toml", {}), Catalog())
    (done, *_) = records(ran.folder)
    spec = cell.trial(cell.default(), cell.tuning_seed, "tuning")
    counts = RunCounts()
    counts.start([cell])
    before = counts.now.trials
    for status in ("infeasible", "ok", "infeasible"):
        counts.trial_done(cell, done.model_copy(update={"spec": spec, "status": status}), False)
    assert (counts.now.trials, counts.now.done) == (before + 2, 3)
    counts.now.done = before + 9
    assert counts.snapshot().seconds_left == 0
    counts.now.done = 3
    counts.cell_done(cell)
    assert counts.now.trials == 3


@pytest.mark.usefixtures("tiny_cache")
def test_a_dry_run_names_folds_and_finalists(ran, capsys):
    plan = Plan.load(ran.folder / "plan.toml", {})
    assert dry_run(plan, ran.folder, RunOptions(), True) == 0
    cells = json.loads(capsys.readouterr().out)["cells"]
    assert [(cell["fold"], cell["finalists"]) for cell in cells[::2]] == [(1, 2), (2, 2), (3, 2)]
    dry_run(plan, ran.folder, RunOptions(), False)
    assert "fold 3/3: at most" in (lines := capsys.readouterr().out)
    assert "3 trials + 2 finalists × 2 seeds + 1 final runs; 0 to do" in lines


def test_the_options_of_the_fold_in_the_middle_are_trained_on_last(ran):
    for aucs, fold in (((0.7, 0.9, 0.8), 2), ((0.8, 0.7, 0.9), 0)):
        changed = [
            with_auc(r, aucs[r.spec.data.fold] + r.validation.auc / 100)
            for r in records(ran.folder)
            if r.spec.method.name == "full"
        ]
        assert typical_fold(changed) == fold
    assert typical_fold([r for r in changed if r.spec.role == "tuning"]) is None
    unfinished = [r for r in changed if r.spec.data.fold or r.spec.role == "tuning"]
    with pytest.raises(ExportError, match=r"fold 1 of 3 has no final run .* --fold 2"):
        typical_fold(unfinished)


def test_the_fold_in_the_middle_is_found_by_what_the_plan_maximises(ran):
    def scored(record):
        loss = (0.4, 0.6, 0.5)[record.spec.data.fold] - record.validation.auc / 100
        scores = {"auc": 0.7 + record.spec.data.fold / 10, "log_loss": loss}
        training = record.spec.training.model_copy(update={"objective": "logloss"})
        spec = record.spec.model_copy(update={"training": training})
        validation = record.validation.model_copy(update=scores)
        return record.model_copy(update={"spec": spec, "validation": validation})

    full = [r for r in records(ran.folder) if r.spec.method.name == "full"]
    assert typical_fold([scored(record) for record in full]) == 2


@pytest.mark.usefixtures("tiny_cache")
def test_a_last_model_is_trained_on_all_rows_but_validation_rows(ran, tmp_path):
    cell, said = CellFilter(method="full"), []
    about = export_run(ran.folder, tmp_path / "last", cell, ExportOptions(), said.append)
    fold = about["last_training"]["validation_rows_of_fold"] - 1
    assert f"options of fold {fold + 1} of 3" in said[0]
    table = open_table(Catalog().select("dataset", PLAN["datasets"][0]).default())
    trained = parts_of(table, 0, Fold(fold, 3)) != VALIDATION
    features = 4 + sum(len(np.unique(column)) for column in table.codes[trained].T)
    assert about["counts"]["full_parameters"] == about["counts"]["parameters"] == 4 * features
    served = load(tmp_path / "last")
    raw = {
        name: np.array(table.values_of(field))[table.codes[trained, field]]
        for field, name in enumerate(served.field_names)
    }
    assert (served.codes(raw) > 0).all()  # none of them is unseen
    finals = [r for r in records(ran.folder) if r.spec.method.name == "full" and r.test]
    assert about["record"] in {r.key for r in finals if r.spec.data.fold == fold}
    assert about["scores"]["test"] is about["predictions_as_recorded"] is None
    assert about["last_training"]["folds"] == 3
    assert about["last_training"]["mean_test_auc"] == pytest.approx(
        mean(r.test.auc for r in finals)
    )
    assert not list(table.folder.glob(".last-training-*"))


@pytest.mark.usefixtures("tiny_cache")
def test_the_model_of_a_fold_is_exported_as_it_was_tested(ran, tmp_path):
    third = next(r for r in of_fold(ran, 2, "full") if r.test)
    for name, cell in (
        ("fold", CellFilter(method="full", fold=3)),
        ("seed", CellFilter(method="full", seed=third.spec.seed)),
    ):
        about = export_run(ran.folder, tmp_path / name, cell, ExportOptions(), lambda _: None)
        assert about["record"] == third.key
        assert about["predictions_as_recorded"] is True
        assert about["scores"]["test"]["auc"] == third.test.auc


def test_rows_stay_open_until_their_folder_is_gone(tmp_path, monkeypatch):
    monkeypatch.setenv("PEPBENCH_CACHE", str(tmp_path))
    cell, *_ = expand(Plan.model_validate(PLAN), Catalog())
    dataset = Catalog().select("dataset", PLAN["datasets"][0]).default()
    rows = open_rows(cell.data, dataset)
    train = rows.train
    for path in rows.folder.glob("*-*.npy"):
        path.unlink()
    assert open_rows(cell.data, dataset) is rows
    assert rows.train is train
    np.testing.assert_array_equal(rows.validation.ids, cell.splits.validation.ids)
    shutil.rmtree(rows.folder)
    again = open_rows(cell.data, dataset)
    assert again is not rows
    np.testing.assert_array_equal(again.train.ids, cell.splits.train.ids)


def test_a_fold_whose_folder_another_process_replaces_counts_as_used_last(tmp_path):
    there, gone = tmp_path / "there", tmp_path / "gone"
    there.mkdir()
    assert sorted([there, gone], key=cache._last_used, reverse=True) == [gone, there]


def test_a_budget_between_the_sizes_of_full_tables_is_at_most_that_of_each_fold(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("PEPBENCH_CACHE", str(tmp_path))
    datasets = ["synthetic:rows=300:features=200:fields=4"]
    plan = {**PLAN, "datasets": datasets, "split_seed": 5}
    del plan["contrast"]
    sizes = [cell.full_parameters for cell in expand(Plan.model_validate(plan), Catalog())]
    assert min(sizes) < sizes[0]
    cells = expand(Plan.model_validate({**plan, "budgets": [str(sizes[0])]}), Catalog())
    for cell in cells:
        assert cell.budget_parameters == min(sizes[0], cell.full_parameters)
    with pytest.raises(PlanError, match="above the full table"):
        expand(Plan.model_validate({**plan, "budgets": [str(sizes[0] + 1)]}), Catalog())


@pytest.mark.usefixtures("tiny_cache")
def test_large_folds_are_encoded_one_by_one_and_few_lie_on_disk(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("PEPBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(cells_module, "SMALL_ROWS", 0)
    monkeypatch.setattr(cache, "FOLDS_BYTES", 0)
    there = []

    def watched(spec, *more):
        outcome = run_trial(spec, *more)
        rows = tmp_path.glob("cache/tables/*/splits/*/train-ids.npy")
        there.append((spec.data.fold, sorted(path.parent.name[-6] for path in rows)))
        return outcome

    monkeypatch.setattr(trial_module, "run_trial", watched)
    plan = {**PLAN, "folds": 5, "trials": 1, "finalists": 1}
    del plan["contrast"]
    assert len(expand(Plan.model_validate(plan), Catalog())) == 10
    assert dry_run(Plan.model_validate(plan), tmp_path / "run", RunOptions(), False) == 0
    assert "Sizes are those of the first fold" in capsys.readouterr().out
    assert len(list(tmp_path.glob("cache/tables/*/splits/*-of-5"))) == 1
    folder = pepbench.run(plan, out=tmp_path / "run").folder
    seen = {(fold, *names) for fold, names in there}
    assert seen == {(0, "1"), *((j, str(j), str(j + 1)) for j in range(1, 5))}
    monkeypatch.undo()
    assert results(pepbench.run(plan, out=tmp_path / "eager").folder) == results(folder)


def test_the_protocol_of_a_page_is_that_of_a_fold(ran):
    (row,) = protocol_rows(records(ran.folder))
    facts = row["facts"]
    assert facts["split"] == "3 folds (seed 0)"
    assert facts["trials a cell and fold"] == "3"
    assert facts["final runs a cell and fold"] == "1"
    assert facts["runs of finalists a cell and fold"] == "4"


def test_more_folds_than_rows_allow_name_the_most(tmp_path, monkeypatch):
    monkeypatch.setenv("PEPBENCH_CACHE", str(tmp_path / "cache"))
    few = tmp_path / "few.csv"
    few.write_text("a,b,label\n" + "".join(f"{i % 3},{i % 4},{i % 2}\n" for i in range(30)))
    from pepbench.cli import main

    monkeypatch.setattr(
        "sys.argv", ["pepbench", "data", "add", "few", "--from", str(few), "--label", "label"]
    )
    with pytest.raises(SystemExit):
        main()
    with pytest.raises(DataError, match="allow 15 folds at most, not 20"):
        pepbench.run({**PLAN, "datasets": ["few"], "folds": 20}, out=tmp_path / "run")
