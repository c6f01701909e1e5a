import io
import json
import time

import pytest

from pepbench.check import stopwatch
from pepbench.check.stopwatch import PIECE_STEPS, PIECES, Enough, Probe, own_seconds, time_cells
from pepbench.plan import Plan


def test_the_clock_never_runs_ahead_of_the_wall():
    wall, own = time.perf_counter(), own_seconds()
    time.sleep(0.02)
    own_passed, wall_passed = own_seconds() - own, time.perf_counter() - wall
    assert 0.0 < own_passed <= wall_passed


def test_waiting_for_something_counts():
    began = own_seconds()
    time.sleep(0.05)
    assert own_seconds() - began >= 0.04


def test_a_phase_is_timed_in_pieces_after_one_that_warms_up(monkeypatch):
    clock = iter(range(10**6))
    monkeypatch.setattr(stopwatch, "own_seconds", lambda: float(next(clock)))
    turns = []
    probe = Probe(lambda: turns.append(1) or 2.0)
    for _ in range(3 * PIECE_STEPS):
        probe.after_step("search")
    assert len(turns) == len(probe.steps["search"]) == 2
    # The clock that is asked twice a piece has moved by one.
    assert probe.steps["search"] == [1 / PIECE_STEPS] * 2
    assert probe.fixed["search"] == [2.0, 2.0]


def test_the_last_training_ends_when_it_has_been_timed():
    probe = Probe(lambda: 1.0)
    for _ in range((PIECES + 1) * PIECE_STEPS - 1):
        probe.after_step("train")
    with pytest.raises(Enough):
        probe.after_step("train")
    assert len(probe.steps["train"]) == PIECES


def test_every_phase_of_a_method_is_timed(tiny_cache):  # noqa: ARG001
    plan = Plan(
        methods=("full", "pep:max_steps=140"),
        datasets=("synthetic:rows=2000:features=60:fields=4",),
        budgets=("40%",),
        dim=4,
        epochs=20,
        trials=1,
        patience=20,
        batch_size=256,
    )
    answer = time_cells(plan, ())
    phases = {name.split(", ", 2)[2] for name in answer["ratios"]}
    assert {"full, 100%: train", "pep:max_steps=140, 40%: search"} <= phases
    assert all(ratio > 0 for ratio in answer["ratios"].values())
    assert answer["ratios"].keys() == answer["speeds"].keys()
    assert answer["memory"]["MiB"] > 50


def test_what_a_method_prints_is_not_among_the_answer(monkeypatch, capsys):
    def time_cells(*_):
        print("loss 0.5")
        return {"ratios": {}}

    monkeypatch.setattr(stopwatch, "time_cells", time_cells)
    question = {"plan": Plan().model_dump(mode="json", exclude_unset=True), "plugins": []}
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(question)))
    stopwatch.main()
    out, err = capsys.readouterr()
    assert (json.loads(out), err) == ({"ratios": {}}, "loss 0.5\n")
