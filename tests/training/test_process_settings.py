"""Denormal numbers: flushed while a trial runs, and only then."""

from contextlib import suppress

import loky
import pytest
import torch

from pepbench.catalog import Catalog
from pepbench.check.plan import trials_of
from pepbench.harness.cells import expand
from pepbench.harness.trial import TrialContext, run_trial
from pepbench.plan import Plan
from pepbench.training.process_settings import flushed_denormals

SUPPORTED = torch.set_flush_denormal(True)
torch.set_flush_denormal(False)
pytestmark = pytest.mark.skipif(not SUPPORTED, reason="this processor cannot flush denormals")

LEAST_NORMAL = torch.finfo(torch.float32).tiny


def halved():
    """Half the least normal number, which is denormal or zero."""
    return float(torch.tensor(LEAST_NORMAL) / 2)


def test_denormals_are_zero_within_and_back_after_an_error():
    seen = [halved()]
    with suppress(ValueError), flushed_denormals():
        seen += [halved(), float(torch.tensor(LEAST_NORMAL))]
        raise ValueError
    assert [*seen, halved()] == [LEAST_NORMAL / 2, 0, LEAST_NORMAL, LEAST_NORMAL / 2]


def test_a_mode_that_was_set_before_stays():
    with flushed_denormals():
        with flushed_denormals():
            assert halved() == 0
        assert halved() == 0


def one_trial():
    data = ("synthetic:rows=2000:features=60:fields=4",)
    plan = Plan(datasets=data, methods=("full",), budgets=("100%",), dim=4, epochs=1)
    (cell,) = expand(plan, Catalog())
    return trials_of(cell)[0]


def test_a_trial_computes_without_denormals():
    seen = []
    outcome = run_trial(one_trial(), TrialContext(), lambda *_: seen.append(halved()))
    assert (outcome.record.status, seen) == ("ok", [0.0])
    assert halved() == LEAST_NORMAL / 2


def denormals_of_two_threads():
    """How many of many numbers stay denormal in a trial of a process that has not run any."""
    many = 1_000_000
    left = []

    def count(*_):
        left.append(int((torch.full((many,), LEAST_NORMAL) / 2).count_nonzero()))

    run_trial(one_trial(), TrialContext(threads=2), count)
    return left


@pytest.mark.slow
def test_no_thread_of_a_trial_computes_with_denormals():
    with loky.ProcessPoolExecutor(max_workers=1) as executor:
        assert executor.submit(denormals_of_two_threads).result() == [0]
