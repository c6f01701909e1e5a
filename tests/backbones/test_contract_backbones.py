"""What every backbone must keep to, and the factorisation machine against its definition."""

from itertools import combinations

import numpy as np
import pytest
import torch

from pepbench.backbones.fm import FM, pairwise_products
from pepbench.catalog import Catalog
from pepbench.tables.fields import Fields

BACKBONES = sorted(Catalog().entries("backbone"))
FIELDS = Fields(("a", "b", "c"), (4, 5, 3), np.zeros(12, np.int64))
IDS = torch.tensor([[0, 4, 9], [3, 8, 11], [1, 5, 10], [3, 4, 9]])


def build(name, dim=6):
    torch.manual_seed(0)
    module = Catalog().load("backbone", name)().build(FIELDS, dim).double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return module


def vectors(dim=6):
    torch.manual_seed(1)
    return torch.randn(len(IDS), 3, dim, dtype=torch.float64)


@pytest.mark.parametrize("dim", [1, 2, 6])
@pytest.mark.parametrize("name", BACKBONES)
def test_gives_one_logit_a_row_at_any_width(name, dim):
    assert build(name, dim)(vectors(dim), IDS).shape == (len(IDS),)


@pytest.mark.parametrize("dim", [1, 2, 6])
@pytest.mark.parametrize("n_fields", [1, 2])
@pytest.mark.parametrize("name", BACKBONES)
def test_one_or_two_fields_will_do(name, n_fields, dim):
    cardinalities = FIELDS.cardinalities[:n_fields]
    fields = Fields(FIELDS.names[:n_fields], cardinalities, np.zeros(sum(cardinalities), np.int64))
    module = Catalog().load("backbone", name)().build(fields, dim)
    logits = module(torch.randn(len(IDS), n_fields, dim), IDS[:, :n_fields])
    assert logits.shape == (len(IDS),)
    logits.sum().backward()


@pytest.mark.parametrize("name", BACKBONES)
def test_rows_do_not_see_each_other(name):
    module, rows = build(name), vectors()
    order = torch.tensor([2, 0, 3, 1])
    together = module(rows, IDS)
    alone = [module(row[None], ids[None]) for row, ids in zip(rows, IDS, strict=True)]
    torch.testing.assert_close(together, torch.cat(alone))
    torch.testing.assert_close(together[order], module(rows[order], IDS[order]))


@pytest.mark.parametrize("name", BACKBONES)
def test_options_have_a_range_and_a_word(name):
    for option in Catalog().load("backbone", name).described_options():
        assert option.range is not None
        assert option.help


@pytest.mark.parametrize("name", BACKBONES)
def test_gradients_are_exact(name):
    module, rows = build(name), vectors().requires_grad_()
    assert torch.autograd.gradcheck(lambda v: module(v, IDS), rows)
    inputs = [rows, *module.parameters()]
    # Along random directions if there are too many for one at a time.
    fast = sum(tensor.numel() for tensor in inputs) > 1000
    assert torch.autograd.gradcheck(lambda v, *_: module(v, IDS), inputs, fast_mode=fast)


def test_fm_equals_the_sum_over_pairs():
    module, rows = build("fm"), vectors()
    weights, bias = module.first_order.weights, module.first_order.bias
    for row, ids, logit in zip(rows, IDS, module(rows, IDS), strict=True):
        pairs = sum(row[i] @ row[j] for i, j in combinations(range(3), 2))
        torch.testing.assert_close(logit[None], bias + weights[ids].sum() + pairs)


def test_pairwise_products_pass_gradcheck():
    assert torch.autograd.gradcheck(pairwise_products, vectors().requires_grad_())


def test_fm_has_one_weight_a_feature_and_a_bias():
    count = sum(p.numel() for p in FM().build(FIELDS, 6).parameters())
    assert count == FIELDS.n_features + 1
