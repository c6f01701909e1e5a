"""One search for many budgets must give what searches of their own give."""

import pytest
import torch

from pepbench.catalog import Catalog
from pepbench.method import Infeasible
from pepbench.training import optimizers

METHODS = {
    "pep": {"init": -2.0, "max_steps": 250, "search_epochs": 4},
    "magnitude": {},
    "optembed": {"search_epochs": 2, "generations": 2, "mutants": 3, "crossings": 3},
    "pep+int8": {"init": -2.0, "max_steps": 250},
}
KINDS = [
    ("pep", {}),
    ("pep", {"exact": False, "granularity": "feature"}),
    ("pep", {"schedule": "epochs", "retrain": "searched"}),
    ("magnitude", {"start": "trained"}),
    ("magnitude", {"start": "initial"}),
    ("magnitude", {"finetune": False}),
    ("optembed", {"start": "initial"}),
    ("optembed", {"start": "trained"}),
    ("pep+int8", {}),
]
SHARES = (0.6, 0.4, 0.39, 0.02)
"""Of the full table; ``pep`` is trimmed to the last at its limit of steps."""


def state(fitted):
    return {name: tensor.detach().clone() for name, tensor in fitted.model.state_dict().items()}


@pytest.mark.parametrize(("by_rows", "dropout"), [(False, False), (False, True), (True, False)])
@pytest.mark.parametrize(("name", "options"), KINDS)
@pytest.mark.slow
def test_results_are_exactly_those_of_separate_fits(
    toy, name, options, by_rows, dropout, monkeypatch
):
    if by_rows:
        monkeypatch.setattr(optimizers, "LAZY_FROM", 0.0)
    method = Catalog().load("method", name).from_options({**METHODS[name], **options})
    assert method.shares_search
    backbone = {"backbone": Catalog().load("backbone", "deepfm")()} if dropout else {}
    budgets = [int(toy.fields.n_features * 8 * share) for share in SHARES]
    torch.manual_seed(0)
    shared = toy.task(0, epochs=2, **backbone)
    found = []
    for fitted in method.fit_many(shared, budgets):
        seconds = dict(shared.clock.seconds)
        found.append((state(fitted), fitted, seconds, shared.samples, shared.resolved_optimizer))
    for budget, (tensors, fitted, seconds, samples, optimizer) in zip(budgets, found, strict=True):
        torch.manual_seed(0)
        task = toy.task(0, epochs=2, **backbone)
        alone = method.fit(task, budget)
        expected = state(alone)
        assert tensors.keys() == expected.keys()
        for key, tensor in tensors.items():
            assert torch.equal(tensor, expected[key]), key
        assert (fitted.validation, fitted.curve) == (alone.validation, alone.curve)
        assert fitted.notes == alone.notes
        # Time is attributed by phase; work, which is what takes it, exactly.
        assert (samples, optimizer) == (task.samples, task.resolved_optimizer)
        assert seconds.keys() == task.clock.seconds.keys()


def test_time_of_the_search_grows_and_that_of_each_training_is_its_own(toy):
    method = Catalog().load("method", "pep")(**METHODS["pep"])
    task = toy.task(0, epochs=2)
    budgets = [int(toy.fields.n_features * 8 * share) for share in SHARES]
    clocks = [dict(task.clock.seconds) for _ in method.fit_many(task, budgets)]
    searches = [clock["search"][0] for clock in clocks]
    assert searches == sorted(searches)
    assert searches[0] < searches[-1]
    assert set(task.clock.seconds) == {"search"}


def test_a_search_that_gives_up_says_so_at_the_first_budget_out_of_reach(toy):
    method = Catalog().load("method", "pep")(**METHODS["pep"], at_limit="infeasible")
    fits = method.fit_many(toy.task(0, epochs=1), [int(toy.fields.n_features * 8 * 0.6), 1])
    assert next(fits).notes["trimmed"] is False
    with pytest.raises(Infeasible, match="250 steps"):
        next(fits)
