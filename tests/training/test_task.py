"""The standard fit: order of batches, early stopping, the best epoch, time by phase."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from run_helpers import CHEAP_OPTIONS

from pepbench.backbones.fm import FM
from pepbench.catalog import Catalog
from pepbench.data.splits import Rows
from pepbench.errors import Diverged
from pepbench.method import PlainTable
from pepbench.records import TrainingSpec
from pepbench.tables.fields import Fields
from pepbench.training.batches import BatchMaker
from pepbench.training.clock import Clock
from pepbench.training.step import batch_logits
from pepbench.training.task import TrialTask

FIELDS = Fields(("a", "b"), (5, 6), np.zeros(11, np.int64))


def rows_of(n, seed=0):
    rng = np.random.default_rng(seed)
    ids = np.stack([rng.integers(0, 5, n), 5 + rng.integers(0, 6, n)], axis=1).astype(np.int32)
    return Rows(ids, (rng.random(n) < 0.5).astype(np.uint8))


def task_of(train=None, validation=None, seed=0, **changes):
    settings = TrainingSpec(
        learning_rate=1e-2, l2=0.0, batch_size=32, epochs=8, patience=3, clip=100.0
    )
    return TrialTask(
        FIELDS,
        4,
        train or rows_of(200),
        validation or rows_of(100, seed=1),
        FM(),
        settings.model_copy(update=changes),
        seed,
    )


def test_an_epoch_shows_every_row_once():
    rows = rows_of(101)
    maker = BatchMaker(32, torch.device("cpu"), torch.float32)
    batches = list(maker.shuffled(rows, (7,)))
    assert [len(batch.labels) for batch in batches] == [32, 32, 32, 5]
    seen = np.concatenate([np.c_[b.ids.numpy(), b.labels.numpy()] for b in batches])
    expected = np.c_[rows.ids, rows.labels]
    assert sorted(map(tuple, seen)) == sorted(map(tuple, expected))
    assert not np.array_equal(seen, expected)


def test_training_order_depends_on_the_seed_only():
    def orders(task):
        seen = []
        update = task._update
        task._update = lambda m, b, o: seen.append(b.ids.clone()) or update(m, b, o)
        task.train(task.model(PlainTable(11, 4)))
        return torch.cat(seen)

    plain = orders(task_of(epochs=2))
    after_search = task_of(epochs=2)
    for step in after_search.steps(after_search.model(PlainTable(11, 4))):
        if step.number == 5:
            break
    assert torch.equal(plain, orders(after_search))
    assert not torch.equal(plain, orders(task_of(epochs=2, seed=1)))
    assert not torch.equal(plain[:200], plain[200:])


def scripted(task, aucs):
    """Let validation return given AUCs, one an epoch, noting the table of each."""
    tables = []
    values = iter(aucs)

    def validate(model):
        tables.append(model.embedding.table.detach().clone())
        real = type(task).validate(task, model)
        return type(real)(next(values), real.log_loss)

    task.validate = validate
    return tables


def test_stops_after_patience_and_restores_the_best_epoch():
    task = task_of(epochs=50, patience=3)
    tables = scripted(task, [0.5, 0.7, 0.6, 0.69, 0.7, 0.9])
    fitted = task.train(task.model(PlainTable(11, 4)))
    assert [point.epoch for point in fitted.curve] == [1, 2, 3, 4, 5]
    assert fitted.validation.auc == 0.7
    assert torch.equal(fitted.model.embedding.table, tables[1])


def test_trains_no_longer_than_the_cap():
    task = task_of(epochs=4, patience=9)
    scripted(task, [0.1, 0.2, 0.3, 0.4, 0.5])
    assert len(task.train(task.model(PlainTable(11, 4))).curve) == 4


def test_curve_holds_the_mean_loss_of_the_epochs_rows():
    task = task_of(epochs=1, learning_rate=1e-12)
    model = task.model(PlainTable(11, 4))
    with torch.no_grad():
        losses = [task.loss(model, b) * len(b.labels) for b in task.batches("train")]
    expected = float(sum(losses)) / 200
    assert task.train(model).curve[0].train_loss == pytest.approx(expected, rel=1e-5)


def test_divergence_names_step_and_learning_rate():
    task = task_of(learning_rate=0.25)
    model = task.model(PlainTable(11, 4))
    with torch.no_grad():
        model.embedding.table.fill_(float("inf"))
    with pytest.raises(Diverged, match=r"step 1, learning rate 0\.25"):
        task.train(model)


def test_the_task_holds_no_test_rows():
    with pytest.raises(KeyError):
        next(task_of().batches("test"))


def test_a_phase_within_another_counts_for_itself_only(monkeypatch):
    wall, cpu = iter([0, 2, 7, 9]), iter([0, 1, 5, 6])
    told = SimpleNamespace(perf_counter=lambda: next(wall), process_time=lambda: next(cpu))
    monkeypatch.setattr("pepbench.training.clock.time", told)
    clock = Clock()
    with clock.phase("outer"), clock.phase("inner"):
        pass
    assert clock.seconds == {"outer": (2 + 2, 1 + 1), "inner": (5, 4)}


def test_steps_on_validation_rows():
    validation = rows_of(40, seed=9)
    task = task_of(validation=validation, batch_size=40)
    seen = []
    update = task._update
    task._update = lambda m, b, o: seen.append(b.ids) or update(m, b, o)
    model = task.model(PlainTable(11, 4))
    next(task.steps(model, task.optimizer(model), "validation"))
    assert sorted(map(tuple, seen[0].tolist())) == sorted(map(tuple, validation.ids.tolist()))


def test_held_out_rows_are_a_tenth_of_the_training_rows_and_the_others_are_kept():
    task = task_of(train=rows_of(205))

    def rows(part):
        batches = list(task.batches(part))
        return [
            (*ids, y)
            for b in batches
            for ids, y in zip(b.ids.tolist(), b.labels.tolist(), strict=True)
        ]

    assert len(rows("held-out")) == 20
    assert sorted(rows("held-out") + rows("held-in")) == sorted(rows("train"))
    assert rows("held-out") == [
        (*ids, y)
        for b in task_of(train=rows_of(205)).batches("held-out")
        for ids, y in zip(b.ids.tolist(), b.labels.tolist(), strict=True)
    ]


def test_of_fewer_than_ten_training_rows_one_is_held_out():
    """Without any, training on them would wait for a batch for ever."""
    task = task_of(train=rows_of(9))
    assert [len(batch.labels) for batch in task.batches("held-out")] == [1]
    assert sum(len(batch.labels) for batch in task.batches("held-in")) == 8


@pytest.mark.parametrize("name", sorted(Catalog().entries("method")))
def test_half_precision_is_for_backbones_not_for_vectors(name):
    """A factorisation machine has no matrix product, so nothing is left to round."""
    task = task_of(epochs=2, precision="bfloat16")
    method = Catalog().load("method", name).from_options(CHEAP_OPTIONS.get(name, {}))
    torch.manual_seed(0)
    model = method.fit(task, 44 if method.fixed_size else 41).model.eval()
    ids = torch.tensor([[0, 5], [3, 10], [4, 7]])
    with torch.no_grad():
        half, whole = (batch_logits(model, ids, kind) for kind in ("bfloat16", "float32"))
    torch.testing.assert_close(half, whole, rtol=0, atol=0)
