"""Reproducibility: repeated fits, other processes, shared searches and saved states agree."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, Executor
from contextlib import suppress
from pathlib import Path
from typing import cast

import loky
import torch

from pepbench.catalog import Catalog, Kind
from pepbench.component import Value
from pepbench.contract.backbone_candidate import AnyCandidate
from pepbench.contract.candidate import SHARES, Candidate, FitSpec
from pepbench.errors import Infeasible
from pepbench.harness.fit_checks import BrokenContract


def same_seed_gives_the_same_bits(candidate: Candidate) -> None:
    """Two fits with the same seed are equal to the last bit."""
    if candidate.digest != candidate.repeated.digest():
        raise BrokenContract(
            "two fits with the same seed differ; draw from task.rng or torch's global generator, "
            "which the trial seeds, and from nothing else"
        )


def another_process_gives_the_same_bits(candidate: AnyCandidate) -> None:
    """A fresh process with another PYTHONHASHSEED gives the same bits."""
    kind, component = type(candidate), candidate.component
    try:
        running = _other_process().submit(
            _digest, kind, candidate.plugins, component.kind, component.name, component.options()
        )
        digest = running.result()
    except BrokenExecutor as error:
        _other_process.cache_clear()
        raise BrokenContract(f"the same fit in another process ended it: {error}") from error
    if candidate.digest != digest:
        raise BrokenContract(
            "another process gives another result from the same seed; do not use hash(), the "
            "order of sets, id() or anything of the machine"
        )


def one_search_for_many_budgets_changes_nothing(candidate: Candidate) -> None:
    """What one search gives several budgets is what searches of their own give."""
    if not candidate.method.shares_search:
        return
    alone = []
    for share in SHARES[1:]:
        with suppress(Infeasible):
            alone.append(candidate.fit(FitSpec(int(candidate.toy.full_parameters * share))))
    shared = candidate.fit_many([fit.spec for fit in alone]) if alone else []
    if shared != [fit.digest() for fit in alone]:
        raise BrokenContract(
            "fit_many() gives other results than fit() at the same budgets and seed; train and "
            "yield each within `with task.aside():`, and copy what its training changes"
        )


def state_survives_a_round_trip(candidate: Candidate) -> None:
    """The state restores what the model was, whatever was trained since."""
    fit = candidate.repeated
    model, task = fit.fitted.model, fit.task
    if task.validate(model) != fit.fitted.validation:
        raise BrokenContract(
            "the returned scores are not those of the returned model; validate it last"
        )
    state = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(1.0)
    for step in task.steps(model):
        if step.number == task.steps_per_epoch:
            break
    model.load_state_dict(state)
    if task.validate(model) != fit.fitted.validation:
        raise BrokenContract(
            "the model's state_dict does not restore it, so that training cannot return to its "
            "best epoch; register what forward() depends on as parameters or buffers"
        )


@functools.cache
def _other_process() -> Executor:
    """One worker process with another PYTHONHASHSEED, for all candidates.

    Starting it takes longer than a fit.
    """
    other = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    executor: Executor = loky.ProcessPoolExecutor(max_workers=1, env={"PYTHONHASHSEED": other})
    return executor


def _digest(
    candidate: Callable[..., AnyCandidate],
    plugins: tuple[Path, ...],
    kind: str,
    name: str,
    options: Mapping[str, Value],
) -> str:
    """The digest of a new candidate, of a component with this name and these options."""
    torch.set_num_threads(1)
    component = Catalog(plugins).load(cast(Kind, kind), name).from_options(options)
    return candidate(component, plugins=plugins).digest
