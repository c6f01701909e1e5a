import json
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from check_helpers import PLAN

from pepbench.analysis.significance import compare
from pepbench.catalog import Catalog
from pepbench.check.baseline import Ranks, read_baseline, write_baseline
from pepbench.data.splits import open_splits
from pepbench.harness.cells import expand

QUICK = ("--time=never", "--jobs=1", "--quiet")


@pytest.fixture
def recorded(pepbench, tmp_path):
    (tmp_path / "plan.toml").write_text(PLAN)
    ran = pepbench("check", "--record", "baseline.json", "--plan=plan.toml", *QUICK)
    assert ran.code == 0, ran.err
    return tmp_path / "baseline.json"


def with_cell(path, **changes):
    baseline = read_baseline(path)
    first, *others = baseline.cells
    cells = [first.model_copy(update=changes), *others]
    write_baseline(path, baseline.model_copy(update={"cells": cells}))


@pytest.mark.slow
def test_unchanged_code_passes_to_the_bit_and_says_so_everywhere(recorded, pepbench, tmp_path):
    ran = pepbench(
        "check",
        recorded,
        *QUICK,
        "--json",
        "--junit=junit.xml",
        "--summary=summary.md",
        "--history=history.jsonl",
        "--plot=now.svg",
    )
    assert ran.code == 0, ran.err
    accuracy = [f for f in json.loads(ran.out)["findings"] if f["kind"] == "accuracy"]
    assert [finding["verdict"] for finding in accuracy] == ["identical"] * 2
    suite = ElementTree.parse(tmp_path / "junit.xml").getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("8", "0")
    assert "✅" in (tmp_path / "summary.md").read_text()
    plotted = pepbench("check", "--history=history.jsonl", "--plot=history.svg", "--json")
    assert plotted.code == 0, plotted.err
    assert json.loads(plotted.out) == {"plot": "history.svg"}
    assert (tmp_path / "history.svg").read_text().startswith("<svg")
    assert (tmp_path / "now.svg").read_text().startswith("<svg")


def test_a_file_that_cannot_be_written_is_refused_before_any_run(recorded, pepbench):
    ran = pepbench("check", recorded, *QUICK, "--json", "--summary=nowhere/summary.md")
    assert (ran.code, ran.out) == (2, "")
    assert ran.err == (
        "pepbench: nowhere/summary.md cannot be written; name a file in a folder that can\n"
    )


def test_a_changed_count_is_a_regression(recorded, pepbench):
    with_cell(recorded, n_bytes=[1, 1])
    ran = pepbench("check", recorded, *QUICK)
    assert ran.code == 1
    assert "changed" in ran.out


def test_other_test_rows_are_refused(recorded, pepbench):
    data = read_baseline(recorded).cells[0].data
    with_cell(recorded, data=data.model_copy(update={"split_fingerprint": "other"}))
    ran = pepbench("check", recorded, *QUICK)
    assert ran.code == 2
    assert "split fingerprint" in ran.err
    assert "--record" in ran.err


def test_a_loss_is_judged_by_user_where_the_data_set_declares_users(pepbench, tmp_path):
    plan = 'methods = ["only"]\ndatasets = ["owned"]\nbudgets = ["50%"]\ndim = 4\nepochs = 1\n'
    (tmp_path / "plan.toml").write_text(plan + "seeds = 2\nbatch_size = 256\n")
    plugin = f"--plugin={Path(__file__).parents[1] / 'users_plugin.py'}"
    recording = ("--record", "baseline.json", "--plan=plan.toml")
    assert pepbench("check", *recording, plugin, *QUICK).code == 0
    path = tmp_path / "baseline.json"
    (cell,) = read_baseline(path).cells
    now = cell.ranks.scores()
    before = now + np.random.default_rng(0).normal(size=now.shape)
    with_cell(path, ranks=Ranks.of(before), predictions_sha256=["", ""])
    ran = pepbench("check", path, plugin, *QUICK, "--json")
    finding = json.loads(ran.out)["findings"][0]
    catalog = Catalog((Path(__file__).parents[1] / "users_plugin.py",))
    splits = expand(read_baseline(path).plan, catalog)[0].splits
    test = open_splits(splits.table, splits.meta.seed, splits.fold).open_test()
    by_user, by_row = (
        compare(test.labels, before, now, margin=-0.001, paired=True, users=users).p_noninferior
        for users in (test.ids[:, 0], None)
    )
    assert finding["p"] == pytest.approx(by_user)
    assert by_user != pytest.approx(by_row)


def test_a_plan_with_folds_is_refused_before_it_is_recorded(pepbench, tmp_path):
    """All folds of a cell have one name, so that no later check could tell them apart."""
    (tmp_path / "plan.toml").write_text(PLAN + "folds = 3\n")
    ran = pepbench("check", "--record", "baseline.json", "--plan=plan.toml", *QUICK)
    assert ran.code == 2
    assert "plan.toml: folds = 3: a check compares one split" in ran.err
    assert not (tmp_path / "baseline.json").exists()


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "name a baseline"),
        (("missing.json",), "missing.json: No such file"),
        (("--plot=a.svg",), "--history"),
        (("--history=missing.jsonl", "--plot=a.svg"), "missing.jsonl: No such file"),
        (("a.json", "--plan=b.toml"), "--plan goes with --record"),
        (("a.json", "--repetitions=3"), "needs 5 or more"),
        (("--record", "a.json", "--plan=missing.toml"), "missing.toml"),
        (("--record", "a.json", "--json"), "go with a comparison, not with --record"),
        (("--record", "a.json", "--history=h.jsonl"), "go with a comparison, not with --record"),
        (("a.json", "--history=h.jsonl", "--plot=a.gif"), "ends in .svg or .png"),
    ],
)
def test_wrong_usage_is_one_line(arguments, reason, pepbench):
    ran = pepbench("check", *arguments)
    assert ran.code == 2
    assert reason in ran.err
    assert ran.err.count("\n") == 1


def test_a_plan_whose_method_fails_is_not_recorded(pepbench, tmp_path):
    (tmp_path / "broken.py").write_text(
        "from dataclasses import dataclass\n"
        "from pepbench.method import Method\n"
        "@dataclass(frozen=True)\n"
        "class Broken(Method):\n"
        "    '''Always wrong.'''\n"
        "    name = 'broken'\n"
        "    family = 'controls'\n"
        "    def embedding(self, fields, dim, budget):\n"
        "        raise RuntimeError('out of order')\n"
    )
    (tmp_path / "plan.toml").write_text(PLAN.replace('"hash"', '"broken"'))
    ran = pepbench("check", "--record", "b.json", "--plan=plan.toml", "--plugin=broken.py", *QUICK)
    assert ran.code == 2
    assert "out of order" in ran.err
    assert not (tmp_path / "b.json").exists()
