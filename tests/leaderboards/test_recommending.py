"""``pepbench recommend``, from a published board and from a tiny run."""

import ast
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from torch import nn

import pepbench.nn as pnn
from pepbench.catalog import Catalog
from pepbench.leaderboards.board_results import load_results
from pepbench.leaderboards.python_lines import python_lines
from pepbench.leaderboards.recommend import (
    check_commands,
    spelt_out,
    tuned_options,
    usable_spec,
)
from pepbench.plan import Plan
from pepbench.records import ComponentSpec

RESULTS = Path(__file__).parents[2] / "results"
PLUGIN = RESULTS.parent / "docs/examples/finalmlp.py"
BOARD = "ml-100k-ids"


@pytest.fixture(scope="module")
def board():
    return load_results(RESULTS / BOARD)


@pytest.mark.slow
def test_choice_of_a_published_board_keeps_the_stated_rule(pepbench, board):
    budget = board.frame["budget"].iloc[-1]
    asked = (f"--from={BOARD}", f"--budget={budget}", "--backbone=fm", f"--results={RESULTS}")
    ran = pepbench("recommend", *asked, "--json")
    assert ran.code == 0, ran.err
    (found,) = json.loads(ran.out)["recommendations"]
    frame = board.frame
    here = frame[(frame["backbone"] == "fm") & (frame["budget"] == budget)]
    cells = here[here["status"] == "ok"].set_index("method")
    choice = found["choice"]
    row = cells.loc[choice["method"]]
    assert choice["auc"] >= cells["auc"].max() - board.margin
    assert [choice["difference"], choice["low"], choice["high"]] == pytest.approx(
        [row["delta_auc"], row["delta_low"], row["delta_high"]]
    )
    assert choice["verdict"] == row["verdict"]
    assert choice["cpu_seconds"] <= min((c["cpu_seconds"] for c in found["alike"]), default=1e9)
    text = pepbench("recommend", *asked).out
    for part in (f"take {choice['method']} at {budget}", "What it does not know:", "pepbench run"):
        assert part in text


@pytest.mark.slow
def test_bound_that_nothing_holds_ends_with_code_1(pepbench):
    ran = pepbench("recommend", f"--from={RESULTS / BOARD}", "--lose-at-most=0.00001")
    assert (ran.code, ran.err) == (1, "")
    assert "no recommendation: no method is shown to lose less than 1e-05 AUC" in ran.out
    assert "Nearest: " in ran.out
    assert "pepbench run" not in ran.out


@pytest.mark.slow
def test_run_of_ones_own_gives_lines_and_commands_that_work(tiny_run, pepbench):
    assert tiny_run("--methods=mde,full", "--budgets=60%", "--out=out").code == 0
    ran = pepbench("recommend", "--from=out", "--budget=60%", "--json")
    assert ran.code == 0, ran.err
    (found,) = json.loads(ran.out)["recommendations"]
    assert found["choice"]["method"] == "mde"
    assert found["options"].keys() == {"alpha"}
    _, call = ast.parse("\n".join(found["python"])).body
    arguments = {word.arg: word.value.value for word in call.value.keywords}
    assert call.value.args[1].value == "60%"
    named = Catalog().select("method", arguments["method"]).fixed["alpha"]
    assert named == pytest.approx(found["options"]["alpha"][0], rel=0.005)
    words = found["commands"][1].split()
    options = dict(zip(words[2::2], words[3::2], strict=True))
    keys = {flag.removeprefix("--"): text.split(",") for flag, text in options.items()}
    Plan(
        **{k: v for k, v in keys.items() if k != "folds"}, folds=int(options["--folds"])
    ).with_families_expanded(Catalog())


def test_spec_has_the_median_over_folds_and_says_so():
    spec, (note,) = usable_spec("mde", {"alpha": (0.1, 0.2, 0.2, 0.2, 0.55)}, Catalog())
    assert spec == "mde:alpha=0.2"
    assert note.startswith("tuned anew in each fold: alpha; the line has the median")


def test_spec_has_the_name_that_most_folds_chose():
    chosen = {"start": ("initial", "trained", "trained")}
    spec, (note,) = usable_spec("magnitude", chosen, Catalog())
    assert spec == "magnitude:start=trained"
    assert note.startswith("tuned anew in each fold: start;")


def test_values_of_each_final_run_are_listed_not_each_value_once():
    def record(role, start):
        spec = SimpleNamespace(
            cell=("d", "fm", "magnitude", "5%"), role=role, method=SimpleNamespace(options=start)
        )
        return SimpleNamespace(spec=spec)

    runs = [record("final", {"start": s, "keep": 1}) for s in ("trained", "initial", "trained")]
    found = SimpleNamespace(dataset="d", backbone="fm")
    choice = SimpleNamespace(method="magnitude", budget="5%")
    assert tuned_options(runs, found, choice) == {"start": ("initial", "trained", "trained")}


