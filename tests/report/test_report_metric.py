"""Reports whose verdicts are about another figure than AUC."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from record_factory import run_of
from run_folders import stored

import pepbench as package
from pepbench.errors import RecordError
from pepbench.report.findings import load_runs

PLUGIN = Path(__file__).parents[1] / "users_plugin.py"
USER, ITEM = "only:field=user", "only:field=item"


@pytest.fixture(scope="module")
def owned(session_cache, tmp_path_factory):
    """Runs in five folds of a method that knows users alone, and one that knows items alone."""
    folder = tmp_path_factory.mktemp("owned")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEPBENCH_CACHE", str(session_cache))
        package.run(
            {
                "methods": [USER, ITEM],
                "datasets": ["owned"],
                "budgets": ["100%"],
                "contrast": [{"methods": [USER, ITEM], "budgets": ["100%"]}],
                "dim": 1,
                "batch_size": 64,
                "epochs": 4,
                "trials": 1,
                "seeds": 1,
                "folds": 5,
            },
            plugins=[PLUGIN],
            out=folder,
        )
    return folder


@pytest.mark.parametrize(
    ("metric", "verdict"), [("auc", "better"), ("logloss", "better"), ("gauc", "worse")]
)
def test_a_method_that_knows_users_alone_is_better_overall_and_worse_within_users(
    owned, metric, verdict
):
    """Within a user all its scores are equal: a gAUC of one half."""
    findings = load_runs([owned], metric=metric)
    (row,) = findings.contrasts[findings.contrasts["primary"]].to_dict("records")
    assert (row["method"], row["metric"], row["verdict"]) == (USER, metric, verdict)
    assert row["folds_won"] == (verdict == "better")
    first = findings.frame["method"].iloc[0]
    assert first == (USER if verdict == "better" else ITEM)
    assert findings.frame.set_index("method")["gauc"][USER] == 0.5


@pytest.mark.slow
def test_report_and_compare_take_the_metric(owned, pepbench):
    document = json.loads(pepbench("report", owned, "--metric", "gauc", "--json").out)
    assert document["metric"] == "gauc"
    assert [row["verdict"] for row in document["contrasts"] if row["primary"]] == ["worse"]
    assert "delta_gauc" in (owned / "leaderboard.csv").read_text().splitlines()[0]
    page = (owned / "report.html").read_text("utf-8")
    assert "ΔgAUC" in page
    assert "has the highest gAUC" in page
    (pair,) = json.loads(
        pepbench("compare", USER, ITEM, owned, "--metric", "logloss", "--json").out
    )
    assert (pair["metric"], pair["verdict"]) == ("logloss", "better")
    assert pair["comparison"]["difference"] > 0
    assert "log loss" in pepbench("compare", USER, ITEM, owned, "--metric", "logloss").out


@pytest.mark.parametrize(("metric", "words"), [("gacu", "gauc"), ("calibration", "auc")])
def test_unknown_metrics_are_refused_in_one_line(owned, pepbench, metric, words):
    for command in (["report", owned], ["compare", USER, ITEM, owned]):
        ran = pepbench(*command, "--metric", metric)
        assert (ran.code, len(ran.err.strip().splitlines())) == (2, 1)
        assert words in ran.err


def test_metrics_within_users_need_users(tmp_path):
    run = run_of(100)
    run.add(0.5, method="pep", seeds=1)
    stored(run, tmp_path)
    with pytest.raises(RecordError, match=r"--metric ndcg10: .* a data set that declares users"):
        load_runs([tmp_path], metric="ndcg10")
