"""Product quantisation through a softmax, against plain torch."""

import numpy as np
import pytest
import torch
from pepbench.baselines.dpq import DPQ
from pepbench.baselines.mgqe import MultiGranularQuantised

from pepbench.export.folder import write_export
from pepbench.serve import load
from pepbench.tables.fields import Fields

DIM, GROUPS, TAU = 8, 4, 0.7


@pytest.fixture
def table():
    """Fields of 30, 3 and 20 features; 13 values, the same number for the first and the last."""
    torch.manual_seed(0)
    fields = Fields(("a", "b", "c"), (30, 3, 20), np.arange(53))
    made = DPQ(n_groups=GROUPS, temperature=TAU).training_table(fields, DIM, 13 * DIM)
    return made.double()


def by_hand(table, ids):
    """Vectors (M, D) by the paper's equations, differentiable; each key normalised by itself."""
    books, pieces = table.books, {}
    for field, start in enumerate(books.starts):
        count = int(books.counts[field])
        here = [
            x for x in dict.fromkeys(ids.flatten().tolist()) if books.field_of_feature[x] == field
        ]
        values = table.centroids[start : start + count]
        if count == books.cardinalities[field]:
            offset = int(books.cardinalities[:field].sum())
            pieces |= {x: values[x - offset].flatten() for x in here}
            continue
        queries = torch.stack([table.table[x].view(GROUPS, -1) for x in here])
        products = torch.einsum("msw,ksw->msk", queries, table.keys[start : start + count])
        mean, variance = products.mean(dim=0), products.var(dim=0, correction=0)
        scores = (products - mean) / variance.sqrt()
        soft = torch.softmax(scores / TAU, dim=-1)
        hard = torch.zeros_like(soft).scatter_(-1, scores.argmax(-1, keepdim=True), 1.0)
        chosen = torch.einsum("msk,ksw->msw", soft - soft.detach() + hard, values)
        pieces |= {x: row.flatten() for x, row in zip(here, chosen, strict=True)}
    return torch.stack([pieces[x] for x in ids.flatten().tolist()])


def test_vectors_and_gradients_are_those_of_the_equations(table):
    ids = torch.tensor([[2, 31, 40], [3, 30, 41], [2, 32, 52], [29, 31, 33]])
    weight = torch.randn(12, DIM, dtype=torch.float64)
    parameters = [table.table, table.keys, table.centroids]
    vectors = table(ids).view(-1, DIM)
    expected = by_hand(table, ids)
    torch.testing.assert_close(vectors, expected)
    found = torch.autograd.grad((vectors * weight).sum(), parameters)
    wanted = torch.autograd.grad((expected * weight).sum(), parameters)
    for gradient, reference in zip(found, wanted, strict=True):
        assert reference.abs().max() > 0
        torch.testing.assert_close(gradient, reference)


def test_a_field_of_few_features_has_a_value_for_each(table):
    assert table.books.counts.tolist() == [5, 3, 5]
    codes = table.all_codes()
    assert codes[30:33].tolist() == [[k] * GROUPS for k in (5, 6, 7)]
    assert table.n_parameters() == 13 * DIM


