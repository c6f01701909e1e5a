"""What a backbone's module reads and gives: shapes, rows, fields, embeddings of every kind."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch
from torch import Tensor

from pepbench.catalog import Catalog
from pepbench.contract.backbone_candidate import DIM, BackboneCandidate, Inputs, blamed
from pepbench.contract.candidate import NotApplicable
from pepbench.contract.toy import Toy, make_toy
from pepbench.data.splits import Rows
from pepbench.errors import Infeasible
from pepbench.harness.fit_checks import BrokenContract
from pepbench.harness.tuning.halton import MOST_OPTIONS, HaltonTrial
from pepbench.method import FromTable, Method, PlainTable
from pepbench.tables.bags import bags_of
from pepbench.tables.fields import BagField, Fields
from pepbench.tables.rows import View

DRAWS = 4
"""Draws of the tuned options."""
DENSE_AUC = 0.9
"""AUC to reach where the label is the sign of a difference of two dense inputs."""
TOLERANCE = 1e-9
"""Largest difference, in double precision, of logits that must be the same."""


def gives_one_logit_a_row(candidate: BackboneCandidate) -> None:
    """Vectors (B, F, D) give finite logits (B,): any B, one to three fields, D = 1, 2 or 6."""
    for n_fields in (1, 2, 3):
        for dim in (1, 2, 6):
            for n_rows in (1, 5):
                inputs = candidate.inputs(n_fields=n_fields, dim=dim, n_rows=n_rows)
                _check_logits(candidate, inputs, f"B = {n_rows}, F = {n_fields}, D = {dim}")


def works_over_its_ranges(candidate: BackboneCandidate) -> None:
    """Draws of its tuned options give modules that work, at D = 1 and 6."""
    kind = type(candidate.backbone)
    if not any(option.tuned for option in kind.described_options()):
        raise NotApplicable("no option is tuned")
    rng = np.random.default_rng(0)
    for _ in range(DRAWS):
        drawn = kind.suggest(HaltonTrial(rng.random(MOST_OPTIONS).tolist()), {})
        other = BackboneCandidate(drawn, candidate.plugins)
        for dim in (1, 6):
            _check_logits(other, other.inputs(dim=dim), f"options {drawn.options()}, D = {dim}")


def rows_do_not_see_each_other(candidate: BackboneCandidate) -> None:
    """In evaluation, a row's logit depends on that row alone: not on its place or its batch."""
    inputs = candidate.inputs().double()
    module = candidate.perturbed(inputs)
    order = torch.tensor([2, 0, 4, 3, 1])
    with torch.no_grad():
        together = module(inputs.vectors, inputs.ids)
        again = module(inputs.vectors, inputs.ids)
        shuffled = inputs.chosen(order).double()
        moved = module(shuffled.vectors, shuffled.ids)
        rows = [inputs.chosen(order[k : k + 1]).double() for k in range(len(order))]
        alone = torch.cat([module(row.vectors, row.ids) for row in rows])
    for other, expected, what in (
        (again, together, "the same batch twice gives other logits: draw only if self.training"),
        (moved, together[order], "another order of rows gives other logits"),
        (alone, together[order], "a row alone gives another logit than in a batch"),
    ):
        if not torch.allclose(other, expected, rtol=0.0, atol=TOLERANCE):
            raise BrokenContract(f"{what}; treat the rows of a batch by themselves in evaluation")


def reads_multi_valued_fields(candidate: BackboneCandidate) -> None:
    """If it takes them: ids come as Bags, and a bag of one value counts like the value alone."""
    candidate.needs("multi-valued")
    remedy = "give ids to FirstOrder, or take bags.ids, bags.places and bags.factors from them"
    _check_logits(candidate, candidate.inputs("multi-valued"), "multi-valued fields", remedy)
    plain = candidate.inputs().double()
    module = candidate.perturbed(plain)
    padding = np.full((len(plain.rows.ids), 2), -1, np.int32)
    fields = Fields(
        plain.fields.names, plain.fields.cardinalities, plain.fields.frequencies, {"c": BagField(3)}
    )
    one_each = bags_of(np.hstack([plain.rows.ids, padding]), fields)
    with torch.no_grad(), blamed("multi-valued fields", remedy):
        expected = module(plain.vectors, plain.ids)
        found = module(plain.vectors, one_each.to(torch.device("cpu"), torch.float64))
    if not torch.allclose(found, expected, rtol=0.0, atol=TOLERANCE):
        raise BrokenContract(f"a bag of one value gives another logit than the value; {remedy}")


