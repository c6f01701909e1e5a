"""Running plans from Python: the same records as by the command, and no trouble with its host."""

import asyncio
import os
import signal
import subprocess
import sys
import threading

import optuna
import pandas as pd
import pytest
import torch
from run_helpers import predictions, results

import pepbench
from pepbench.analysis.frames import COLUMNS, COMPARISON_COLUMNS
from pepbench.analysis.fronts import POINT_COLUMNS
from pepbench.api import default_folder, resolve_plan
from pepbench.errors import PlanError, RecordError

TINY = {
    "methods": ["mde", "full"],
    "datasets": ["synthetic:rows=2000:features=60:fields=4"],
    "budgets": ["50%"],
    "dim": 4,
    "epochs": 2,
    "trials": 2,
    "finalists": 1,
    "seeds": 2,
    "batch_size": 256,
}


@pytest.fixture
def place(tiny_cache, tmp_path, monkeypatch):  # noqa: ARG001
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(**more):
    return pepbench.run(TINY, out="out", **more)


def test_run_gives_frames_and_prints_nothing(place, capfd):
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    verbosity = optuna.logging.get_verbosity()
    found = run()
    assert tuple(found.leaderboard.columns) == COLUMNS
    assert set(found.leaderboard["method"]) == {"mde", "full"}
    assert tuple(found.comparisons.columns) == COMPARISON_COLUMNS
    assert tuple(found.fronts.columns) == POINT_COLUMNS
    assert (len(found.comparisons), len(found.fronts)) == (1, 2)
    assert (found.folder.resolve(), found.warnings) == (place / "out", [])
    assert (found.trials_run, found.trials_reused) == (8, 0)
    assert capfd.readouterr() == ("", "")
    assert torch.equal(torch.get_rng_state(), state)
    assert (torch.get_num_threads(), optuna.logging.get_verbosity()) == (threads, verbosity)
    again = run()
    assert (again.trials_run, again.trials_reused) == (0, 8)
    for one in (again, pepbench.load("out")):
        pd.testing.assert_frame_equal(one.leaderboard, found.leaderboard)


def test_the_command_makes_the_same_records(tiny_run, place):
    assert tiny_run("--methods=mde,full", "--budgets=50%", "--out=command").code == 0
    run()
    assert results(place / "out") == results(place / "command")
    assert predictions(place / "out") == predictions(place / "command")
    assert (place / "out/plan.toml").read_bytes() == (place / "command/plan.toml").read_bytes()


def test_the_callers_precision_decides_nothing(place):
    run(jobs=1)
    torch.set_default_dtype(torch.float64)
    try:
        pepbench.run(TINY, out="double", jobs=1)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert predictions(place / "double") == predictions(place / "out")


@pytest.mark.parametrize(
    "given",
    [TINY, pepbench.Plan.load(None, TINY), "plan.toml"],
    ids=["dictionary", "plan", "file"],
)
def test_plans_are_given_in_any_form_and_keys_replace_theirs(tmp_path, monkeypatch, given):
    monkeypatch.chdir(tmp_path)
    whole = pepbench.Plan.load(None, TINY)
    (tmp_path / "plan.toml").write_text(whole.to_toml())
    assert resolve_plan(given, (), {})[0].decides_as(whole)
    changed, _ = resolve_plan(given, (), {"tuning_time": "10m", "methods": ["hashing", "pep"]})
    assert (changed.tuning_time, changed.dim) == ("10m", 4)
    assert {"hash", "qr", "pep"} <= set(changed.methods)
    exceptions = [{"methods": ["pep"], "skip": True, "reason": "slow"}]
    assert resolve_plan(given, (), {"exceptions": exceptions})[0].exceptions[0].skip
    assert default_folder(whole).parent.name == "runs"


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"methdos": ["pep"]}, "unknown key 'methdos'; did you mean 'methods'"),
        ({"methods": ["peb"]}, "did you mean 'pep'"),
        ({"methods": "pep"}, r"write \[\"pep\"\]"),
        ({"trial_timeout": "soon"}, "--trial-timeout: 'soon' is no time"),
        ({"executor": "serial", "memory_limit": 10**9}, "write --executor processes"),
    ],
)
def test_mistakes_are_errors_of_one_class(place, keys, said):  # noqa: ARG001
    with pytest.raises(PlanError, match=said) as caught:
        run(**keys)
    assert isinstance(caught.value, pepbench.PepbenchError)


def test_folder_without_records_is_refused(tmp_path):
    with pytest.raises(RecordError, match="no records in"):
        pepbench.load(tmp_path)


