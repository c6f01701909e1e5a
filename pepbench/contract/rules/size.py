"""Size: budgets are kept and used, parameters and bytes are counted, the smallest size is named."""

from __future__ import annotations

import re

from pepbench.contract.candidate import Candidate, DoesNotTrain, FitSpec, NotApplicable, at_budget
from pepbench.errors import Infeasible
from pepbench.harness.fit_checks import BrokenContract, check_count, check_size
from pepbench.method import LEAST_USE


def keeps_within_the_budget(candidate: Candidate) -> None:
    """Has no more parameters than allowed, at every budget."""
    for fit in candidate.fits:
        with at_budget(fit, "embedding() and fit() must not return more than their budget"):
            check_size(fit.embedding, fit.spec.budget)


def names_its_smallest_size(candidate: Candidate) -> None:
    """If a budget is too small, Infeasible names the smallest possible one."""
    smallest = 1
    while True:
        try:
            fit = candidate.fit(FitSpec(smallest))
            break
        except Infeasible as error:
            named = _smallest_size_in(str(error))
            # A search may notice only at its end that its choice needs more.
            if named <= smallest:
                raise BrokenContract(
                    f"Infeasible refuses {smallest} parameters and names {named} as possible: "
                    f"{error}; name the smallest size that is not refused"
                ) from None
            smallest = named
        except DoesNotTrain as error:
            raise DoesNotTrain(f"{error}; raise Infeasible where a budget is too small") from None
    check_size(fit.embedding, smallest)
    if smallest == 1:
        raise NotApplicable("a budget of one parameter is feasible")
    try:
        candidate.fit(FitSpec(smallest - 1))
    except Infeasible:
        return
    raise BrokenContract(
        f"Infeasible says that {smallest} parameters are the smallest possible size, but "
        f"{smallest - 1} are feasible; name the true one"
    )


def counts_what_it_stores(candidate: Candidate) -> None:
    """Numbers of parameters and bytes are those of the exported arrays."""
    for fit in candidate.fits:
        with at_budget(fit, "count what export() stores, and store what you count"):
            check_count(fit.embedding, fit.stored)
            if fit.embedding.n_bytes() != fit.stored.n_bytes:
                raise BrokenContract(
                    f"n_bytes() says {fit.embedding.n_bytes()}, the exported arrays take "
                    f"{fit.stored.n_bytes}"
                )


def uses_its_budget(candidate: Candidate) -> None:
    """Has at least 90 % of the parameters that it may have, or notes why not."""
    for fit in candidate.fits:
        count, allowed = (
            fit.embedding.n_parameters(),
            min(fit.spec.budget, candidate.toy.full_parameters),
        )
        if count < LEAST_USE * allowed and not fit.fitted.notes.get("unused_budget"):
            raise BrokenContract(
                f"{count} of {allowed} parameters are used, {count / allowed:.0%}; use what a "
                "budget allows, or say why that is impossible: set unused_budget on the embedding, "
                "and in a fit() of its own call Fitted.with_budget_note()"
            )


def _smallest_size_in(message: str) -> int:
    found = re.search(r"smallest possible is ([\d,]+)", message)
    if found is None:
        raise BrokenContract(
            f'Infeasible does not name the smallest size; write "smallest possible is N '
            f'parameters" into its message, which is: {message}'
        )
    return int(found[1].replace(",", ""))
