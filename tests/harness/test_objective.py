"""What validation figure chooses epochs, trials and finalists."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from test_harness_sampling import answer, cell_of
from torch import nn

from pepbench.catalog import Catalog
from pepbench.data.manage import open_table
from pepbench.data.splits import open_splits
from pepbench.errors import PlanError
from pepbench.harness.cells import expand
from pepbench.harness.planted_facts import users_of_rows
from pepbench.harness.trial import TrialContext, run_trial
from pepbench.harness.tuning.study import new_study, tell
from pepbench.harness.tuning.trial_pruning import pruning_of
from pepbench.method import EpochScore
from pepbench.metrics import gauc
from pepbench.objective import goal
from pepbench.plan import Plan
from pepbench.records import EpochRecord, ScoresRecord, best_trial, finalists, validation_goal
from pepbench.training.early_stopping import EarlyStopping

PLUGIN = Path(__file__).parents[1] / "users_plugin.py"
EPOCHS = [(0.7, 0.5, 0.6), (0.6, 0.4, 0.6), (0.5, 0.6, 0.65)]
"""AUC, log loss and gAUC; each epoch is the best by one of them."""


def cell_with(cache, objective):
    cell = cell_of(cache)
    return replace(cell, plan=cell.plan.model_copy(update={"objective": objective}))


def scored(figures):
    return dict(zip(("auc", "log_loss", "gauc"), figures, strict=True))


@pytest.mark.parametrize(("objective", "best"), [("auc", 1), ("logloss", 2), ("gauc", 3)])
def test_early_stopping_restores_the_best_epoch_of_the_objective(objective, best):
    model, stopping = nn.Linear(1, 1), EarlyStopping(5, objective)
    for epoch, figures in enumerate(EPOCHS, 1):
        stopping.should_stop(EpochScore(epoch, 0.5, **scored(figures)), model)
    assert stopping.restore(model).epoch == best


@pytest.mark.parametrize(("objective", "order"), [("auc", "abc"), ("logloss", "ba"), ("gauc", "c")])
def test_finalists_and_the_best_trial_go_by_the_objective(tiny_cache, objective, order):
    """Those more than a hundredth behind the best are no finalists."""
    cell = cell_with(tiny_cache, objective)
    figures = {"a": (0.7, 0.505, 0.6), "b": (0.699, 0.5, 0.6), "c": (0.698, 0.6, 0.7)}
    records = {}
    for rate, (name, own) in enumerate(figures.items(), 1):
        settings = replace(cell.default(), learning_rate=rate * 1e-3)
        scores = ScoresRecord(**scored(own))
        spec = cell.trial(settings, 0, "tuning")
        records[name] = answer(spec).model_copy(update={"validation": scores})
    found = list(records.values())
    assert finalists(found, 3) == [records[name] for name in order]
    assert best_trial(found) == records[order[0]]
    study = new_study(cell)
    for record in found:
        tell(study, study.ask(), record.model_copy(update={"curve": []}))
    assert found[study.best_trial.number] == records[order[0]]


@pytest.mark.parametrize("objective", ["auc", "logloss", "gauc"])
def test_pruners_compare_curves_of_the_objective(tiny_cache, objective):
    cell = cell_with(tiny_cache, objective)
    curve = [
        EpochRecord(epoch=n, train_loss=0.5, **scored(figures)) for n, figures in enumerate(EPOCHS)
    ]
    record = answer(cell.trial(cell.default(), 0, "tuning")).model_copy(update={"curve": curve})
    rule = pruning_of("median", [record])
    place = ("auc", "logloss", "gauc").index(objective)
    sign = -1 if objective == "logloss" else 1
    assert rule.complete == (tuple(sign * figures[place] for figures in EPOCHS),)


@pytest.mark.parametrize("objective", ["auc", "logloss", "gauc"])
def test_a_trial_keeps_its_best_epoch_by_the_objective(tiny_cache, objective):  # noqa: ARG001
    """gAUC is that of the validation rows of each user, and known only if it is the objective."""
    plan = Plan(methods=("only:field=item",), datasets=("owned",), budgets=("50%",), dim=2)
    plan = plan.model_copy(update={"objective": objective, "epochs": 4, "batch_size": 64})
    catalog = Catalog((PLUGIN,))
    cell = expand(plan, catalog)[0]
    spec = cell.trial(replace(cell.default(), learning_rate=0.02), 0, "tuning")
    models = []
    record = run_trial(
        spec, TrialContext(plugins=(PLUGIN,)), lambda fitted, _: models.append(fitted.model)
    ).record
    assert record.reason is None
    assert validation_goal(record) == max(goal(point, objective) for point in record.curve)
    if objective != "gauc":
        assert record.validation.gauc is None
        return
    dataset = catalog.select("dataset", "owned").default()
    splits = open_splits(open_table(dataset), 0)
    users = users_of_rows(dataset, splits, "validation")
    ids = torch.from_numpy(np.asarray(splits.validation.ids).astype(np.int64))
    logits = models[0](ids).detach().numpy()
    assert record.validation.gauc == pytest.approx(gauc(splits.validation.labels, logits, users))


def test_gauc_as_objective_needs_users(pepbench, tiny_cache):  # noqa: ARG001
    plan = Plan(datasets=("synthetic:rows=2000:features=60:fields=4",), objective="gauc")
    with pytest.raises(PlanError, match="declares no users; take auc or logloss"):
        expand(plan, Catalog())
    ran = pepbench("run", "--datasets", "synthetic", "--objective", "gauc")
    assert (ran.code, len(ran.err.strip().splitlines())) == (2, 1)


def test_the_default_objective_leaves_plans_and_keys_as_they_were(tiny_cache):
    plain, other = Plan(), Plan(objective="logloss")
    assert "objective" not in plain.to_toml()
    assert plain.digest() != other.digest()
    cell = cell_of(tiny_cache)
    spec = cell.trial(cell.default(), 0, "tuning")
    old = spec.model_dump(mode="json")
    del old["training"]["objective"]
    assert type(spec).model_validate(old).key() == spec.key()
    changed = cell_with(tiny_cache, "logloss")
    assert changed.trial(changed.default(), 0, "tuning").key() != spec.key()
