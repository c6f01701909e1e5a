import json
import re

import pytest
from run_helpers import TINY_PEP, leaderboard, predictions, records, results
from typer.main import get_command

from pepbench.analysis.frames import COLUMNS
from pepbench.cli import app
from pepbench.plan import Plan

METHODS = f"--methods={TINY_PEP},uniform,full"


@pytest.mark.slow
def test_same_command_again_redoes_nothing_and_says_so(tiny_run, tmp_path):
    first = tiny_run(METHODS, "--budgets=50%", "--out=out")
    assert first.code == 0
    assert "12 trials run, 0 reused" in first.err
    files = {p: p.read_bytes() for p in (tmp_path / "out/records").iterdir()}
    table = (tmp_path / "out/leaderboard.csv").read_bytes()
    again = tiny_run(METHODS, "--budgets=50%", "--out=out")
    assert "0 trials run, 12 reused" in again.err
    assert again.out == first.out
    assert {p: p.read_bytes() for p in (tmp_path / "out/records").iterdir()} == files
    assert (tmp_path / "out/leaderboard.csv").read_bytes() == table


@pytest.mark.slow
def test_results_do_not_depend_on_the_folder_or_the_workers(tiny_run, tmp_path):
    tiny_run(METHODS, "--out=a")
    tiny_run(METHODS, "--out=b")
    tiny_run(METHODS, "--jobs=2", "--out=c")
    assert results(tmp_path / "a") == results(tmp_path / "b") == results(tmp_path / "c")
    assert predictions(tmp_path / "a") == predictions(tmp_path / "b") == predictions(tmp_path / "c")
    assert leaderboard(tmp_path / "a").equals(leaderboard(tmp_path / "c"))


@pytest.mark.slow
def test_trials_of_a_cell_do_not_depend_on_the_other_cells(tiny_run, tmp_path):
    tiny_run("--methods=uniform", "--budgets=50%", "--out=alone")
    tiny_run("--methods=full,uniform", "--budgets=25%,50%", "--out=among")
    alone, among = results(tmp_path / "alone"), results(tmp_path / "among")
    assert len(alone) == 4
    assert {key: among[key] for key in alone} == alone


def test_json_names_folder_cells_fronts_and_failures(tiny_run):
    ran = tiny_run("--methods=uniform,full", "--budgets=50%,0.001k", "--json", "-v", "--out=out")
    assert ran.code == 0
    document = json.loads(ran.out, parse_constant=pytest.fail)
    assert list(document) == [
        "folder",
        "metric",
        "margin",
        "contrasts",
        "cells",
        "fronts",
        "widths",
        "failed",
    ]
    assert (document["folder"], document["failed"]) == ("out", 0)
    assert all(tuple(cell) == COLUMNS for cell in document["cells"])
    status = {(c["method"], c["budget"]): (c["status"], c["reason"]) for c in document["cells"]}
    assert status["uniform", "50%"][0] == "ok"
    assert status["uniform", "0.001k"][0] == "infeasible"
    assert "smallest possible" in status["uniform", "0.001k"][1]


def test_dry_run_counts_trials_and_writes_nothing(tiny_run, tmp_path):
    ran = tiny_run("--methods=uniform,full", "--budgets=50%,25%", "--dry-run", "--json")
    document = json.loads(ran.out)
    assert (ran.code, document["trials"], len(document["cells"])) == (0, 12, 3)
    assert list(tmp_path.iterdir()) == []


def test_a_dry_run_of_a_shard_is_of_its_cells_and_options_are_checked(tiny_run, tmp_path):
    cells = ("--methods=uniform,full", "--budgets=50%,25%")
    whole, first, second = (
        json.loads(tiny_run(*cells, "--dry-run", "--json", *part).out)
        for part in ((), ("--shard=1/2",), ("--shard=2/2",))
    )
    assert first["trials"] + second["trials"] == whole["trials"] == 12
    assert len(first["cells"]) + len(second["cells"]) == 3
    part = tiny_run(*cells, "--estimate", "--json", "--shard=2/2")
    assert json.loads(part.out)["runs"] == second["trials"] < 12
    for option in ("--shard=3/2", "--executor=foo", "--trial-timeout=5x", "--memory-limit=1"):
        for what in ("--dry-run", "--estimate"):
            ran = tiny_run(*cells, what, option)
            assert (ran.code, ran.out) == (2, "")
            assert option.partition("=")[0] in ran.err
    assert list(tmp_path.iterdir()) == []


