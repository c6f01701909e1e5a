"""What a backbone is for: interactions that a linear model cannot see; and all methods on it."""

import pytest
import torch

from pepbench.backbones.lr import LR
from pepbench.catalog import Catalog
from pepbench.errors import Infeasible
from pepbench.harness.fit_checks import check_contract
from pepbench.method import PlainTable

BACKBONES = sorted(Catalog().entries("backbone"))
METHODS = sorted(Catalog().entries("method"))
SMALL = {"units": 16, "attention_size": 8}
"""Where a backbone has the option: enough for tests of whether it runs at all."""
VARIANTS = [
    "autoint:deep=true",
    "dcnv2:low_rank=4",
    "dcnv2:low_rank=4:experts=2",
    "dcnv2:structure=stacked",
    "dlrm:vectors=true",
]


def backbone(spec):
    return Catalog().select("backbone", spec).default()


def limited(kind, name, limits):
    """A component with ``limits`` for those options that it has."""
    component = Catalog().load(kind, name)
    own = {option.name for option in component.described_options()}
    return component.from_options({key: limits[key] for key in own & limits.keys()})


@pytest.mark.parametrize("spec", sorted({*BACKBONES, *VARIANTS} - {"lr"}))
def test_learns_an_interaction(spec, parity_task):
    task = parity_task(backbone(spec))
    assert task.train(task.model(PlainTable(19, 4))).validation.auc > 0.98


def test_lr_cannot_learn_an_interaction(parity_task):
    task = parity_task(LR())
    assert task.train(task.model(PlainTable(19, 4))).validation.auc < 0.6


@pytest.mark.parametrize("optimizer", ["adam", "lazy-adam"])
def test_lr_leaves_the_embedding_as_it_was(optimizer, parity_task):
    task = parity_task(LR(), optimizer=optimizer, epochs=2)
    embedding = PlainTable(19, 4)
    before = embedding.table.detach().clone()
    model = task.train(task.model(embedding)).model
    assert model.backbone.first_order.weights.abs().max() > 0
    assert torch.equal(embedding.table, before)


def test_gradient_of_what_lr_ignores_is_zero(parity_task):
    task = parity_task(LR())
    model = task.model(PlainTable(19, 4))
    batch = next(task.batches("train"))
    vectors = model.embedding(batch.ids).detach().requires_grad_()
    model.backbone(vectors, batch.ids).sum().backward()
    task.loss(model, batch).backward()
    assert torch.equal(vectors.grad, torch.zeros_like(vectors))
    assert torch.equal(model.embedding.table.grad, torch.zeros(19, 4))


@pytest.mark.parametrize("optimizer", ["adam", "lazy-adam"])
def test_lr_predicts_the_same_with_any_embedding(optimizer, parity_task):
    scores = set()
    for width in (1, 4):
        task = parity_task(LR(), optimizer=optimizer, epochs=2, l2=1e-4)
        scores.add(task.train(task.model(PlainTable(19, width))).validation)
    assert len(scores) == 1


@pytest.mark.parametrize("optimizer", ["adam", "lazy-adam"])
@pytest.mark.parametrize("name", BACKBONES)
def test_trains_on_a_table_of_width_one(name, optimizer, parity_task):
    task = parity_task(backbone(name), epochs=1, optimizer=optimizer)
    fitted = task.train(task.model(PlainTable(19, 1)))
    assert fitted.curve[-1].train_loss < 0.75


@pytest.mark.parametrize("name", BACKBONES)
def test_same_seed_gives_the_same_bits(name, parity_task):
    states = []
    for _ in range(2):
        task = parity_task(backbone(name), seed=7, epochs=1)
        states.append(task.train(task.model(PlainTable(19, 4))).model.state_dict())
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "name",
    [name if name == "fm" else pytest.param(name, marks=pytest.mark.slow) for name in BACKBONES],
)
def test_every_method_runs_on_it(name, method, parity_task):
    task = parity_task(limited("backbone", name, SMALL), batch_size=500, epochs=1)
    chosen = limited("method", method, {"max_steps": 20})
    budget = task.full_parameters if chosen.fixed_size else task.full_parameters * 7 // 8
    try:
        fitted = chosen.fit(task, budget)
    except Infeasible as reason:
        pytest.skip(str(reason))
    check_contract(fitted, budget, task._rows["validation"])