def test_fields_with_a_value_for_each_feature_cost_no_codes(table, tmp_path):
    """Nor does dpq have flags of frequent features, since all have the same choices."""
    stored = table.export().structure()
    assert len(stored["codes"]) == -(-(30 + 20) * GROUPS * 3 // 8)
    assert len(stored["heads"]) == 0
    fields = Fields(("a", "b"), (4, 3), np.ones(7, np.int64))
    for method in (DPQ(n_groups=2), MultiGranularQuantised(n_groups=2)):
        whole = method.training_table(fields, DIM, 7 * DIM).eval()
        assert len(whole.export().structure()["codes"]) == 0
        entries = [
            {"name": n, "cardinality": c, "values": [f"{k}" for k in range(1, c)]}
            for n, c in zip(fields.names, fields.cardinalities, strict=True)
        ]
        folder = tmp_path / method.name
        write_export(folder, whole.export(), entries, DIM, {})
        with torch.no_grad():
            expected = whole(torch.arange(7)[:, None])[:, 0].numpy()
        np.testing.assert_array_equal(load(folder).lookup_ids(np.arange(7)), expected)


def test_evaluation_serves_the_codes(table):
    ids = torch.arange(53)[:, None]
    table(ids)
    table.eval()
    values, codes = table.centroids.detach(), table.all_codes()
    expected = values[codes, torch.arange(GROUPS)].flatten(1)
    torch.testing.assert_close(table(ids).squeeze(1), expected)
    # Evaluation leaves the statistics alone.
    torch.testing.assert_close(table.all_codes(), codes)


def test_vectors_start_with_the_variance_of_the_full_table():
    torch.manual_seed(0)
    fields = Fields(("a", "b"), (1500, 20), np.arange(1520))
    table = DPQ().training_table(fields, 16, 200 * 16).eval()
    with torch.no_grad():
        vectors = table(torch.arange(1520)[:, None])
    assert vectors.var().item() == pytest.approx(2 / (1520 + 16), rel=0.1)


def test_normalised_products_use_most_centroids_of_a_single_group(toy):
    # Of pieces of one column, only the largest and the smallest key would have the largest product.
    torch.manual_seed(0)
    fitted = DPQ(n_groups=1).fit(toy.task(epochs=2), 348)
    assert fitted.notes["centroids_used"] > 0.8
    assert [name for name, _ in fitted.model.embedding.named_parameters()] == ["centroids"]


def test_most_keys_serve_in_groups_of_two_columns():
    # Without the normalisation, or with one variance for all groups, less than a tenth would.
    torch.manual_seed(0)
    table = DPQ(n_groups=16).training_table(Fields(("a",), (1000,), np.arange(1000)), 16, 200 * 16)
    assert table.books.groups == 8
    assert table.books.use_of(table.all_codes().numpy()) > 0.85


def test_two_features_of_a_field_in_a_batch_keep_their_codes():
    # Normalised by themselves, both would have products of 1 or -1 with every key.
    torch.manual_seed(0)
    table = DPQ(n_groups=4).training_table(Fields(("a",), (40,), np.arange(40)), DIM, 10 * DIM)
    ids, codes = torch.tensor([[7], [9]]), table.all_codes()
    expected = table.centroids[codes[[7, 9]], torch.arange(4)].flatten(1)
    torch.testing.assert_close(table(ids).squeeze(1), expected)


def test_one_feature_of_a_field_in_a_batch_keeps_its_code_with_a_single_group():
    torch.manual_seed(0)
    fields = Fields(("a", "b"), (30, 20), np.arange(50))
    table = DPQ(n_groups=1).training_table(fields, DIM, 20 * DIM)
    variance = table.variance.clone()
    codes = table.all_codes().squeeze(1)
    ids = torch.tensor([[7, 41]])
    table(ids).sum().backward()
    torch.testing.assert_close(table(ids)[0], table.centroids[codes[ids[0]], 0])
    torch.testing.assert_close(table.variance, variance)
    assert len(codes.unique()) > 10


def test_centroids_used_leave_out_fields_with_a_value_for_each_feature(toy):
    fitted = DPQ().fit(toy.task(epochs=1), 348)
    codes, books = fitted.model.embedding.codes, fitted.model.embedding.books
    used = there = 0
    for field, count in enumerate(books.counts.tolist()):
        if count < toy.fields.cardinalities[field]:
            of_field = codes[toy.fields.field_of_feature == field]
            used += sum(len(column.unique()) for column in of_field.T)
            there += count * books.groups
    assert fitted.notes["centroids_used"] == pytest.approx(used / there)


def test_what_the_largest_codebooks_leave_is_noted(toy):
    fitted = DPQ(n_centroids=4).fit(toy.task(epochs=1), 348)
    assert fitted.model.embedding.n_parameters() == 16 * 8
    assert fitted.notes["unused_budget"] == "n_centroids is the most that a field may have"