def test_report_regenerates_what_the_run_wrote(tiny_run, pepbench, tmp_path):
    tiny_run("--methods=uniform,full", "--budgets=50%", "--out=out")
    written = {p: p.read_bytes() for p in (tmp_path / "out").iterdir() if "leader" in p.name}
    for path in written:
        path.unlink()
    ran = pepbench("report", "out", "--format=csv")
    assert ran.out.encode() == written[tmp_path / "out/leaderboard.csv"]
    assert {path: path.read_bytes() for path in written} == written


@pytest.mark.slow
def test_plan_file_of_a_run_repeats_it(tiny_run, pepbench, tmp_path):
    tiny_run("--methods=uniform", "--budgets=50%", "--out=a")
    assert pepbench("run", "a/plan.toml", "--jobs=1", "--out=b").code == 0
    assert results(tmp_path / "a") == results(tmp_path / "b")
    assert "0 trials run" in pepbench("run", "a/plan.toml", "--out=a").err


def test_quiet_run_says_nothing_but_its_table(tiny_run):
    ran = tiny_run("--methods=uniform", "--budgets=50%", "--quiet", "--out=out")
    assert ran.err == ""
    assert "uniform" in ran.out


def test_every_command_shows_an_example(pepbench):
    for command in (["run"], ["report"], ["list"], ["show"]):
        assert "Example" in pepbench(*command, "--help").out
    for command in ("add", "info", "list", "verify"):
        assert "Example" in pepbench("data", command, "--help").out


PLUGIN = '''
from dataclasses import dataclass
from typing import Annotated

from pepbench.method import Between, Embedding, Fields, Infeasible, Method, PlainTable

print("narrow tables")


@dataclass(frozen=True)
class Narrow(Method):
    """A table of a chosen share of the widest that fits."""

    name = "narrow"
    share: Annotated[float, Between(0.5, 1.0), "of the widest"] = 1.0

    def embedding(self, fields: Fields, dim: int, budget: int) -> Embedding:
        print("a table")
        return PlainTable(fields.n_features, max(1, int(budget // fields.n_features * self.share)))
'''


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_one_file_adds_a_method(tiny_run, pepbench, tmp_path, jobs):
    (tmp_path / "narrow.py").write_text(PLUGIN)
    arguments = ("--methods=narrow,full", "--budgets=50%", "--plugin=narrow.py", f"--jobs={jobs}")
    ran = tiny_run(*arguments, "--json", "--out=out")
    assert (ran.code, [cell["status"] for cell in json.loads(ran.out)["cells"]]) == (0, ["ok"] * 2)
    options = [r.spec.method.options for r in records(tmp_path / "out")]
    assert {values["share"] for values in options if values} > {1.0}
    shown = pepbench("show", "method", "narrow", "--plugin=narrow.py").out
    assert "of the widest" in shown
    assert "narrow tables" not in shown


@pytest.mark.slow
def test_a_plugin_that_changed_under_its_version_is_named(tiny_run, tmp_path):
    path = tmp_path / "narrow.py"
    arguments = ("--methods=narrow,full", "--budgets=50%", "--plugin=narrow.py", "--out=run")
    warning = "narrow.py has changed since method 'narrow', version 1, first ran here"
    path.write_text(PLUGIN)
    assert warning not in tiny_run(*arguments).err
    assert warning not in tiny_run(*arguments).err
    path.write_text(PLUGIN.replace("of the widest", "of the narrowest"))
    for _ in range(2):
        again = tiny_run(*arguments)
        assert warning in again.err
        assert "0 trials run" in again.err
    path.write_text(PLUGIN.replace('    name = "narrow"', '    name = "narrow"\n    version = 2'))
    new = tiny_run(*arguments)
    assert "has changed" not in new.err
    assert "4 trials run" in new.err


HELP = {one.name: one.help for one in get_command(app).commands["run"].params}


@pytest.mark.parametrize(
    "key",
    [
        *("methods", "datasets", "backbones", "budgets", "trials", "batch", "tune_learning_rate"),
        *("tune_l2", "finalists", "finalist_seeds", "folds", "dim", "epochs", "patience"),
        *("batch_size", "split_seed", "seed", "sampler", "pruner", "optimizer", "device"),
        *("precision", "objective"),
    ],
)
def test_help_names_the_plans_default(key):
    default = getattr(Plan(), key)
    words = HELP[key]
    if isinstance(default, str):
        assert f"{default} (default)" in words
        return
    (found,) = re.findall(r"Default: ([^;]*?)(?:, a single split)?\.$", words)
    values = default if isinstance(default, tuple) else (default,)
    assert [float(v) if re.match(r"\d[\d.e-]*$", v) else v for v in found.split(",")] == [*values]