PLUGIN = """
import signal
from dataclasses import dataclass
from pepbench.method import Method, PlainTable

@dataclass(frozen=True)
class Interrupted(Method):
    name = "interrupted"

    def fit(self, task, budget):
        signal.raise_signal(signal.SIGINT)
        return super().fit(task, budget)

    def embedding(self, fields, dim, budget):
        return PlainTable(fields.n_features, budget // fields.n_features)

@dataclass(frozen=True)
class Fails(Method):
    name = "fails"

    def fit(self, task, budget):
        raise RuntimeError("no luck")
"""


def test_interrupt_raises_and_keeps_finished_trials(place):
    (place / "plugin.py").write_text(PLUGIN)
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        run(methods=["interrupted"], plugins=["plugin.py"])
    assert signal.getsignal(signal.SIGINT) is before
    assert len(results(place / "out")) == 1


def test_failed_trials_are_told_in_the_results(place, capfd):
    (place / "plugin.py").write_text(PLUGIN)
    found = run(methods=["fails", "full"], plugins=["plugin.py"])
    assert set(found.leaderboard["status"]) == {"failed", "ok"}
    assert any("RuntimeError: no luck" in line for line in found.warnings)
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_runs_within_an_event_loop(place, jobs):  # noqa: ARG001
    async def cell() -> int:
        return run(jobs=jobs).trials_run

    assert asyncio.run(cell()) == 8


@pytest.mark.parametrize("jobs", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_runs_outside_the_main_thread(place, jobs):  # noqa: ARG001
    made: list[int] = []
    thread = threading.Thread(target=lambda: made.append(run(jobs=jobs).trials_run))
    thread.start()
    thread.join()
    assert made == [8]


@pytest.mark.slow
@pytest.mark.parametrize("from_file", [True, False], ids=["script", "standard input"])
def test_runs_from_a_script_without_a_main_guard(place, from_file):
    """Workers do not run the script again. On standard input, as in a notebook, it has no file."""
    script = (
        f"import pepbench\nprint('once', pepbench.run({TINY!r}, out='out', jobs=2).trials_run)\n"
    )
    (place / "script.py").write_text(script)
    done = subprocess.run(
        [sys.executable, "script.py" if from_file else "-"],
        input=None if from_file else script,
        env=os.environ,
        cwd=place,
        capture_output=True,
        text=True,
        timeout=400,
        check=False,
    )
    assert (done.stdout, done.stderr, done.returncode) == ("once 8\n", "", 0)
    serial = pepbench.run(TINY, out="serial").folder
    assert results(place / "out") == results(serial)
    assert predictions(place / "out") == predictions(serial)


def test_import_is_quick_and_names_are_listed():
    code = (
        "import sys, pepbench; assert {'run', 'load', 'Plan'} <= set(dir(pepbench)); "
        "pepbench.Plan(); print([m for m in ('torch', 'pandas', 'optuna') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
    with pytest.raises(AttributeError, match="no attribute 'rnu'"):
        pepbench.rnu  # noqa: B018


@pytest.mark.parametrize(("methods", "kept"), [("all", 2), ("controls", 1), ("pep", 0)])
def test_contrasts_within_a_family_that_is_asked_for_stay(tmp_path, methods, kept):
    path = tmp_path / "plan.toml"
    path.write_text(
        'methods = ["pep", "full", "uniform"]\nbudgets = ["50%"]\n'
        '[[contrast]]\nmethods = ["pep", "full"]\nbudgets = ["50%"]\n'
        '[[contrast]]\nmethods = ["uniform", "full"]\nbudgets = ["50%"]\n'
    )
    plan, _ = resolve_plan(path, (), {"methods": (methods,)})
    assert len(plan.contrasts) == kept


def test_the_example_has_folds_and_contrasts_and_gives_way_to_what_is_named():
    example, _ = resolve_plan(None, (), {})
    assert (example.folds, example.methods) == (3, ("pep", "magnitude", "uniform", "full"))
    assert [contrast.methods for contrast in example.contrasts] == [
        ("pep", "full"),
        ("pep", "magnitude"),
        ("magnitude", "full"),
        ("pep", "uniform"),
    ]
    shorter, _ = resolve_plan(None, (), {"trials": 1, "folds": 5})
    assert (shorter.folds, shorter.finalists, shorter.seeds) == (5, 1, 1)
    assert shorter.contrasts == example.contrasts
    named, _ = resolve_plan(None, (), {"methods": ("pep", "full")})
    assert (named.folds, named.contrasts) == (1, ())
