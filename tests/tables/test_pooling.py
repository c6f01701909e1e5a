"""Pooling against torch's EmbeddingBag and plain numpy."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from bag_helpers import random_bags
from torch.nn import functional

from pepbench.backbones.backbone import FirstOrder
from pepbench.errors import PepbenchError
from pepbench.method import Model, PlainTable
from pepbench.serve.pooling import EXPONENTS, pooled
from pepbench.tables.bags import bags_of
from pepbench.tables.embedding import lookup
from pepbench.tables.fields import BagField

POOLS = list(EXPONENTS)


def lists_of_field(ids, columns):
    return [[i for i in row if i >= 0] for row in ids[:, columns].tolist()]


@pytest.mark.parametrize("pool", POOLS)
def test_pooling_is_that_of_embedding_bag(pool):
    fields, ids = random_bags(pool=pool)
    table = torch.randn(13, 5, dtype=torch.float64)
    bags = bags_of(ids, fields)
    vectors = bags.pooled(lookup(table, bags.ids))
    lists = lists_of_field(ids, slice(1, 5))
    flat = torch.tensor([i for row in lists for i in row])
    lengths = torch.tensor([len(row) for row in lists])
    offsets = lengths.cumsum(0) - lengths
    mode = "mean" if pool == "mean" else "sum"
    expected = functional.embedding_bag(flat, table, offsets, mode=mode)
    if pool == "sqrtn":
        expected = expected / lengths.clamp(min=1).sqrt()[:, None]
    torch.testing.assert_close(vectors[:, 1], expected)
    torch.testing.assert_close(vectors[:, 0], table[ids[:, 0]], rtol=0, atol=0)
    torch.testing.assert_close(vectors[:, 2], table[ids[:, 5]], rtol=0, atol=0)
    served = pooled(
        lookup(table, bags.ids).squeeze(1).numpy(),
        np.stack([np.ones(50), lengths.numpy(), np.ones(50)], axis=1).astype(np.int64),
        fields.pool_exponents,
    )
    np.testing.assert_allclose(served, vectors.numpy(), rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize("pool", POOLS)
def test_first_order_weights_are_pooled_alike(pool):
    fields, ids = random_bags(pool=pool)
    module = FirstOrder(13).double()
    with torch.no_grad():
        module.weights.copy_(torch.randn(13))
    bags = bags_of(ids, fields)
    expected = bags.pooled(module.weights[bags.ids][..., None]).sum((1, 2)) + module.bias
    torch.testing.assert_close(module(bags), expected)


@pytest.mark.parametrize("pool", POOLS)
def test_pooling_passes_gradcheck(pool):
    fields, ids = random_bags(n_rows=6, pool=pool)
    bags = bags_of(ids, fields)
    vectors = torch.randn(len(bags.ids), 1, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(bags.pooled, vectors)
    weights = torch.randn(len(bags.ids), dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(bags.summed, weights)


def test_padding_is_not_looked_up_and_more_of_it_changes_nothing():
    fields, ids = random_bags()
    bags = bags_of(ids, fields)
    assert len(bags.ids) == (ids >= 0).sum()
    wide = np.insert(ids, [5] * 7, -1, axis=1)
    again = bags_of(wide, replace(fields, bags={"b": BagField(11)}))
    for name in ("ids", "places", "factors"):
        assert torch.equal(getattr(bags, name), getattr(again, name))


def test_a_bag_without_values_is_zero_and_gives_no_gradient():
    fields, _ = random_bags()
    ids = np.array([[0, -1, -1, -1, -1, 10]], dtype=np.int32)
    embedding = PlainTable(13, 4)
    bags = bags_of(ids, fields)
    vectors = bags.pooled(embedding(bags.ids))
    assert not vectors[0, 1].any()
    vectors.square().sum().backward()
    touched = embedding.table.grad.abs().sum(1).nonzero().ravel().tolist()
    assert touched == [0, 10]


def test_an_embedding_that_needs_its_columns_is_refused():
    class ByColumn(PlainTable):
        def forward(self, ids):
            return super().forward(ids) * torch.ones(3, 1)

    fields, ids = random_bags()
    with pytest.raises(PepbenchError, match="map each id by itself"):
        Model(ByColumn(13, 4), FirstOrder(13))(bags_of(ids, fields))
