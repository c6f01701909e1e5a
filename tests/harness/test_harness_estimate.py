"""The arithmetic of estimates; how good they are is measured, not tested."""

import json
from types import SimpleNamespace

import pytest
from run_helpers import records

from pepbench.catalog import Catalog
from pepbench.harness import time_estimate as estimating
from pepbench.harness.cells import expand
from pepbench.harness.pilot_timing import (
    Pace,
    PilotDone,
    PilotTask,
    calibration_task,
    pilot_pace,
)
from pepbench.harness.time_estimate import (
    CELL_SECONDS,
    FIRST_STEP_SECONDS,
    REPORT_SECONDS,
    START_SECONDS,
    YARDSTICK_SECONDS,
    estimate,
    readable_records,
)
from pepbench.plan import Plan
from pepbench.records import PhaseSeconds, RecordStore

DATA = "synthetic:rows=2000:features=60:fields=4"
SMALL = {"datasets": (DATA,), "dim": 4, "epochs": 2, "finalists": 1, "seeds": 2, "batch_size": 256}


@pytest.fixture
def paced(monkeypatch, tiny_cache):  # noqa: ARG001
    """Searches of 2 s, trainings of 1 s, and a yardstick of 0.5 s."""
    pace = Pace(search=2.0, train=1.0)
    monkeypatch.setattr(estimating, "pilot_of", lambda *_: None)
    monkeypatch.setattr(estimating, "pilot_pace", lambda *_: pace)
    monkeypatch.setattr(estimating, "yardstick_seconds", lambda: 0.5)
    monkeypatch.setattr(estimating, "usable_cores", lambda: 4)


def estimated(jobs=1, found=(), **changes):
    plan = Plan(**{**SMALL, "methods": ("mde",), "budgets": ("50%", "20%"), **changes})
    return estimate(expand(plan, Catalog()), found, jobs)


def test_work_is_divided_among_workers_but_a_cell_takes_its_time(paced):  # noqa: ARG001
    alone = estimated(trials=3)
    assert [cell.runs for cell in alone.cells] == [5, 5]
    assert alone.work == pytest.approx(2 * 5 * 3.0)
    assert estimated(jobs=2, trials=3).work == pytest.approx(5 * 3.0)
    # Three trials one after the other, then the final runs side by side.
    assert estimated(jobs=4, trials=3).work == pytest.approx(4 * 3.0)
    assert estimated(jobs=9, trials=3).work == estimated(jobs=4, trials=3).work
    in_batches = estimated(jobs=4, trials=3, batch=3).work
    assert in_batches == pytest.approx(2 * 5 * 3.0 / 4)


def test_fixed_costs_grow_with_the_yardstick(paced):  # noqa: ARG001
    slowness = 0.5 / YARDSTICK_SECONDS
    report = REPORT_SECONDS + 2 * CELL_SECONDS
    serial = START_SECONDS + FIRST_STEP_SECONDS + report
    assert estimated().around == pytest.approx(serial * slowness)
    # Four cores: three workers start at once, eight take turns.
    for jobs, starts in ((3, 1), (8, 2)):
        one = estimated(jobs=jobs)
        assert one.around == pytest.approx((serial + starts * START_SECONDS) * slowness)
        assert one.seconds == one.work + one.around


def test_shared_searches_count_once(paced):  # noqa: ARG001
    shared = estimated(trials=3, methods=("magnitude",))
    assert shared.work == pytest.approx(2 * 5 * 3.0 - 3 * 2.0)
    apart = estimated(trials=3, methods=("magnitude",), pruner="median")
    assert apart.work == pytest.approx(2 * 5 * 3.0)


def test_tuning_time_is_what_tuning_takes(paced):  # noqa: ARG001
    (cell, _) = estimated(tuning_time="60s").cells
    assert cell.runs == 20 + 2


def test_finished_records_are_left_out_and_set_the_pace(paced, tiny_run, tmp_path):  # noqa: ARG001
    assert tiny_run("--methods=mde", "--budgets=50%", "--out=out").code == 0
    made = [
        record.model_copy(update={"seconds": {"train": PhaseSeconds(wall=7.0, cpu=7.0)}})
        for record in records(tmp_path / "out")
    ]
    fixed = (START_SECONDS + REPORT_SECONDS + CELL_SECONDS) * 0.5 / YARDSTICK_SECONDS
    whole = estimated(found=made, trials=1, seeds=1, budgets=("50%",))
    assert (whole.work, whole.around) == (0.0, pytest.approx(fixed))
    large, small = estimated(found=made, trials=3).cells
    assert (large.runs, large.basis, small.runs, small.basis) == (1, "records", 5, "neighbours")
    assert (large.seconds, small.seconds) == pytest.approx((7.0, 5 * 7.0))
    (tmp_path / "out/records/torn.json").write_text("{")
    assert len(readable_records(tmp_path / "out")) == len(made)
    assert (tmp_path / "out/records/torn.json").exists()


def test_packed_records_count_as_run(tiny_run, tmp_path):
    options = ("--methods=mde", "--budgets=50%", "--out=out")
    assert tiny_run(*options).code == 0
    store = RecordStore(tmp_path / "out")
    n_runs = len(store.keys())
    assert store.pack(at_least=1) == n_runs
    (tmp_path / "out/segments/torn.parquet").write_bytes(b"PAR1")
    for asked in ("--dry-run", "--estimate"):
        document = json.loads(tiny_run(*options, asked, "--json").out)
        assert document["trials" if asked == "--dry-run" else "runs"] == 0
    assert (tmp_path / "out/segments/torn.parquet").exists()


@pytest.mark.parametrize(
    ("method", "phases", "searches"),
    [
        ("uniform", {"train"}, False),
        ("magnitude", {"pretrain", "train"}, False),
        ("pep", set(), True),
    ],
)
def test_a_few_steps_of_every_phase_are_timed(tiny_cache, method, phases, searches):  # noqa: ARG001
    plan = Plan(**{**SMALL, "methods": (method,), "budgets": ("50%",)})
    (cell,) = expand(plan, Catalog())
    task = calibration_task(PilotTask, cell)
    try:
        cell.default().method.fit(task, cell.budget_parameters)
    except PilotDone:
        assert searches
    assert set(task.measured) == phases
    assert (task.search_step is not None) == searches
    pilot = SimpleNamespace(epochs=4.0, step=1.0, validation=0.5)
    pace = pilot_pace(cell, pilot)
    assert (pace.search > 0) == (method != "uniform")
    if searches:  # its training is not reached, and is taken to be the full table's
        assert pace.train == pytest.approx(4.0 * (task.steps_per_epoch + 0.5))


def test_command_tells_a_time_and_writes_nothing(tiny_run, tmp_path):
    ran = tiny_run("--methods=uniform,full", "--budgets=50%", "--estimate", "--json")
    document = json.loads(ran.out)
    assert (ran.code, document["runs"]) == (0, 8)
    assert document["seconds"] == pytest.approx(
        document["work_seconds"] + document["around_seconds"], abs=0.11
    )
    assert document["work_seconds"] > 0
    assert (
        "8 runs to do; about"
        in tiny_run("--methods=uniform,full", "--budgets=50%", "--estimate").out
    )
    assert list(tmp_path.iterdir()) == []
