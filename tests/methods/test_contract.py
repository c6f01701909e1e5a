"""What every method must keep to, run for all that the catalogue lists."""

import numpy as np
import pytest
import torch

from pepbench.catalog import Catalog
from pepbench.errors import Infeasible, PlanError
from pepbench.harness.trial import check_contract

METHODS = sorted(Catalog().entries("method"))
CHEAP = {
    "pep": {"max_steps": 60, "init": -4.0, "threshold_rate": 10.0},
    "cerp": {"max_steps": 60, "init": -4.0, "threshold_rate": 10.0},
    "deeplight": {"prune_epochs": 3},
}


def method(name, **options):
    return Catalog().load("method", name).from_options(CHEAP.get(name, {}) | options)


def fit(name, toy, budget, seed=0, **settings):
    torch.manual_seed(seed)
    return method(name).fit(toy.task(seed, **settings), budget)


@pytest.mark.parametrize("share", [1.0, 0.5, 0.31, 0.1])
@pytest.mark.parametrize("name", METHODS)
def test_size_is_within_budget_and_is_what_the_tensors_hold(name, toy, share):
    budget = int(toy.task().full_parameters * share)
    try:
        fitted = fit(name, toy, budget, epochs=1)
    except Infeasible:
        pytest.skip(f"{share:.0%} is below its smallest size")
    check_contract(fitted, budget, toy.validation)
    assert fitted.model.embedding.n_bytes() == fitted.model.embedding.export().n_bytes


@pytest.mark.parametrize("name", METHODS)
def test_export_reproduces_the_trained_vectors(name, toy):
    embedding = fit(name, toy, toy.task().full_parameters, epochs=2).model.embedding
    ids = toy.validation.ids.astype(np.int64)
    with torch.no_grad():
        ours = embedding(torch.from_numpy(ids)).numpy()
    np.testing.assert_allclose(embedding.export().lookup(ids), ours, rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_same_seed_gives_the_same_bits(name, toy):
    budget = toy.task().full_parameters if name == "full" else 400
    models = [fit(name, toy, budget, seed=5, epochs=2).model.state_dict() for _ in range(2)]
    assert models[0].keys() == models[1].keys()
    assert all(torch.equal(models[0][key], models[1][key]) for key in models[0])


@pytest.mark.parametrize("name", METHODS)
def test_state_survives_a_round_trip(name, toy):
    budget = toy.task().full_parameters if name == "full" else 400
    torch.manual_seed(1)
    chosen = method(name)
    task = toy.task(epochs=1)
    fitted = chosen.fit(task, budget)
    state = {key: value.clone() for key, value in fitted.model.state_dict().items()}
    with torch.no_grad():
        for parameter in fitted.model.parameters():
            parameter.add_(1.0)
    fitted.model.load_state_dict(state)
    assert task.validate(fitted.model) == fitted.validation


@pytest.mark.parametrize("name", METHODS)
def test_learns_more_than_first_order_weights_can(name, toy):
    fitted = fit(name, toy, toy.task().full_parameters, epochs=15, patience=15)
    with torch.no_grad():
        for parameter in fitted.model.embedding.parameters():
            parameter.zero_()
    first_order_only = toy.task().validate(fitted.model)
    assert fitted.validation.auc > max(first_order_only.auc, 0.5) + 0.05


@pytest.mark.parametrize("name", METHODS)
def test_gradients_are_exact(name, toy):
    if "embedding" not in vars(Catalog().load("method", name)):
        pytest.skip("searches; the table it ends with is tested by the method that owns it")
    torch.manual_seed(2)
    embedding = method(name).embedding(toy.fields, 8, toy.task().full_parameters).double()
    ids = torch.from_numpy(toy.train.ids[:3].astype(np.int64))
    parameters = list(embedding.parameters())

    def vectors(*_):
        return embedding(ids)

    assert torch.autograd.gradcheck(vectors, parameters)


@pytest.mark.parametrize("name", METHODS)
def test_initial_vectors_have_the_variance_of_the_full_table(name, toy):
    kind = Catalog().load("method", name)
    if "embedding" not in vars(kind):
        pytest.skip("searches")
    torch.manual_seed(0)
    fields = toy.fields
    embedding = method(name).embedding(fields, 8, fields.n_features * 8)
    all_ids = torch.arange(fields.n_features)[None]
    variance = float(embedding(all_ids).detach().var(correction=0))
    assert variance == pytest.approx(2.0 / (fields.n_features + 8), rel=0.2)


@pytest.mark.parametrize("name", METHODS)
def test_options_survive_json_and_refuse_values_out_of_range(name):
    chosen = method(name)
    assert type(chosen).from_options(chosen.options()) == chosen
    for option in chosen.described_options():
        assert option.help, option.name
        if option.range is not None:
            wrong = "no such choice" if option.kind is str else 10**12
            with pytest.raises(PlanError, match=option.name):
                type(chosen).from_options({option.name: wrong})


@pytest.mark.parametrize("name", METHODS)
def test_cites_its_source_or_is_a_control(name):
    kind = Catalog().load("method", name)
    assert kind.family == "controls" or (kind.year and str(kind.year) in kind.__doc__)
