"""The benchmark of a whole board: its arithmetic on phases."""

from types import SimpleNamespace

from benchmarks.board import Meter


def test_phases_do_not_count_validation_twice():
    meter = Meter()
    seconds = {"train": (0.0, 5.0), "search": (0.0, 7.0), "pretrain": (0.0, 4.0)}
    meter.tasks = [SimpleNamespace(clock=SimpleNamespace(seconds=seconds))] * 2
    meter.validation = {"train": 2.0, "search": 4.0}
    assert meter.seconds() == {"search": 18.0, "training": 8.0, "validation": 6.0}
