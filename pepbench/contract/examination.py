"""Puts a candidate through the checks, one after the other."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from pepbench.contract.candidate import Candidate, DoesNotTrain, NotApplicable
from pepbench.contract.checks import CHECKS, Check
from pepbench.contract.rules.training import trains
from pepbench.harness.trial import describe_failure

Verdict = Literal["passed", "failed", "not applicable"]


@dataclass(frozen=True)
class Outcome:
    """What a check came to."""

    check: str
    rule: str
    verdict: Verdict
    reason: str | None
    """What is wrong and what to do, or why it does not apply; None if it passed."""
    seconds: float


def title_of(check: Check) -> str:
    """A check's name as users read it."""
    return check.__name__.replace("_", " ")


def rule_of(check: Check) -> str:
    """The first line of a check's docstring."""
    return (check.__doc__ or "").strip().splitlines()[0]


def examine(candidate: Candidate, checks: Iterable[Check] = CHECKS) -> Iterator[Outcome]:
    """Run checks in order; an outcome each.

    If the candidate does not train, :func:`~pepbench.contract.rules.training.trains` says so; later
    checks that need a fit do not apply.
    """
    fits = True
    for check in checks:
        started = time.perf_counter()
        verdict: Verdict = "passed"
        reason: str | None = None
        try:
            check(candidate)
        except NotApplicable as error:
            verdict, reason = "not applicable", str(error)
        except DoesNotTrain as error:
            verdict, reason = "failed", str(error)
            if check is trains:
                fits = False
            elif not fits:
                verdict, reason = "not applicable", "needs a fit, and it does not train"
        except (Exception, SystemExit) as error:
            verdict, reason = "failed", describe_failure(error)
        seconds = time.perf_counter() - started
        yield Outcome(title_of(check), rule_of(check), verdict, reason, seconds)
