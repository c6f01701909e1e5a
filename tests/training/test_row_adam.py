"""Row-wise Adam against dense Adam, which it stands in for on large tables."""

import copy

import numpy as np
import pytest
import torch

from pepbench.backbones.fm import FMModule
from pepbench.method import Batch, MaskedTable, Model, PlainTable
from pepbench.tables.rows import RowTable, distinct, view_of
from pepbench.training.optimizer_kernels import EXACT_STEPS
from pepbench.training.optimizers import make_optimizer, resolve_optimizer
from pepbench.training.row_optimizers import GRID, RowAdam, RowWise
from pepbench.training.step import torch_step, train_step

N, DIM, FIELDS = 400, 4, 3


def batches(count, rows=32, seed=0):
    rng = np.random.default_rng(seed)
    for _ in range(count):
        ids = np.minimum(rng.zipf(1.3, (rows, FIELDS)), N) - 1
        labels = (rng.random(rows) < 0.4).astype(np.float32)
        yield Batch(torch.from_numpy(ids), torch.from_numpy(labels))


def trained(kind, steps, masked=False, clip=100.0, l2=1e-4):
    torch.manual_seed(0)
    values = torch.randn(N, DIM) * 0.1
    table = MaskedTable(values, torch.rand(N, DIM) < 0.5) if masked else PlainTable(N, DIM)
    with torch.no_grad():
        table.table.copy_(table.table * 0 + values * getattr(table, "mask", 1))
    model = Model(table, FMModule(N))
    optimizer = make_optimizer(kind, model, 1e-3, l2)
    losses = [float(train_step(model, batch, optimizer, clip)) for batch in batches(steps)]
    if isinstance(optimizer, RowWise):
        optimizer.flush()
    return model, np.array(losses)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("clip", [100.0, 0.02])
