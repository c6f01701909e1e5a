"""What every backbone must keep to, and the factorisation machine against its definition."""

import functools
import itertools
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from pepbench.backbones.fm import FM, pairwise_products
from pepbench.catalog import Catalog
from pepbench.contract.backbone_candidate import BackboneCandidate
from pepbench.contract.candidate import NotApplicable
from pepbench.contract.checks import BACKBONE_CHECKS
from pepbench.contract.examine import examine
from pepbench.contract.rules import backbone_inputs, backbone_training, repetition
from pepbench.contract.rules.card import cites_its_source
from pepbench.harness.fit_checks import BrokenContract
from pepbench.method import Method
from pepbench.tables.fields import Fields

EXAMPLE = Path(__file__).parents[2] / "docs/examples/finalmlp.py"
BACKBONES = sorted(Catalog().entries("backbone"))
TESTED_ELSEWHERE = {
    backbone_inputs.reads_dense_fields,
    backbone_inputs.works_with_every_embedding,
    backbone_training.exports_to_onnx,
    backbone_training.learns_an_interaction,
    backbone_training.same_seed_gives_the_same_bits,
}
"""Checks of which other tests do more for every built-in backbone."""
SLOW = {
    backbone_training.trains,
    backbone_training.state_survives_a_round_trip,
    repetition.another_process_gives_the_same_bits,
    backbone_inputs.works_over_its_ranges,
}
FIELDS = Fields(("a", "b", "c"), (4, 5, 3), np.zeros(12, np.int64))
IDS = torch.tensor([[0, 4, 9], [3, 8, 11], [1, 5, 10], [3, 4, 9]])


def vectors(dim=6):
    torch.manual_seed(1)
    return torch.randn(len(IDS), 3, dim, dtype=torch.float64)


@functools.cache
def candidate(name):
    """One candidate for each backbone, so that its checks share fits."""
    return BackboneCandidate(Catalog().load("backbone", name)())


def cases():
    for check, name in itertools.product(BACKBONE_CHECKS, BACKBONES):
        costly = check is repetition.another_process_gives_the_same_bits
        if check not in TESTED_ELSEWHERE and (name == "autoint" or not costly):
            marks = [pytest.mark.slow] if check in SLOW else []
            yield pytest.param(check, name, id=f"{name}-{check.__name__}", marks=marks)


@pytest.mark.parametrize(("check", "name"), list(cases()))
def test_backbone_keeps_the_rule(name, check):
    try:
        check(candidate(name))
    except NotApplicable as reason:
        pytest.skip(str(reason))


@pytest.mark.parametrize(
    ("base", "ending"), [(FM, "in its docstring"), (Method, 'family = "controls" instead')]
)
def test_only_methods_are_told_of_controls(base, ending):
    class Unsourced(base):
        """Without a source."""

        year = None

    with pytest.raises(BrokenContract, match=f"{ending}$"):
        cites_its_source(SimpleNamespace(component=object.__new__(Unsourced)))


@pytest.mark.slow
def test_backbone_of_the_documentation_keeps_every_rule():
    backbone = Catalog((EXAMPLE,)).load("backbone", "finalmlp")()
    outcomes = list(examine(BackboneCandidate(backbone, (EXAMPLE,)), BACKBONE_CHECKS))
    assert [outcome for outcome in outcomes if outcome.verdict == "failed"] == []
    passed = {outcome.check for outcome in outcomes if outcome.verdict == "passed"}
    assert {"learns an interaction", "reads dense fields", "reads multi valued fields"} <= passed


def test_finalmlp_fuses_as_the_paper_says():
    module = sys.modules[Catalog((EXAMPLE,)).load("backbone", "finalmlp").__module__]
    torch.manual_seed(0)
    fusion = module.Fusion(2, 3).double()
    first, second = torch.randn(2, 4, 6, dtype=torch.float64)
    weights = fusion.sums.weight[0]
    for row, (left, right) in enumerate(zip(first, second, strict=True)):
        expected = weights[:6] @ left + weights[6:] @ right
        for head, part in enumerate((slice(0, 3), slice(3, 6))):
            expected = expected + left[part] @ fusion.products[head] @ right[part]
        torch.testing.assert_close(fusion(first, second)[row], expected)
    stream = module.GatedStream(5, [3], 0.0)
    inputs = torch.randn(2, 5)
    torch.testing.assert_close(stream(inputs), stream.deep(inputs))


def test_fm_equals_the_sum_over_pairs():
    module, rows = FM().build(FIELDS, 6).double(), vectors()
    torch.nn.init.normal_(module.first_order.weights)
    weights, bias = module.first_order.weights, module.first_order.bias
    for row, ids, logit in zip(rows, IDS, module(rows, IDS), strict=True):
        pairs = sum(row[i] @ row[j] for i, j in itertools.combinations(range(3), 2))
        torch.testing.assert_close(logit[None], bias + weights[ids].sum() + pairs)


def test_pairwise_products_pass_gradcheck():
    assert torch.autograd.gradcheck(pairwise_products, vectors().requires_grad_())


def test_fm_has_one_weight_a_feature_and_a_bias():
    count = sum(p.numel() for p in FM().build(FIELDS, 6).parameters())
    assert count == FIELDS.n_features + 1
