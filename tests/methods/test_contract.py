"""What every method must keep to, run for all that the catalogue lists."""

import functools

import pytest
from run_helpers import CHEAP_OPTIONS

from pepbench.catalog import Catalog
from pepbench.contract.candidate import Candidate, NotApplicable
from pepbench.contract.checks import CHECKS
from pepbench.contract.rules.repetition import another_process_gives_the_same_bits

METHODS = sorted(Catalog().entries("method"))
SLOW = {another_process_gives_the_same_bits}


@pytest.fixture(scope="module")
def candidate_named(toy):
    """One candidate for each method, so that its checks share fits."""

    @functools.cache
    def candidate(name):
        return Candidate(
            Catalog().load("method", name).from_options(CHEAP_OPTIONS.get(name, {})), toy
        )

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
