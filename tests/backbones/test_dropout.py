"""ReLU with dropout: its distribution, its gradient, and what its draws depend on."""

import numpy as np
import pytest
import torch
from scipy import stats

from pepbench.backbones.dropout import BLOCK, ReLUDropout

SHAPE = (1000, 101)


def masks(probability, n=1, seed=0):
    """Which units of ``n`` calls in a row are kept."""
    torch.manual_seed(seed)
    layer = ReLUDropout(probability)
    return np.stack([layer(torch.ones(SHAPE)).numpy() != 0 for _ in range(n)])


@pytest.mark.parametrize("probability", [0.05, 0.2, 0.5, 0.95])
def test_share_of_kept_units_is_binomial(probability):
    kept = masks(probability, n=10)
    low, high = stats.binom.interval(1 - 1e-4, kept.size, 1 - probability)
    assert low <= kept.sum() <= high
    per_unit = kept.mean(axis=(0, 1))
    assert stats.kstest(
        (per_unit - per_unit.mean()) / np.sqrt(probability * (1 - probability) / 1e4), "norm"
    ).pvalue > 1e-3  # fmt: skip


@pytest.mark.parametrize("lag", [1, 2, SHAPE[1], 2 * BLOCK])
def test_neighbouring_units_are_independent(lag):
    kept = masks(0.2, n=10).reshape(10, -1)
    centred = kept - 0.8
    products = centred[:, lag:] * centred[:, :-lag]
    assert abs(products.mean()) < 4 * 0.16 / np.sqrt(products.size)


def test_steps_are_independent():
    kept = masks(0.2, n=10).reshape(10, -1) - 0.8
    products = kept[1:] * kept[:-1]
    assert abs(products.mean()) < 4 * 0.16 / np.sqrt(products.size)


def test_kept_units_are_scaled_so_that_the_mean_is_that_of_relu():
    torch.manual_seed(0)
    inputs = torch.randn(SHAPE, dtype=torch.float64)
    outputs = ReLUDropout(0.2)(inputs)
    kept = outputs != 0
    torch.testing.assert_close(outputs[kept], inputs[kept] / 0.8)
    assert not (kept & (inputs <= 0)).any()
    spread = (outputs - inputs.relu()).std() / np.sqrt(inputs.numel())
    assert abs((outputs - inputs.relu()).mean()) < 4 * spread


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [(0, 3), (1, 1), (7, 3), (5, 2 * BLOCK + 1)])
def test_gradient_passes_kept_units_only(shape, dtype):
    torch.manual_seed(0)
    inputs = torch.randn(shape, dtype=dtype, requires_grad=True)
    outputs = ReLUDropout(0.3)(inputs)
    weights = torch.randn(shape, dtype=dtype)
    (outputs * weights).sum().backward()
    torch.testing.assert_close(inputs.grad, torch.where(outputs != 0, weights / 0.7, 0.0))


def test_seed_decides_whatever_the_threads():
    threads = torch.get_num_threads()
    first = masks(0.2, n=2)
    try:
        torch.set_num_threads(2)
        assert np.array_equal(masks(0.2, n=2), first)
    finally:
        torch.set_num_threads(threads)
    assert not np.array_equal(first[0], first[1])
    assert not np.array_equal(masks(0.2, n=2, seed=1), first)


def test_a_forked_generator_leaves_later_masks_as_they_were():
    torch.manual_seed(0)
    layer = ReLUDropout(0.2)
    with torch.random.fork_rng([]):
        layer(torch.ones(SHAPE))
    assert np.array_equal(layer(torch.ones(SHAPE)).numpy() != 0, masks(0.2)[0])


def test_evaluation_is_relu():
    inputs = torch.randn(SHAPE)
    assert torch.equal(ReLUDropout(0.5).eval()(inputs), inputs.relu())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_passes(value):
    inputs = torch.full((2000,), value, requires_grad=True)
    outputs = ReLUDropout(0.5)(inputs)
    kept = outputs != 0
    assert kept.any()
    assert not torch.isfinite(outputs[kept]).any()
    outputs.backward(torch.full((2000,), value))
    assert not torch.isfinite(inputs.grad[kept]).any()


def test_half_precision_goes_through_torch():
    torch.manual_seed(0)
    outputs = ReLUDropout(0.5)(torch.ones(SHAPE, dtype=torch.bfloat16))
    assert outputs.dtype == torch.bfloat16
    assert sorted(outputs.unique().tolist()) == [0.0, 2.0]
    assert abs((outputs != 0).double().mean() - 0.5) < 0.01
