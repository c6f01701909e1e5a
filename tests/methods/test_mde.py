"""Mixed dimensions against brute force and against uniform."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pepbench.catalog import Catalog
from pepbench.errors import Infeasible
from pepbench.tables.fields import Fields

MDE = Catalog().load("method", "mde")


def fields_of(cardinalities):
    rng = np.random.default_rng(0)
    frequencies = rng.integers(0, 100, sum(cardinalities))
    return Fields(
        tuple(f"f{i}" for i in range(len(cardinalities))), tuple(cardinalities), frequencies
    )


def test_alpha_zero_without_projections_is_uniform(toy):
    dim, width = 8, 3
    budget = toy.fields.n_features * width
    mixed = MDE(alpha=0.0, project=False).embedding(toy.fields, dim, budget)
    uniform = Catalog().load("method", "uniform")().embedding(toy.fields, dim, budget)
    assert set(mixed.widths) == {width}
    assert mixed.n_parameters() == uniform.n_parameters()
    with torch.no_grad():
        for table, rows in zip(
            mixed.tables, uniform.table.split(list(toy.fields.cardinalities)), strict=True
        ):
            table.copy_(rows)
    ids = torch.from_numpy(toy.train.ids[:50].astype(np.int64))
    padded = torch.nn.functional.pad(uniform(ids), (0, dim - width))
    torch.testing.assert_close(mixed(ids), padded, rtol=0, atol=0)
    # The same predictions: zeros add nothing to inner products.
    logits = [toy.task().model(table)(ids) for table in (mixed, uniform)]
    torch.testing.assert_close(*logits)


@settings(max_examples=40, deadline=None)
@given(
    cardinalities=st.lists(st.integers(2, 60), min_size=1, max_size=5),
    alpha=st.floats(0.0, 0.6),
    share=st.floats(0.02, 1.0),
    rounding=st.sampled_from(["nearest", "power2"]),
)
def test_widths_use_the_budget_as_well_as_any_scale_can(cardinalities, alpha, share, rounding):
    dim = 8
    fields = fields_of(cardinalities)
    budget = int(fields.n_features * dim * share)
    method = MDE(alpha=alpha, rounding=rounding)

    def size(widths):
        return sum(
            n * d + (d * dim if d < dim else 0) for n, d in zip(cardinalities, widths, strict=True)
        )

    def rounded(ideal):
        if rounding == "power2":
            ideal = 2 ** round(np.log2(max(ideal, 1)))
        return int(min(max(np.floor(ideal + 0.5), 1), dim))

    # Brute force: a fine grid of scales instead of the breakpoints.
    sizes = [
        size([rounded(scale * n**-alpha) for n in cardinalities])
        for scale in np.geomspace(0.1, 20 * 60**0.6, 3000)
    ]
    feasible = [s for s in sizes if s <= budget]
    if not feasible:
        with pytest.raises(Infeasible, match=f"smallest possible is {min(sizes)} "):
            method.embedding(fields, dim, budget)
        return
    embedding = method.embedding(fields, dim, budget)
    assert size(embedding.widths) == embedding.n_parameters() <= budget
    assert embedding.n_parameters() >= max(feasible)


def test_rarer_fields_get_wider_rows():
    # A field of few features is popular by the row: its rows are wide.
    embedding = MDE(alpha=0.5).embedding(fields_of([1000, 100, 10]), 32, 8000)
    assert embedding.widths[0] < embedding.widths[1] < embedding.widths[2]


@pytest.mark.parametrize("blocks", ["fields", "popularity"])
def test_both_lookups_give_the_same_vectors(blocks):
    fields = fields_of([50, 300, 7])
    embedding = MDE(blocks=blocks).embedding(fields, 8, 1500)
    few = torch.tensor([[3, 60, 352], [49, 349, 356]])
    many = few.repeat(400, 1)
    assert few.numel() < fields.n_features <= many.numel()
    torch.testing.assert_close(embedding(many)[:2], embedding(few))
    gradients = []
    for ids in (many, few):
        embedding.zero_grad()
        embedding(ids).square().sum().backward()
        gradients.append([p.grad * few.numel() / ids.numel() for p in embedding.parameters()])
    torch.testing.assert_close(*gradients)


def test_popularity_blocks_hold_equal_shares_of_the_rows():
    fields = fields_of([400])
    embedding = MDE(blocks="popularity", n_blocks=4).embedding(fields, 8, 3200)
    shares = np.bincount(embedding.block_of_feature, weights=fields.frequencies)
    np.testing.assert_allclose(shares / shares.sum(), 0.25, atol=0.01)
    means = shares / np.bincount(embedding.block_of_feature)
    assert (np.diff(means) < 0).all()