def test_spec_that_this_version_does_not_know_is_named():
    spec, (note,) = usable_spec("pep:mode=fast", {"init": (-5.0,)}, Catalog())
    assert spec == "pep"
    assert note == "this version has no pep:mode=fast: unknown option of method pep 'mode'"


def test_methods_with_another_name_are_spelt_out():
    options = {"alpha": 0.3, "n_blocks": 16}
    method = ComponentSpec(spec="mine", name="mde", options=options, version=1)
    record = SimpleNamespace(spec=SimpleNamespace(method=method))
    assert spelt_out("mine", [record], ("alpha",)) == "mde:n_blocks=16"
    assert spelt_out("mde", [record]) == "mde"
    flag = method.model_copy(update={"name": "magnitude", "options": {"finetune": False}})
    spec = spelt_out("mine", [SimpleNamespace(spec=SimpleNamespace(method=flag))])
    assert Catalog().select("method", spec).fixed == {"finetune": False}


def test_methods_of_ones_own_are_asked_for_by_file():
    spec, (note,) = usable_spec("popular:alpha=2+int8", {}, Catalog())
    assert spec == "popular"
    assert note == "popular is not built in: name its file with --plugin"
    assert python_lines(spec, "5%", Catalog()) == ((), ())


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ("magnitude:start=trained", 'method="magnitude")  # after training'),
        ("pep:granularity=feature:retrain=new", 'method="pep:granularity=feature")'),
        ("qr:combine=mult", 'method="qr:combine=mult")'),
        ("mde+int8", 'method="mde")'),
    ],
)
def test_lines_are_those_that_the_plug_in_takes(spec, words):
    lines, notes = python_lines(spec, "5%", Catalog())
    assert lines[0] == "import pepbench.nn as pnn"
    assert words in lines[1]
    assert bool(notes) == ("+" in spec)


@pytest.mark.parametrize(
    ("backbone", "plugins", "end"),
    [
        ("deepfm:layers=1", (), "--budgets 5% --folds 5"),
        ("mine", (), "--folds 5 --plugin FILE.py"),
        ("fm", (Path("mine.py"),), "--folds 5 --plugin mine.py"),
    ],
)
def test_command_names_the_files_of_plug_ins(backbone, plugins, end, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(PLUGIN.read_text())
    _, run = check_commands(["mde"], backbone, "5%", Catalog(plugins))
    assert f"--backbones {backbone} --methods mde,full " in run
    assert run.endswith(end)


@pytest.mark.parametrize(
    "spec", [*sorted(Catalog().entries("method")), "pep:granularity=field_dim:init=-5.0",
             "pep:schedule=epochs:search_epochs=2:threshold_target=3.0", "mde:n_blocks=2"]
)  # fmt: skip
def test_lines_run(spec):
    lines, notes = python_lines(spec, "60%", Catalog())
    assert lines or notes
    tables = {name: nn.Embedding(rows, 16) for name, rows in (("user", 900), ("item", 300))}
    counts = {name: np.arange(table.num_embeddings) for name, table in tables.items()}
    known = {"model": nn.ModuleDict(tables), "counts": counts}
    exec("\n".join(lines), known)
    if lines:
        assert pnn.report(known["model"]).n_parameters <= 0.6 * 1200 * 16


@pytest.mark.parametrize("method", ["uniform", "cce", "alpt"])
def test_method_that_the_plug_in_refuses_has_no_lines(method):
    lines, (note,) = python_lines(method, "5%", Catalog())
    assert lines == ()
    assert note.startswith(f"{method} is not in pepbench.nn ({method} ")


def test_method_that_searches_is_sent_to_export():
    lines, (note,) = python_lines("autosrh", "5%", Catalog())
    assert lines == ()
    assert "pepbench export" in note


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--from=ml-100k-idz", "--budget=5%"], "did you mean 'ml-100k-ids'?"),
        (["--from=ml-100k-ids"], "give either --budget or --lose-at-most"),
        (["--from=.", "--budget=5%"], "no records in"),
    ],
)
def test_request_without_an_answer_is_refused_in_one_line(arguments, words, pepbench):
    ran = pepbench("recommend", *arguments, f"--results={RESULTS}")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert words in ran.err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--budget=7%"], "no method was run at a budget of 7%; there are"),
        (["--budget=5%", "--backbone=fn"], "did you mean 'fm'?"),
        (["--lose-at-most=0"], "is not above 0"),
    ],
)
def test_request_that_the_board_cannot_answer_is_refused(arguments, words, pepbench):
    ran = pepbench("recommend", f"--from={BOARD}", f"--results={RESULTS}", *arguments)
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    assert words in ran.err
