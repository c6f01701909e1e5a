"""The study of a check's power: steps that are to be slower are."""

from itertools import islice

import pytest

from benchmarks import check_power
from pepbench.contract.toy import make_toy
from pepbench.method import PlainTable
from pepbench.training import step, task


@pytest.mark.parametrize("compiled", [True, False])
def test_every_step_is_slowed_whether_compiled_or_torchs(compiled, monkeypatch):
    idled = []
    monkeypatch.setattr(task, "train_step", task.train_step)
    monkeypatch.setattr(check_power, "idle", idled.append)
    if not compiled:
        monkeypatch.setattr(step, "compiled_step", lambda *_: None)
    check_power.slow_steps(0.3)
    idled.clear()
    toy = make_toy()
    training = toy.task()
    list(islice(training.steps(training.model(PlainTable(toy.fields.n_features, 8))), 3))
    assert len(idled) == 3
    assert min(idled) > 0
