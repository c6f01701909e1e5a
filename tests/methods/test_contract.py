"""What every method must keep to, run for all that the catalogue lists."""

import functools
import itertools

import numpy as np
import pytest
from optuna.trial import FixedTrial
from run_helpers import CHEAP_OPTIONS

from pepbench.catalog import Catalog
from pepbench.contract.candidate import Candidate, FitSpec, NotApplicable
from pepbench.contract.checks import CHECKS
from pepbench.contract.rules.fields import does_not_depend_on_order, does_not_erase_a_small_field
from pepbench.contract.rules.repetition import another_process_gives_the_same_bits
from pepbench.contract.rules.training import more_budget_is_not_worse
from pepbench.harness.fit_checks import BrokenContract

METHODS = sorted(Catalog().entries("method"))
SLOW = {
    another_process_gives_the_same_bits,
    more_budget_is_not_worse,
    does_not_erase_a_small_field,
    does_not_depend_on_order,
}


@pytest.fixture(scope="module")
def candidate_named(toy):
    """One candidate for each method, so that its checks share fits; they run one after another."""

    @functools.cache
    def candidate(name):
        return Candidate(
            Catalog().load("method", name).from_options(CHEAP_OPTIONS.get(name, {})), toy
        )

    return candidate


def cases():
    for name, check in itertools.product(METHODS, CHECKS):
        marks = [pytest.mark.slow] if check in SLOW else []
        yield pytest.param(check, name, id=f"{name}-{check.__name__}", marks=marks)


@pytest.mark.parametrize(("check", "name"), list(cases()))
def test_method_keeps_the_rule(name, check, candidate_named):
    try:
        check(candidate_named(name))
    except NotApplicable as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize(
    ("name", "fixed", "option", "values"),
    [
        ("robe", {"chunk": 2}, "chunk_place", (0.0, 1.0)),
        ("magnitude", {"finetune": False}, "start", ("trained", "initial")),
        ("cafe", {"hot_share": 0.0}, "decay", (0.5, 1.0)),
        ("autosrh", {"alpha_rate": 0.0, "search_epochs": 1}, "n_blocks", (2, 20)),
        ("optembed", {"threshold_rate": 0.0, "search_epochs": 1}, "alpha", (1e-6, 1e-4)),
    ],
)
def test_an_option_without_effect_is_not_tuned(name, fixed, option, values, toy):
    kind = Catalog().load("method", name)
    trial = FixedTrial({o.name: o.default for o in kind.described_options()})
    chosen = kind.suggest(trial, fixed)
    assert option not in trial.distributions
    assert set(chosen.tuned_options(fixed)) == trial.distributions.keys()
    assert option in kind().tuned_options({})
    fits = [
        Candidate(kind(**fixed, **{option: value}), toy).fit(FitSpec(budget=200))
        for value in values
    ]
    first, second = (fit.stored.lookup(fit.every_feature) for fit in fits)
    np.testing.assert_array_equal(first, second)


@pytest.mark.slow
def test_ties_of_frequency_that_go_by_number_are_found(toy, monkeypatch):
    by_number = "pepbench.baselines.frequency.by_frequency"
    monkeypatch.setattr(by_number, lambda counts: np.argsort(-counts, kind="stable"))
    with pytest.raises(BrokenContract, match="ties at random"):
        does_not_depend_on_order(Candidate(Catalog().load("method", "frequency")(), toy))
