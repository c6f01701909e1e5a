"""Training: initial values, gradients, learning, and scores."""

from __future__ import annotations

import copy
from contextlib import suppress
from typing import cast

import numpy as np
import torch
from torch import Tensor

from pepbench.backbones.backbone import Backbone
from pepbench.catalog import Catalog
from pepbench.contract.candidate import SHARES, Candidate, FitSpec, NotApplicable, at_budget
from pepbench.contract.toy import DIM, every_feature
from pepbench.errors import Infeasible
from pepbench.harness.fit_checks import BrokenContract, check_notes, check_scores
from pepbench.harness.tuning.halton import MOST_OPTIONS, HaltonTrial
from pepbench.method import Embedding, MaskedTable, Model, to_numpy
from pepbench.tables.layout import Floats, Layout
from pepbench.tables.quantised import Quantised

WITHOUT_VECTORS = "no-embedding"
"""The control that has no vectors to judge."""
MARGIN = 0.05
"""Gain in AUC over first-order weights that interactions must give on the toy task."""
NOISE = 0.02
"""Loss of AUC with more parameters that is put down to the seed."""
DRAWS = 4
"""Draws of the tuned options, where the defaults are worse with more parameters."""


def trains(candidate: Candidate) -> None:
    """Fits at budgets from the full table's to a tenth of it, or raises Infeasible."""
    assert candidate.fits


def scores_are_finite(candidate: Candidate) -> None:
    """Validation AUC and log loss are finite numbers."""
    for fit in candidate.fits:
        with at_budget(fit, "return the scores of Task.train or Task.validate"):
            check_scores(fit.fitted)


def notes_fit_a_record(candidate: Candidate) -> None:
    """Notes are finite numbers, texts or truths."""
    for fit in candidate.fits:
        with at_budget(fit, "convert tensors and arrays with float(), int() or str()"):
            check_notes(fit.fitted)


def works_with_every_backbone(candidate: Candidate) -> None:
    """Every backbone takes its vectors, and gives a finite loss that can be differentiated."""
    catalog = Catalog()
    for name in catalog.entries("backbone"):
        backbone = cast(Backbone, catalog.load("backbone", name)())
        task = candidate.toy.task(backbone=backbone)
        model = task.model(candidate.usual.embedding)
        try:
            loss = task.loss(model, next(iter(task.batches("train"))))
            loss.backward()  # type: ignore[no-untyped-call]
        except RuntimeError as error:
            raise BrokenContract(
                f"backbone {name} does not work with its vectors: {error}; forward() must return "
                "a new tensor (B, F, self.dim)"
            ) from error
        model.zero_grad()
        if not torch.isfinite(loss):
            raise BrokenContract(f"the loss of backbone {name} on its vectors is not finite")


def learns_interactions(candidate: Candidate) -> None:
    """Its vectors add to what first-order weights learn of planted interactions."""
    _refuse_to_judge_no_vectors(candidate)
    fit = candidate.full
    without = Model(NoVectors(fit.embedding.dim), fit.fitted.model.backbone)
    floor = max(fit.task.validate(without).auc, 0.5)
    reached = fit.fitted.validation.auc
    if not reached > floor + MARGIN:
        raise BrokenContract(
            f"validation AUC {reached:.3f} with its vectors, {floor:.3f} with zeros instead, where "
            f"the full table gains more than {MARGIN:g}: does training reach all its parameters?"
        )


def more_budget_is_not_worse(candidate: Candidate) -> None:
    """With its options tuned, the full table's budget is not worse than a third of it."""
    if candidate.method.fixed_size:
        raise NotApplicable("the method has a single size")
    few = FitSpec(int(candidate.toy.full_parameters * SHARES[2]), candidate.full.spec.epochs)
    try:
        less = candidate.fit(few).fitted.validation.auc
    except Infeasible as error:
        raise NotApplicable(f"not feasible at {few.budget} parameters") from error
    more = candidate.full.fitted.validation.auc
    rng = np.random.default_rng(0)
    for _ in range(DRAWS):
        if more >= less - NOISE:
            return
        tuned = candidate.drawn(HaltonTrial(rng.random(MOST_OPTIONS).tolist()))
        with suppress(Infeasible):
            more = max(more, tuned.fit(candidate.full.spec).fitted.validation.auc)
    raise BrokenContract(
        f"validation AUC {less:.3f} with {few.budget} parameters, and {more:.3f} at best with "
        f"{candidate.full.spec.budget}, defaults and {DRAWS} draws of the tuned options; a larger "
        "budget must leave it no worse model to train"
    )


