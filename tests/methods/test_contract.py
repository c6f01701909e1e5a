"""What every method must keep to, run for all that the catalogue lists."""

import functools
import itertools

import numpy as np
import pytest
from run_helpers import CHEAP_OPTIONS

from pepbench.catalog import Catalog
from pepbench.contract.candidate import Candidate, NotApplicable
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


@pytest.mark.slow
def test_ties_of_frequency_that_go_by_number_are_found(toy, monkeypatch):
    by_number = "pepbench.baselines.frequency.by_frequency"
    monkeypatch.setattr(by_number, lambda counts: np.argsort(-counts, kind="stable"))
    with pytest.raises(BrokenContract, match="ties at random"):
        does_not_depend_on_order(Candidate(Catalog().load("method", "frequency")(), toy))