def reads_dense_fields(candidate: BackboneCandidate) -> None:
    """If it takes them: learns a label that depends on dense inputs alone."""
    candidate.needs("dense")
    fields = Fields(("a", "b"), (3, 4), np.ones(7, np.int64), dense=("x", "y"))
    torch.manual_seed(0)
    remedy = "build with fields.n_dense further inputs and read them by with_dense(inputs, ids)"
    with blamed("dense fields", remedy):
        toy = Toy(fields, _dense_rows(3000, 0), _dense_rows(1000, 1), DIM)
        task = toy.task(backbone=candidate.backbone, batch_size=100, epochs=8, patience=8)
        reached = task.train(task.model(PlainTable(7, DIM))).validation.auc
    if not reached > DENSE_AUC:
        raise BrokenContract(
            f"validation AUC {reached:.3f} where the label is whether x > y, two dense inputs; "
            f"{remedy}"
        )


def works_with_every_embedding(candidate: BackboneCandidate) -> None:
    """Every method's embedding, narrow, mixed or hashed, gives a finite loss and a gradient."""
    toy, catalog = make_toy(), Catalog()
    task = toy.task(backbone=candidate.backbone)
    batch = next(iter(task.batches("train")))
    for name in catalog.entries("method"):
        method = cast(Method, catalog.load("method", name)())
        if type(method).embedding is Method.embedding:
            continue
        torch.manual_seed(0)
        try:
            embedding = method.embedding(task.fields, task.dim, toy.full_parameters // 2)
        except Infeasible:
            continue
        with blamed(f"with the embedding of {name}", "D is the dim that build() is given"):
            model = task.model(embedding)
            loss = task.loss(model, batch)
            loss.backward()  # type: ignore[no-untyped-call]
            if not torch.isfinite(loss):
                raise BrokenContract(f"with the embedding of {name}, the loss is not finite")


def from_table_agrees_with_forward(candidate: BackboneCandidate) -> None:
    """If the module has from_table(), it gives the logits of forward()."""
    inputs = candidate.inputs()
    module = candidate.module(inputs.fields).eval()
    if not isinstance(module, FromTable):
        raise NotApplicable("the module has no from_table()")
    table = torch.randn(inputs.fields.n_features, DIM)
    ids = cast(Tensor, inputs.ids)
    with torch.no_grad():
        found, expected = module.from_table(View(table, ids, None), ids), module(table[ids], ids)
    if found.shape != expected.shape or not torch.allclose(found, expected, atol=1e-5):
        raise BrokenContract(
            "from_table() gives other logits than forward(): some embeddings take the one, some "
            "the other; correct it, or leave it out"
        )


def keeps_no_table_of_its_own(candidate: BackboneCandidate) -> None:
    """Has at most one parameter per feature: vectors belong to the embedding and its budget."""
    counts = []
    for more in (0, 1000):
        sizes = tuple(n + more for n in (4, 5, 3))
        fields = Fields(("a", "b", "c"), sizes, np.ones(sum(sizes), np.int64))
        counts.append(sum(p.numel() for p in candidate.module(fields).parameters()))
    each = (counts[1] - counts[0]) / 3000
    if each > 1:
        raise BrokenContract(
            f"has {each:g} parameters for each feature, which no budget limits; use the vectors "
            "that forward() is given, and at most one weight a feature (FirstOrder)"
        )


def _check_logits(
    candidate: BackboneCandidate,
    inputs: Inputs,
    what: str,
    remedy: str = "forward(vectors, ids) maps (B, F, D) and (B, F) to logits (B,)",
) -> None:
    """Forward and backward once, in training."""
    with blamed(what, remedy):
        module = candidate.module(inputs.fields, inputs.vectors.shape[2])
        # Batch normalisation cannot train on a single row; harness batches have more.
        module.train(len(inputs.vectors) > 1)
        logits = module(inputs.vectors.requires_grad_(), inputs.ids)
        if not isinstance(logits, Tensor) or logits.shape != (len(inputs.vectors),):
            shape = tuple(getattr(logits, "shape", ()))
            raise BrokenContract(f"{what}: logits have shape {shape}; {remedy}")
        if not logits.isfinite().all():
            raise BrokenContract(f"{what}: logits are not finite; {remedy}")
        logits.sum().backward()  # type: ignore[no-untyped-call]


def _dense_rows(n_rows: int, seed: int) -> Rows:
    """Rows whose label says which of two dense inputs is larger."""
    rng = np.random.default_rng(seed)
    ids = np.stack([rng.integers(0, 3, n_rows), rng.integers(3, 7, n_rows)], axis=1)
    dense = rng.normal(size=(n_rows, 2)).astype(np.float32)
    return Rows(ids.astype(np.int32), (dense[:, 0] > dense[:, 1]).astype(np.uint8), dense)
