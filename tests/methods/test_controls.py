"""full, uniform and random-mask against what they are by definition."""

import pytest
import torch

from pepbench.catalog import Catalog
from pepbench.errors import Infeasible


def make(name, **options):
    return Catalog().load("method", name).from_options(options)


def test_uniform_is_as_wide_as_the_budget_allows(toy):
    n = toy.fields.n_features
    for budget, width in [(n, 1), (2 * n - 1, 1), (2 * n, 2), (7 * n + 3, 7), (100 * n, 8)]:
        embedding = make("uniform").embedding(toy.fields, 8, budget)
        assert (embedding.dim, embedding.n_parameters()) == (width, width * n)


def test_uniform_below_one_column_per_feature_is_infeasible(toy):
    n = toy.fields.n_features
    with pytest.raises(Infeasible, match=f"smallest possible is {n} parameters"):
        make("uniform").embedding(toy.fields, 8, n - 1)


def test_full_below_its_size_is_infeasible(toy):
    with pytest.raises(Infeasible):
        make("full").embedding(toy.fields, 8, toy.fields.n_features * 8 - 1)


@pytest.mark.parametrize("budget", [1, 100, 511])
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
