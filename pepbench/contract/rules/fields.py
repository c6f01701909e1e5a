"""Fields: small ones are kept, and neither their order nor the numbers of features matter."""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray

from pepbench.contract.candidate import Candidate, FitSpec, NotApplicable
from pepbench.contract.toy import make_small_field_toy, permuted
from pepbench.errors import Infeasible
from pepbench.harness.fit_checks import BrokenContract
from pepbench.method import Embedding, Fields, Method, PlainTable, to_numpy

BLIND = ("random-mask", "popularity-mask")
"""Controls that draw their masks without regard to fields."""
LOSS = 0.02
"""Loss of AUC against the full table that a small field may cost."""
EPOCHS, SEEDS = 15, 3
"""After 6 epochs `lsq`, whose steps grow by a share of themselves, is still on its way."""
MOST_DEVIATIONS = 4.0
"""Standard errors between two means that are put down to chance, if there is any,"""
SLACK = 0.05
"""and this difference of shares or of AUC besides, since few seeds estimate the error."""


def does_not_erase_a_small_field(candidate: Candidate) -> None:
    """At 10 % finds a signal in fields of 3 values beside one of 1,000, as the full table does."""
    if candidate.method.fixed_size:
        raise NotApplicable("the method has a single size")
    if candidate.method.name in BLIND:
        raise NotApplicable("its mask is drawn at random and may leave out a field's few entries")
    toy, probe = make_small_field_toy()
    there, expected = candidate.with_toy(toy), _auc_of_the_full_table()
    aucs: list[float] = []
    # Not the mean: a single hash may put the few values together by chance.
    majority = SEEDS // 2 + 1
    for seed in range(SEEDS):
        try:
            fit = there.fit(FitSpec(toy.full_parameters // 10, EPOCHS, seed))
        except Infeasible as error:
            raise NotApplicable("not feasible at 10 % of that task") from error
        aucs.append(probe.task().validate(fit.fitted.model).auc)
        reached = [auc >= expected - LOSS for auc in aucs]
        if reached.count(True) == majority:
            return
        if reached.count(False) == majority:
            break
    figures = ", ".join(f"{auc:.3f}" for auc in aucs)
    raise BrokenContract(
        f"AUC {figures} by seed, where the full table has {expected:.3f}: values of a "
        "small field share one vector, or have none; give a field of n features min(n, c) rows, c "
        "by the budget"
    )


@functools.cache
def _auc_of_the_full_table() -> float:
    toy, probe = make_small_field_toy()
    task = toy.task(epochs=EPOCHS, patience=EPOCHS)
    torch.manual_seed(0)
    fitted = task.train(task.model(PlainTable(toy.fields.n_features, toy.dim)))
    return probe.task().validate(fitted.model).auc


def does_not_depend_on_order(candidate: Candidate) -> None:
    """Another order of fields and other numbers of features change nothing but by chance."""
    if candidate.method.fixed_size:
        raise NotApplicable("the method has a single size")
    searches = type(candidate.method).embedding is Method.embedding
    toy = candidate.toy
    if not searches:
        # Ties at every cut, as in sparse data, where most features occur once.
        frequencies = toy.fields.frequencies
        tied = 1 + (frequencies > np.median(frequencies))
        toy = replace(toy, fields=replace(toy.fields, frequencies=tied))
    other, new_id = permuted(toy)
    budget, same_id = candidate.usual.spec.budget, np.arange(len(new_id))
    figures = _fitted_figures if searches else _initial_figures
    before = figures(candidate.with_toy(toy), budget, toy.fields, same_id)
    after = figures(candidate.with_toy(other), budget, toy.fields, new_id)
    chance = MOST_DEVIATIONS * np.sqrt((before.var(axis=0) + after.var(axis=0)) / len(before))
    is_exact = not searches and "hash_seed" not in candidate.method.options()
    both = np.concatenate([before - before[0], after - after[0]])
    fixed = (both == 0.0).all(axis=0) & is_exact
    apart = np.abs(before.mean(axis=0) - after.mean(axis=0)) > np.where(fixed, 0.0, chance + SLACK)
    if apart.any():
        n_fields = toy.fields.n_fields
        names = ["parameters", *["distinct vectors"] * n_fields, *["widths"] * n_fields, "AUC"]
        what = names[int(np.argmax(apart))]
        raise BrokenContract(
            f"with the fields in another order and their features numbered anew, shares of {what} "
            "differ; rank features by frequency, ties at random, or by a hash, never by id, and "
            "treat fields alike"
        )


def _initial_figures(
    candidate: Candidate, budget: int, fields: Fields, new_id: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Figures of the embedding before training, (seeds, 1 + 2F)."""
    return np.array(
        [
            _figures(candidate.new_embedding(budget, seed), candidate, fields, new_id)
            for seed in range(2 * SEEDS)
        ]
    )


def _fitted_figures(
    candidate: Candidate, budget: int, fields: Fields, new_id: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Figures of the trained embedding, and its AUC: (seeds, 2 + 2F)."""
    fits = [candidate.fit(FitSpec(budget, 2, seed)) for seed in range(SEEDS)]
    return np.array(
        [
            [*_figures(fit.embedding, candidate, fields, new_id), fit.fitted.validation.auc]
            for fit in fits
        ]
    )


def _figures(
    embedding: Embedding, candidate: Candidate, fields: Fields, new_id: NDArray[np.int64]
) -> list[float]:
    """Shares of the full table: parameters, and for each of ``fields`` vectors and widths."""
    with torch.inference_mode():
        vectors = to_numpy(embedding(torch.from_numpy(new_id)[:, None])).squeeze(1)
    # To a thousandth of their spread, vectors that are equal but for rounding are one.
    cells = np.round(vectors / (1e-3 * max(float(vectors.std()), 1e-30)))
    widths = embedding.export().widths()
    ends = np.cumsum(fields.cardinalities)[:-1]
    figures = [embedding.n_parameters() / candidate.toy.full_parameters]
    figures += [len(np.unique(part, axis=0)) / len(part) for part in np.split(cells, ends)]
    if widths is not None:
        figures += [part.mean() / candidate.toy.dim for part in np.split(widths[new_id], ends)]
    else:
        figures += [1.0] * fields.n_fields
    return figures