def test_first_steps_equal_dense_adam(masked, clip):
    # At first a catch-up replays step by step.
    dense, dense_losses = trained("adam", 30, masked, clip)
    lazy, lazy_losses = trained("lazy-adam", 30, masked, clip)
    np.testing.assert_allclose(lazy_losses, dense_losses, rtol=1e-4)
    torch.testing.assert_close(lazy.embedding.table, dense.embedding.table, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.slow
def test_later_steps_stay_close_to_dense_adam(masked):
    dense, dense_losses = trained("adam", 1500, masked)
    lazy, lazy_losses = trained("lazy-adam", 1500, masked)
    moved = (dense.embedding.table - trained("adam", 0, masked)[0].embedding.table).abs().mean()
    apart = (lazy.embedding.table - dense.embedding.table).abs().mean()
    assert float(apart.detach()) < 0.03 * float(moved.detach())
    np.testing.assert_allclose(lazy_losses[-300:].mean(), dense_losses[-300:].mean(), rtol=2e-3)


def exact_decay(value, first, second, done, steps, rate, l2):
    for step in range(done + 1, done + steps + 1):
        gradient = l2 * value
        first = 0.9 * first + 0.1 * gradient
        second = 0.999 * second + 0.001 * gradient**2
        root = np.sqrt(second / (1 - 0.999**step)) + 1e-8
        value -= rate * first / (1 - 0.9**step) / root
    return value


@pytest.mark.parametrize("value", [-8.0, 0.7, 0.05])
@pytest.mark.parametrize("gradient", [1e-2, 1e-4, 0.0])
@pytest.mark.parametrize("gap", [3, 64, 200, 1000])
def test_untouched_decay_follows_dense_adam(value, gradient, gap):
    rate, l2, before = 1e-3, 1e-5, 500
    rng = np.random.default_rng(1)
    table = RowTable(torch.tensor([[value]], dtype=torch.float64))
    state = RowAdam(table, rate, l2)
    reference = torch.nn.Parameter(table.detach().clone())
    dense = torch.optim.Adam([reference], lr=rate, weight_decay=l2, fused=False)
    for _ in range(before):
        noise = torch.tensor([[gradient * rng.normal()]], dtype=torch.float64)
        state.gradients = [(torch.tensor([0]), noise)]
        state.step()
        reference.grad = noise.clone()
        dense.step()
    torch.testing.assert_close(table, reference, rtol=1e-9, atol=1e-12)
    start = float(table)
    state.step_number += gap
    state.flush()
    moments = dense.state[reference]
    expected = exact_decay(
        start, float(moments["exp_avg"]), float(moments["exp_avg_sq"]), before, gap, rate, l2
    )
    moved = abs(expected - start)
    # A value that dies out may stop at zero where dense Adam swings around it.
    near_zero = abs(expected) < 0.02 and abs(float(table)) < 0.02
    assert abs(float(table) - expected) <= 0.03 * moved + 1e-6 or near_zero


@pytest.mark.parametrize("l2", [1e-5, 1e-3])
@pytest.mark.parametrize("steps", [1, 7, 127, 128, 129])
def test_rows_that_no_batch_needs_pass_the_first_steps_as_in_dense_adam(steps, l2):
    # More entries than the grid has, so that they are interpolated.
    initial = torch.empty(GRID // 4 + 10, 4).uniform_(-0.05, 0.05)
    initial[0] = 0
    table, dense = RowTable(initial.clone()), torch.nn.Parameter(initial.clone())
    state = RowAdam(table, 1e-3, l2)
    reference = torch.optim.Adam([dense], lr=1e-3, weight_decay=l2)
    dense.grad = torch.zeros_like(dense)
    for _ in range(steps):
        state.step()
        reference.step()
    state.flush()
    apart = (table - dense).abs().detach()
    assert float(apart.mean()) < 2e-7
    assert float(apart.max()) < 2e-4  # within the optimizer's epsilon of zero


def test_every_row_is_brought_up_to_date_within_a_sweep():
    table = RowTable(torch.ones(1000, 2))
    state = RowAdam(table, 1e-3, 1e-2)
    seen = np.zeros(1000, dtype=int)
    for _ in range(EXACT_STEPS - 1):
        state.step()
        state.sweep()
        assert state.swept == slice(0, 0)
    for _ in range(200):
        state.step()
        state.sweep()
        seen[state.swept] += 1
    assert (seen == 1).all()


def test_rows_of_a_batch_are_numbered_once():
    ids = torch.tensor([[7, 2], [2, 9], [7, 7]])
    rows, local = distinct(ids, 10)
    assert rows.tolist() == [7, 2, 9]
    assert torch.equal(rows[local], ids)
    assert distinct(ids, 10)[1] is local


def test_tables_looked_up_twice_in_a_step_gather_both_gradients():
    results = []
    for lazy in (False, True):
        torch.manual_seed(0)
        table = RowTable(torch.randn(10, 3))
        holder = torch.nn.ParameterList([table])
        optimizer = make_optimizer("lazy-adam" if lazy else "adam", holder, 0.1, 0.0)
        for _ in range(3):
            optimizer.zero_grad()
            first, second = torch.tensor([[1, 2]]), torch.tensor([[2, 5]])
            views = [view_of(table, ids) for ids in (first, second)]
            sum((view.table[view.ids] ** 2).sum() for view in views).backward()
            optimizer.step()
        if lazy:
            optimizer.flush()
        results.append(table.detach())
    torch.testing.assert_close(*results, rtol=1e-5, atol=1e-6)


def test_auto_takes_the_lazy_one_for_tables_that_are_large_beside_a_batch():
    table = PlainTable(2000, 8)
    assert resolve_optimizer("auto", table, lookups=1001) == "adam"
    assert resolve_optimizer("auto", table, lookups=1000) == "lazy-adam"
    assert resolve_optimizer("adam", table, lookups=1) == "adam"
    assert resolve_optimizer("auto", torch.nn.Linear(3, 3), lookups=1) == "adam"


@pytest.mark.parametrize("kind", ["adam", "adagrad"])
@pytest.mark.parametrize("step", [train_step, torch_step])
def test_a_dense_optimizer_takes_over_from_one_by_rows(step, kind):
    results = []
    for first in ("adam", "lazy-adam"):
        torch.manual_seed(0)
        model = Model(PlainTable(N, DIM), FMModule(N))
        for name, seed in ((first, 0), (kind, 1)):
            optimizer = make_optimizer(name, model, 1e-3, 1e-4)
            for batch in batches(10, seed=seed):
                step(model, batch, optimizer, 100.0)
        results.append(model)
    for ours, expected in zip(results[1].parameters(), results[0].parameters(), strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-3, atol=2e-5)


@pytest.mark.parametrize("kind", ["adam", "adagrad", "lazy-adam"])
@pytest.mark.parametrize("step", [train_step, torch_step])
def test_a_copied_masked_table_keeps_its_zeros(step, kind):
    torch.manual_seed(0)
    mask = torch.rand(N, DIM) < 0.5
    model = copy.deepcopy(Model(MaskedTable(torch.randn(N, DIM), mask), FMModule(N)))
    optimizer = make_optimizer(kind, model, 1e-3, 1e-4)
    for batch in batches(3):
        step(model, batch, optimizer, 100.0)
    assert torch.equal(model.embedding.table != 0, mask)


def test_the_kind_decides_the_class():
    assert isinstance(make_optimizer("lazy-adam", PlainTable(100, 8), 1e-3, 0.0), RowWise)
    assert isinstance(make_optimizer("adam", PlainTable(100, 8), 1e-3, 0.0), torch.optim.Adam)
