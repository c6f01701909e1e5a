"""Compiled loops against their torch formulations."""

import numpy as np
import pytest
import torch

from pepbench.backbones.fm import FMModule
from pepbench.method import MaskedTable, Model, PlainTable, View
from pepbench.tables import kernels, threshold_kernels


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize(
    ("n", "fields", "dim", "rows"), [(30, 4, 7, 50), (3, 1, 1, 9), (9, 3, 16, 1)]
)
def test_fm_straight_from_the_table_equals_fm_of_vectors(dtype, n, fields, dim, rows):
    rng = np.random.default_rng(n)
    ids = torch.from_numpy(rng.integers(0, n, (rows, fields)))
    module = FMModule(n).to(dtype)
    with torch.no_grad():
        module.first_order.weights.normal_()
        module.first_order.bias.normal_()
    table = torch.randn(n, dim, dtype=dtype, requires_grad=True)
    upstream = torch.randn(rows, dtype=dtype)
    results = []
    for logits in (module.from_table(View(table, ids, None), ids), module(table[ids], ids)):
        parameters = [table, *module.parameters()]
        results.append([logits, *torch.autograd.grad((logits * upstream).sum(), parameters)])
    tolerance = 2e-5 if dtype == torch.float32 else 1e-12
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)


def test_fm_from_rows_that_features_share_equals_fm_of_vectors():
    rng = np.random.default_rng(0)
    row = torch.from_numpy(rng.integers(0, 5, 30))
    ids = torch.from_numpy(rng.integers(0, 30, (50, 4)))
    module = FMModule(30).double()
    with torch.no_grad():
        module.first_order.weights.normal_()
    table = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    upstream = torch.randn(50, dtype=torch.float64)
    results = []
    for logits in (
        module.from_table(View(table, row[ids], None), ids),
        module(table[row[ids]], ids),
    ):
        gradients = torch.autograd.grad((logits * upstream).sum(), [table, *module.parameters()])
        results.append([logits, *gradients])
    for ours, theirs in zip(*results, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)


def test_fm_straight_from_the_table_passes_gradcheck():
    module = FMModule(6).double()
    table = torch.randn(6, 3, dtype=torch.float64, requires_grad=True)
    ids = torch.tensor([[0, 5], [5, 5], [2, 1]])
    assert torch.autograd.gradcheck(
        lambda t, *_: module.from_table(View(t, ids, None), ids), (table, *module.parameters())
    )


@pytest.mark.parametrize("masked", [False, True])
def test_a_model_gives_the_same_logits_with_and_without_the_compiled_path(masked):
    torch.manual_seed(0)
    values = torch.randn(6, 3)
    embedding = MaskedTable(values, values > 0) if masked else PlainTable(6, 3)
    model = Model(embedding, FMModule(6))
    ids = torch.tensor([[0, 5], [3, 3]])
    torch.testing.assert_close(model(ids), model.backbone(embedding(ids), ids))


@pytest.fixture
def scattered():
    rng = np.random.default_rng(3)
    return rng.normal(size=(500, 5)).astype(np.float32), rng.permutation(500)[:90]


def test_rows_are_gathered_as_numpy_does(scattered):
    values, rows = scattered
    gathered = np.empty((len(rows), 5), np.float32)
    kernels.gather_rows(values, rows, gathered)
    np.testing.assert_array_equal(gathered, values[rows])


def test_gradients_are_masked_as_numpy_does(scattered):
    values, rows = scattered
    mask = values > 0
    of_rows, of_all = values[rows].copy(), values.copy()
    kernels.mask_rows(of_rows, mask, rows)
    kernels.mask_all(of_all.reshape(-1), mask.reshape(-1))
    np.testing.assert_array_equal(of_rows, values[rows] * mask[rows])
    np.testing.assert_array_equal(of_all, values * mask)


def test_a_masked_gradient_is_zero_even_where_it_overflowed():
    gradient = np.array([[np.inf, 1.0], [np.nan, 2.0]], np.float32)
    kernels.mask_rows(gradient, np.array([[False, True], [False, False]]), np.array([0, 1]))
    assert gradient.tolist() == [[0.0, 1.0], [0.0, 0.0]]


def thresholded(values, raw, target=0.0):
    """σ(s), V̂ and its non-zeros by the compiled loop, for arrays (M, D)."""
    gate, pruned = np.empty_like(values), np.empty_like(values)
    count = threshold_kernels.threshold_entries(values, raw, target, gate, pruned)
    return gate, pruned, count


def test_compiled_sigmoid_is_as_exact_as_torchs_over_the_whole_range():
    x = np.linspace(-87, 110, 200_001, dtype=np.float32)[:, None]
    gate, _, _ = thresholded(np.zeros_like(x), x)
    exact = torch.sigmoid(torch.from_numpy(x).double()).numpy()
    error = np.abs(gate - exact) / np.spacing(exact.astype(np.float32))
    assert error.max() < 3


def test_compiled_sigmoid_in_double_precision_is_torchs():
    x = np.linspace(-800, 800, 20_001)[:, None]
    gate, _, _ = thresholded(np.zeros_like(x), x)
    torch.testing.assert_close(
        torch.from_numpy(gate), torch.sigmoid(torch.from_numpy(x)), rtol=1e-15, atol=0
    )


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_compiled_sigmoid_of_extreme_numbers_is_torchs(dtype):
    tiny = np.finfo(dtype).smallest_subnormal
    numbers = [np.inf, -np.inf, np.nan, 0.0, -0.0, tiny, -tiny, 1e3, -1e3, -88.5, -100, 88.5]
    x = np.array([numbers], dtype)
    gate, _, _ = thresholded(np.ones_like(x), x)
    expected = torch.sigmoid(torch.from_numpy(x)).numpy()
    # Denormal results may be zero.
    np.testing.assert_allclose(gate, expected, rtol=1e-6, atol=np.finfo(dtype).tiny)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(1, 1), (7, 5), (300, 16)])
def test_entries_with_their_own_thresholds_agree_with_the_equation(shape, dtype):
    torch.manual_seed(0)
    values, raw = torch.randn(shape, dtype=dtype), torch.randn(shape, dtype=dtype)
    _, pruned, count = thresholded(values.numpy(), raw.numpy(), target=-1.0)
    formula = torch.sign(values) * torch.relu(values.abs() - torch.sigmoid(raw - 1.0))
    torch.testing.assert_close(torch.from_numpy(pruned), formula)
    assert count == torch.count_nonzero(torch.from_numpy(pruned))
