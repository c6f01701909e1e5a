"""full, no-embedding, uniform and random-mask against what they are by definition."""

import numpy as np
import pytest
import torch

from pepbench.backbones.lr import LR
from pepbench.catalog import Catalog
from pepbench.errors import Infeasible


def make(name, **options):
    return Catalog().load("method", name).from_options(options)


def test_uniform_is_as_wide_as_the_budget_allows(toy):
    n = toy.fields.n_features
    for budget, width in [(n, 1), (2 * n - 1, 1), (2 * n, 2), (7 * n + 3, 7), (100 * n, 8)]:
        embedding = make("uniform").embedding(toy.fields, 8, budget)
        assert (embedding.dim, embedding.n_parameters()) == (width, width * n)


@pytest.mark.parametrize(("width", "rest"), [(1, 1), (2, 50), (7, 86)])
def test_uniform_gives_its_remainder_to_the_most_frequent_features(toy, width, rest):
    n = toy.fields.n_features
    embedding = make("uniform", remainder="frequent").embedding(toy.fields, 8, width * n + rest)
    layout = embedding.export()
    assert embedding.dim == width + 1
    assert embedding.n_parameters() == layout.n_parameters == width * n + rest
    wide = layout.widths() == width + 1
    assert wide.sum() == rest
    assert toy.fields.frequencies[wide].min() >= toy.fields.frequencies[~wide].max()
    assert (layout.widths()[~wide] == width).all()
    vectors = embedding(torch.arange(n)[:, None])[:, 0]
    assert (vectors[torch.from_numpy(~wide), width] == 0).all()
    np.testing.assert_array_equal(layout.lookup(np.arange(n)), vectors.detach().numpy())


@pytest.mark.parametrize("budget_of", [lambda n: 3 * n, lambda n: 8 * n, lambda n: 8 * n + 5])
def test_uniform_without_a_remainder_is_a_plain_table(toy, budget_of):
    budget = budget_of(toy.fields.n_features)
    tables = [
        make("uniform", remainder=choice).embedding(toy.fields, 8, budget)
        for choice in ("unused", "frequent")
    ]
    assert tables[0].dim == tables[1].dim
    assert tables[1].export().form == "dense"


def test_uniform_below_one_column_per_feature_is_infeasible(toy):
    n = toy.fields.n_features
    with pytest.raises(Infeasible, match=f"smallest possible is {n} parameters"):
        make("uniform").embedding(toy.fields, 8, n - 1)


def test_full_below_its_size_is_infeasible(toy):
    with pytest.raises(Infeasible):
        make("full").embedding(toy.fields, 8, toy.fields.n_features * 8 - 1)


def test_fm_without_embedding_learns_what_logistic_regression_does(toy):
    ids = torch.from_numpy(toy.train.ids.astype(np.int64))
    method, plain = make("no-embedding"), make("full")
    without = method.fit(toy.task(epochs=2), 1).model
    regression = plain.fit(toy.task(epochs=2, backbone=LR()), toy.full_parameters).model
    logits = without(ids)
    assert logits.std() > 0.1
    torch.testing.assert_close(logits, regression(ids), rtol=0, atol=1e-5)


def test_no_embedding_stores_nothing_but_its_form(toy):
    embedding = make("no-embedding").embedding(toy.fields, 8, toy.full_parameters)
    stored = embedding.export()
    assert embedding.n_parameters() == stored.n_parameters == 0
    assert stored.n_bytes < 100
    assert not stored.lookup(np.arange(toy.fields.n_features)).any()


@pytest.mark.parametrize("budget", [1, 100, 511])
@pytest.mark.slow
def test_random_mask_keeps_exactly_the_budget_through_training(toy, budget):
    task = toy.task(epochs=1, l2=1e-2)
    fitted = make("random-mask").fit(task, budget)
    table = fitted.model.embedding
    assert table.n_parameters() == budget == int(table.mask.sum())
    assert torch.count_nonzero(table.table[~table.mask]) == 0
    assert len(table.export().kept) == budget


def test_random_mask_depends_on_the_seed_only(toy):
    masks = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        masks.append(make("random-mask").embedding(toy.fields, 8, 200).mask)
    assert torch.equal(masks[0], masks[1])
    assert not torch.equal(masks[0], masks[2])
