"""Adagrad, dense and by the row, against its formula."""

import numpy as np
import pytest
import torch

from pepbench.backbones.fm import FMModule
from pepbench.method import Batch, MaskedTable, Model, PlainTable, RowTable, view_of
from pepbench.training.optimizers import make_optimizer
from pepbench.training.row_optimizers import ADAGRAD_EPSILON, RowWise
from pepbench.training.step import train_step

RATE, L2 = 0.1, 0.01


def test_row_wise_steps_follow_the_formula():
    rng = np.random.default_rng(0)
    expected = rng.normal(size=(6, 3))
    table = RowTable(torch.from_numpy(expected.copy()))
    optimizer = make_optimizer("row-adagrad", torch.nn.ParameterList([table]), RATE, L2)
    sums = np.zeros(6)
    for _ in range(20):
        ids = rng.integers(0, 6, (4, 2))
        target = rng.normal(size=(4, 2, 3))
        optimizer.zero_grad()
        view = view_of(table, torch.from_numpy(ids))
        (view.table[view.ids] * torch.from_numpy(target)).sum().backward()
        optimizer.step()
        gradient = np.zeros((6, 3))
        np.add.at(gradient, ids, target)
        for row in np.unique(ids):
            whole = gradient[row] + L2 * expected[row]
            sums[row] += (whole**2).mean()
            expected[row] -= RATE * whole / (np.sqrt(sums[row]) + ADAGRAD_EPSILON)
    np.testing.assert_allclose(table.detach().numpy(), expected, rtol=1e-6, atol=1e-9)


def test_rows_of_width_one_agree_with_torch_where_they_are_touched():
    ids = torch.tensor([[0, 1], [1, 2]])
    results = []
    for kind in ("adagrad", "row-adagrad"):
        table = RowTable(torch.tensor([[1.0], [-2.0], [0.5]]))
        optimizer = make_optimizer(kind, torch.nn.ParameterList([table]), RATE, L2)
        for _ in range(5):
            optimizer.zero_grad()
            view = view_of(table, ids)
            (view.table[view.ids] ** 2).sum().backward()
            optimizer.step()
        results.append(table.detach())
    torch.testing.assert_close(*results)


def test_rows_that_no_batch_needs_stay():
    table = RowTable(torch.ones(4, 2))
    optimizer = make_optimizer("row-adagrad", torch.nn.ParameterList([table]), RATE, L2)
    view = view_of(table, torch.tensor([[1, 2]]))
    view.table.sum().backward()
    optimizer.step()
    assert torch.equal(table.detach()[[0, 3]], torch.ones(2, 2))
    assert (table.detach()[[1, 2]] < 1).all()


@pytest.mark.parametrize("kind", ["adagrad", "row-adagrad"])
@pytest.mark.parametrize("masked", [False, True])
def test_a_model_learns_and_a_mask_holds(kind, masked):
    torch.manual_seed(0)
    values = torch.randn(20, 4) * 0.1
    mask = torch.rand(20, 4) < 0.5
    table = MaskedTable(values, mask) if masked else PlainTable(20, 4)
    model = Model(table, FMModule(20))
    optimizer = make_optimizer(kind, model, RATE, 0.0)
    assert isinstance(optimizer, RowWise) == (kind == "row-adagrad")
    ids = torch.randint(0, 20, (64, 3))
    batch = Batch(ids, ((ids == 3).any(1) ^ (ids == 4).any(1)).float())
    losses = [float(train_step(model, batch, optimizer, 100.0)) for _ in range(100)]
    assert losses[-1] < 0.5 * losses[0]
    if masked:
        assert (table.table.detach()[~mask] == 0).all()