def gradients_are_exact(candidate: Candidate) -> None:
    """Gradients equal finite differences, in double precision."""
    if isinstance(candidate.usual.stored, Quantised):
        raise NotApplicable("integers are rounded, and gradients pass straight through")
    # The copy has no hooks: masks change gradients on purpose.
    new = candidate.new_embedding(candidate.toy.full_parameters, seed=2)
    embedding = copy.deepcopy(new).double()
    for module in embedding.modules():
        # So does a masked table, of which nothing is masked here.
        if isinstance(module, MaskedTable):
            module.mask.fill_(True)
    ids = torch.from_numpy(candidate.toy.train.ids[:3].astype(np.int64))
    trained = [parameter for parameter in embedding.parameters() if parameter.requires_grad]
    if not trained:
        raise NotApplicable("no parameter is trained")

    def vectors(*_: Tensor) -> Tensor:
        result: Tensor = embedding(ids)
        return result

    try:
        torch.autograd.gradcheck(vectors, trained)
    except RuntimeError as error:
        raise BrokenContract(
            f"gradients are not those of forward(): {' '.join(str(error).split())[:200]}; "
            "a hand-written backward, detach() or in-place work is the usual cause"
        ) from error


def starts_with_the_variance_of_the_full_table(candidate: Candidate) -> None:
    """Initial vectors vary as much as those of the uncompressed table, within 20 %."""
    _refuse_to_judge_no_vectors(candidate)
    n_features = candidate.toy.fields.n_features
    expected = 2.0 / (n_features + DIM)
    for fit in candidate.fits[:2]:
        vectors = [_initial_vectors(candidate, fit.spec.budget, seed) for seed in range(8)]
        # Missing entries are exactly zero; of integers, zero is a value like others.
        is_rounded = isinstance(fit.stored, Quantised)
        found = float(np.mean([each[(each != 0) | is_rounded].var() for each in vectors]))
        if not abs(found - expected) <= 0.2 * expected:
            raise BrokenContract(
                f"at a budget of {fit.spec.budget} parameters, initial vectors have variance "
                f"{found:.2g}, those of the full table 2 / (N + D) = {expected:.2g}; scale them, "
                "for example by xavier_uniform(rows, width, fan=N), or initial scales are "
                "compared rather than methods"
            )


def takes_no_more_steps_than_it_says(candidate: Candidate) -> None:
    """No fit takes more training steps than most_steps() says."""
    for fit in candidate.fits:
        size = fit.task.settings.batch_size
        most = candidate.method.most_steps(fit.task.steps_per_epoch, fit.spec.epochs)
        if fit.task.samples > most * size:
            raise BrokenContract(
                f"a fit took {fit.task.samples / size:.0f} steps, most_steps() says {most}; "
                "count every search and training there, as --dry-run does its estimate from it"
            )


def _refuse_to_judge_no_vectors(candidate: Candidate) -> None:
    # By name: another method that has no vectors has a fault.
    if candidate.method.name == WITHOUT_VECTORS:
        raise NotApplicable("the control without vectors")


class NoVectors(Embedding):
    """Zeros in place of vectors, so that a model has only its first-order weights."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def forward(self, ids: Tensor) -> Tensor:
        """Zeros (B, F, dim)."""
        return torch.zeros(*ids.shape, self.dim)

    def export(self) -> Layout:
        """Not implemented: it is only used for a comparison."""
        raise NotImplementedError


def _initial_vectors(candidate: Candidate, budget: int, seed: int) -> Floats:
    """Vectors of all features before training, one each: (N, dim)."""
    fields = candidate.toy.fields
    ids = every_feature(fields)
    embedding = candidate.new_embedding(budget, seed)
    with torch.no_grad():
        vectors = to_numpy(embedding(torch.from_numpy(ids)))
    once = np.arange(len(ids))[:, None] < np.asarray(fields.cardinalities)
    return np.asarray(vectors[once])
