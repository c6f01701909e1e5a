"""What every method must keep to, run for all that the catalogue lists."""

import functools

import pytest

from pepbench.catalog import Catalog
from pepbench.contract.candidate import Candidate, NotApplicable
from pepbench.contract.checks import CHECKS, another_process_gives_the_same_bits

METHODS = sorted(Catalog().entries("method"))
CHEAP = {
    "pep": {"max_steps": 60, "init": -4.0, "threshold_rate": 10.0},
    "cerp": {"max_steps": 60, "init": -4.0, "threshold_rate": 10.0},
    "deeplight": {"prune_epochs": 3},
    "darts": {"search_epochs": 2},
    "autosrh": {"search_epochs": 2},
    "optembed": {"search_epochs": 2, "generations": 2},
}
"""Searches cut short."""
SLOW = {another_process_gives_the_same_bits}


@pytest.fixture(scope="module")
def candidate_named(toy):
    """One candidate for each method, so that its checks share fits."""

    @functools.cache
    def candidate(name):
        return Candidate(Catalog().load("method", name).from_options(CHEAP.get(name, {})), toy)

    return candidate


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(check, id=check.__name__, marks=[pytest.mark.slow] if check in SLOW else [])
        for check in CHECKS
    ],
)
@pytest.mark.parametrize("name", METHODS)
def test_method_keeps_the_rule(name, check, candidate_named):
    try:
        check(candidate_named(name))
    except NotApplicable as reason:
        pytest.skip(str(reason))
