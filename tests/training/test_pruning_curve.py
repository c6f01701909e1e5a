"""Pruning curves: bounded, evenly spread, the same whatever comes later, and free to leave out."""

import copy
import hashlib

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from run_helpers import CHEAP_OPTIONS

from pepbench.backbones.fm import FM
from pepbench.catalog import Catalog
from pepbench.data.splits import Rows
from pepbench.records import TrainingSpec
from pepbench.tables.fields import Fields
from pepbench.training.pruning_curve import MOST_POINTS, PruningCurve
from pepbench.training.task import TrialTask

SHRINKING = ("pep", "pep:schedule=epochs", "magnitude", "deeplight", "cerp", "autosrh", "optembed")
OTHERS = ("sseds", "darts")


def curve(steps, left=None):
    pruning = PruningCurve()
    for step in steps:
        pruning.add(step, lambda step=step: 10**6 - step)
    return pruning.points(left)


@given(st.integers(1, 5000))
def test_points_are_few_true_and_evenly_spread(length):
    points = curve(range(1, length + 1))
    steps = [step for step, _ in points]
    assert len(points) <= MOST_POINTS
    assert len(points) >= min(length, MOST_POINTS // 2 - 1)
    assert all(kept == 10**6 - step for step, kept in points)
    assert len(set(np.diff(steps).tolist())) <= 1


def test_few_steps_are_counted():
    asked = []
    pruning = PruningCurve()
    for step in range(100_000):
        pruning.add(step, lambda step=step: asked.append(step) or 1)
    assert len(asked) < 1000


@given(st.integers(1, 700), st.integers(1, 700))
def test_a_search_that_goes_on_does_not_change_earlier_points(first, more):
    alone = curve(range(first), left=3)
    pruning = PruningCurve()
    for step in range(first):
        pruning.add(step, lambda step=step: 10**6 - step)
    copied = copy.deepcopy(pruning)
    for step in range(first, first + more):
        pruning.add(step, lambda: 0)
    assert copied.points(3) == alone


def test_the_end_is_what_is_left_for_the_last_training():
    assert curve(range(1, 301), left=7)[-1] == (300, 7)
    assert curve([1, 2], left=10**6 - 2) == [(1, 10**6 - 1), (2, 10**6 - 2)]
    assert curve([], left=7) == []


def fitted(spec, budget):
    """A tiny trial: the task afterwards, what was fitted, and the checksum of its logits."""
    fields = Fields(("a", "b"), (30, 20), np.arange(50, dtype=np.int64))
    rng = np.random.default_rng(0)
    rows = [
        Rows(
            np.stack([rng.integers(0, 30, n), 30 + rng.integers(0, 20, n)], 1).astype(np.int32),
            (rng.random(n) < 0.5).astype(np.uint8),
        )
        for n in (400, 100)
    ]
    settings = TrainingSpec(
        learning_rate=1e-2, l2=1e-4, batch_size=32, epochs=3, patience=3, clip=100.0
    )
    task = TrialTask(fields, 4, *rows, FM(), settings, seed=0)
    torch.manual_seed(0)
    name, _, rest = spec.partition(":")
    options = dict(CHEAP_OPTIONS.get(name, {}))
    if rest:
        options |= {"schedule": rest.removeprefix("schedule="), "search_epochs": 2}
    method = Catalog().load("method", name).from_options(options)
    result = method.fit(task, budget)
    digest = hashlib.sha256(task.logits(result.model, rows[1]).tobytes()).hexdigest()
    return task, result, digest


@pytest.mark.parametrize("spec", SHRINKING + OTHERS)
def test_searches_report_their_size_and_it_changes_nothing(spec, monkeypatch):
    task, result, digest = fitted(spec, 60)
    points = task.pruning_curve.points(result.model.embedding.n_parameters())
    steps, kept = zip(*points, strict=True)
    assert list(steps) == sorted(steps)
    assert kept[-1] == result.model.embedding.n_parameters() <= 60
    if spec in SHRINKING:
        assert kept[0] > 60
        assert max(kept) <= 200
    if "search_steps" in result.notes and not spec.startswith(("autosrh", "darts")):
        assert steps[-1] == result.notes["search_steps"]
    monkeypatch.setattr(TrialTask, "report_size", lambda *_: None)
    assert fitted(spec, 60)[2] == digest


def test_methods_of_one_size_have_no_curve():
    task, *_ = fitted("uniform", 60)
    assert task.pruning_curve.points(50) == []
