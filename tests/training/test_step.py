"""Gradient clipping, Adam and divergence, against torch's own."""

import copy

import numpy as np
import pytest
import torch
from torch import nn

from pepbench.backbones.deepfm import DeepFM
from pepbench.errors import Diverged
from pepbench.method import Batch, Embedding, Model, PlainTable
from pepbench.tables.fields import Fields
from pepbench.tables.rows import RowTable
from pepbench.training.optimizers import make_optimizer
from pepbench.training.step import batch_logits, clip_gradient, train_step


class Sum(nn.Module):
    def forward(self, vectors, _ids):
        return vectors.sum((1, 2))


def small_model(seed=0):
    torch.manual_seed(seed)
    return Model(PlainTable(6, 3), Sum())


BATCH = Batch(torch.tensor([[0, 3], [1, 3], [1, 5]]), torch.tensor([1.0, 0.0, 1.0]))


@pytest.mark.parametrize("clip", [0.01, 1.0, 1e6])
def test_clipping_agrees_with_torch(clip):
    torch.manual_seed(0)
    ours = [nn.Parameter(torch.randn(5, 4)), nn.Parameter(torch.randn(7))]
    for parameter in ours:
        parameter.grad = torch.randn_like(parameter)
    theirs = copy.deepcopy(ours)
    for mine, other in zip(ours, theirs, strict=True):
        other.grad = mine.grad.clone()
    norm = clip_gradient([parameter.grad for parameter in ours], clip)
    assert norm == pytest.approx(float(nn.utils.clip_grad_norm_(theirs, clip)), rel=1e-6)
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine.grad, other.grad)


def test_steps_agree_with_torchs_plain_adam_and_embedding():
    model = small_model()
    table = model.embedding.table.detach().clone().requires_grad_()
    theirs = torch.optim.Adam([table], lr=0.1, weight_decay=1e-2, fused=False)
    ours = make_optimizer("adam", model, learning_rate=0.1, l2=1e-2)
    for _ in range(20):
        train_step(model, BATCH, ours, clip=100.0)
        theirs.zero_grad()
        logits = nn.functional.embedding(BATCH.ids, table).sum((1, 2))
        nn.functional.binary_cross_entropy_with_logits(logits, BATCH.labels).backward()
        theirs.step()
    torch.testing.assert_close(model.embedding.table, table)


def test_rates_are_factors_on_single_parameters():
    model = nn.Linear(2, 1)
    optimizer = make_optimizer("adam", model, 0.1, 0.0, {model.bias: 5.0})
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert rates[id(model.weight)] == pytest.approx(0.1)
    assert rates[id(model.bias)] == pytest.approx(0.5)


@pytest.mark.parametrize("kind", ["adam", "lazy-adam"])
def test_decays_are_factors_on_the_l2_of_single_parameters(kind):
    # Without a gradient from the loss, Adam with L2 moves a value by the rate, whatever the L2 is.
    table, other = RowTable(torch.ones(3, 2)), nn.Parameter(torch.ones(2))
    holder = nn.ParameterList([table, other])
    optimizer = make_optimizer(kind, holder, 0.1, 1e-2, None, {table: 0.0})
    if kind == "lazy-adam":
        assert optimizer.rows[table].l2 == 0.0
    else:
        decays = {
            id(p): group["weight_decay"]
            for group in optimizer.param_groups
            for p in group["params"]
        }
        assert decays == {id(table): 0.0, id(other): 1e-2}


def test_penalty_of_the_embedding_enters_the_loss():
    class Penalised(PlainTable):
        def penalty(self):
            return 3.0 * self.table.square().sum()

    torch.manual_seed(0)
    plain, penalised = Model(PlainTable(6, 3), Sum()), Model(Penalised(6, 3), Sum())
    penalised.load_state_dict(plain.state_dict())
    losses = [
        float(train_step(model, BATCH, make_optimizer("adam", model, 0.1, 0.0), 1e9))
        for model in (plain, penalised)
    ]
    start = small_model().embedding.table
    assert losses[1] - losses[0] == pytest.approx(3.0 * float(start.detach().square().sum()))


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_gradient_that_is_not_finite_is_reported_and_changes_nothing(value):
    model = small_model()
    with torch.no_grad():
        model.embedding.table[3, 1] = value
    before = model.embedding.table.detach().clone()
    with pytest.raises(Diverged, match="not finite"):
        train_step(model, BATCH, make_optimizer("adam", model, 0.1, 0.0), clip=100.0)
    assert torch.equal(model.embedding.table, before) or torch.isnan(before).any()


def test_lookup_has_the_gradient_of_torchs_embedding():
    table: Embedding = PlainTable(9, 4)
    ids = torch.tensor([[0, 8, 8], [3, 3, 8]])
    weights = torch.randn(2, 3, 4)
    (table(ids) * weights).sum().backward()
    reference = table.table.detach().clone().requires_grad_()
    (nn.functional.embedding(ids, reference) * weights).sum().backward()
    torch.testing.assert_close(table.table.grad, reference.grad)


def test_mixed_precision_keeps_parameters_and_learns_alike():
    losses = {}
    for precision in ("float32", "bfloat16"):
        torch.manual_seed(0)
        fields = Fields(("a", "b"), (6, 6), np.zeros(12, np.int64))
        model = Model(PlainTable(12, 8), DeepFM(dropout=0.0).build(fields, 8))
        optimizer = make_optimizer("adam", model, 1e-2, 0.0)
        ids = torch.stack([torch.randint(0, 6, (64,)), torch.randint(6, 12, (64,))], dim=1)
        batch = Batch(ids, ((ids[:, 0] + ids[:, 1]) % 2).float())
        losses[precision] = [
            float(train_step(model, batch, optimizer, 100.0, precision)) for _ in range(60)
        ]
        assert all(parameter.dtype == torch.float32 for parameter in model.parameters())
        assert batch_logits(model, ids, precision).dtype == torch.float32
    assert losses["bfloat16"] != losses["float32"]
    np.testing.assert_allclose(losses["bfloat16"], losses["float32"], atol=0.05)
    assert losses["bfloat16"][-1] < 0.7 * losses["bfloat16"][0]
