"""Progress reports of a trial, and the file that shows them to other processes."""

import math

import numpy as np
import pytest

from pepbench.backbones.fm import FM
from pepbench.data.splits import Rows
from pepbench.harness.status import live_files
from pepbench.harness.status.live_files import live_file, live_progress
from pepbench.method import PlainTable
from pepbench.records import TrainingSpec
from pepbench.tables.fields import Fields
from pepbench.training import progress
from pepbench.training.progress import Progress
from pepbench.training.task import TrialTask


def task_of(tell):
    rng = np.random.default_rng(0)
    ids = np.stack([rng.integers(0, 5, 200), 5 + rng.integers(0, 6, 200)], axis=1)
    rows = Rows(ids.astype(np.int32), (rng.random(200) < 0.5).astype(np.uint8))
    fields = Fields(("a", "b"), (5, 6), np.zeros(11, np.int64))
    settings = TrainingSpec(
        learning_rate=1e-2, l2=0.0, batch_size=32, epochs=8, patience=3, clip=100.0
    )
    return TrialTask(fields, 4, rows, rows, FM(), settings, 0, on_progress=tell)


def test_every_epoch_is_reported_with_the_best_score_so_far(monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN", math.inf)
    reports = []
    task = task_of(reports.append)
    fitted = task.train(task.model(PlainTable(11, 4)), phase="first")
    assert [report.epoch for report in reports] == [point.epoch for point in fitted.curve]
    assert reports[-1].score == max(point.auc for point in fitted.curve)
    assert reports[-1].step == len(fitted.curve) * task.steps_per_epoch
    assert {report.phase for report in reports} == {"first"}
    assert all(report.samples_per_second > 0 for report in reports)


def test_a_search_is_reported_between_epochs(monkeypatch):
    monkeypatch.setattr(progress, "SECONDS_BETWEEN", 0.0)
    reports = []
    task = task_of(reports.append)
    with task.phase("search"):
        stream = task.steps(task.model(PlainTable(11, 4)))
        for _ in range(9):
            next(stream)
    assert [(m.phase, m.step, m.epoch, m.score) for m in reports] == [
        ("search", step, 1 + (step - 1) // task.steps_per_epoch, None) for step in range(1, 10)
    ]


def test_the_file_holds_the_latest_moment_and_goes_with_the_trial(tmp_path):
    folder, now = tmp_path / "live", Progress("train", 5, 1, 1e5, 0.75)
    with live_file(folder, "abc") as tell:
        assert live_progress(folder, "abc") is None
        tell(Progress("train", 4, 1, 1e5))
        tell(now)
        assert live_progress(folder, "abc") == now
    assert list(folder.iterdir()) == []


def test_short_trials_report_nothing_and_long_ones_now_and_then(monkeypatch):
    clock, reports = [0.0], []
    monkeypatch.setattr(live_files.time, "monotonic", lambda: clock[0])
    tell = live_files.spaced(reports.append)
    for epoch in range(1, 11):
        clock[0] += 0.2
        tell(Progress("train", epoch, epoch, 1e5))
    assert [report.epoch for report in reports] == [3, 6, 9]


def test_the_file_goes_with_a_trial_that_fails(tmp_path):
    def fail():
        with live_file(tmp_path, "abc") as tell:
            tell(Progress("train", 4, 1, 1e5))
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert live_progress(tmp_path, "abc") is None


def test_a_folder_that_cannot_be_written_fails_no_trial(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    with live_file(blocked, "abc") as tell:
        tell(Progress("train", 4, 1, 1e5))


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"phase": "train"}'])
def test_a_damaged_file_tells_nothing(tmp_path, content):
    (tmp_path / "abc.json").write_text(content)
    assert live_progress(tmp_path, "abc") is None
