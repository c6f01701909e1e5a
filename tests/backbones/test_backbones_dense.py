"""Backbones on dense fields."""

import numpy as np
import pytest
import torch
from torch import nn

from pepbench.catalog import Catalog
from pepbench.data.splits import Rows
from pepbench.method import Model, PlainTable
from pepbench.records import TrainingSpec
from pepbench.tables.bags import bags_of
from pepbench.tables.fields import Fields
from pepbench.training.task import TrialTask

BACKBONES = sorted(Catalog().entries("backbone"))
FIELDS = Fields(("a", "b"), (3, 4), np.zeros(7, np.int64), dense=("x", "y"))


def rows_of(n, seed=0):
    rng = np.random.default_rng(seed)
    ids = np.stack([rng.integers(0, 3, n), rng.integers(3, 7, n)], axis=1).astype(np.int32)
    dense = rng.normal(size=(n, 2)).astype(np.float32)
    return Rows(ids, (dense[:, 0] - dense[:, 1] > 0).astype(np.uint8), dense)


def built(name, fields=FIELDS, dim=4):
    torch.manual_seed(0)
    backbone = Catalog().load("backbone", name)().build(fields, dim).double().eval()
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return backbone


def bags(rows):
    return bags_of(rows.ids, FIELDS, dense=rows.dense).to(torch.device("cpu"), torch.float64)


@pytest.mark.parametrize("optimizer", ["adam", "lazy-adam"])
@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.slow
def test_learns_from_dense_fields_alone(name, optimizer):
    settings = TrainingSpec(
        learning_rate=1e-2,
        l2=0.0,
        batch_size=100,
        epochs=5,
        patience=5,
        clip=100.0,
        optimizer=optimizer,
    )
    torch.manual_seed(0)
    backbone = Catalog().load("backbone", name)()
    task = TrialTask(FIELDS, 4, rows_of(3000), rows_of(1000, 1), backbone, settings, seed=0)
    fitted = task.train(task.model(PlainTable(7, 4)))
    assert fitted.validation.auc > 0.97
    assert fitted.model.embedding.n_parameters() == 7 * 4
    assert sum(len(batch.labels) for batch in task.batches("held-out")) == 300


@pytest.mark.parametrize("name", BACKBONES)
def test_dense_inputs_have_a_linear_term(name):
    backbone = built(name)
    first = backbone.wide if name == "wide_deep" else backbone.first_order
    rows = rows_of(20)
    found = first(bags(rows))
    plain = first.weights[torch.from_numpy(rows.ids.astype(np.int64))].sum(1) + first.bias
    expected = plain + torch.from_numpy(rows.dense).double() @ first.dense
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("name", BACKBONES)
def test_gradients_with_dense_inputs_are_exact(name):
    backbone, batch = built(name), bags(rows_of(4))
    torch.manual_seed(1)
    vectors = torch.randn(4, 2, 4, dtype=torch.float64, requires_grad=True)
    inputs = [vectors, *backbone.parameters()]
    assert torch.autograd.gradcheck(lambda v, *_: backbone(v, batch), inputs, fast_mode=True)


@pytest.mark.parametrize(
    "name", ["deepfm", "wide_deep", "dcnv2", "dlrm", "autoint", "autoint:deep=true"]
)
def test_deep_networks_read_dense_inputs(name):
    base, _, option = name.partition(":")
    options = dict([option.split("=")]) if option else {}
    options = {key: value == "true" for key, value in options.items()}
    backbone = Catalog().load("backbone", base)(**options).build(FIELDS, 4).double().eval()
    first = backbone.wide if base == "wide_deep" else backbone.first_order
    nn.init.zeros_(first.dense)
    one, other = bags(rows_of(20)), bags(rows_of(20))
    vectors = torch.randn(20, 2, 4, dtype=torch.float64)
    other.dense.add_(1.0)
    assert not torch.allclose(backbone(vectors, one), backbone(vectors, other))


def test_autoint_attends_to_dense_fields_as_the_paper_says():
    torch.manual_seed(0)
    options = {"layers": 1, "heads": 2, "attention_size": 8}
    backbone = Catalog().load("backbone", "autoint")(**options).build(FIELDS, 4).double()
    batch, vectors = bags(rows_of(5)), torch.randn(5, 2, 4, dtype=torch.float64)
    logits = backbone(vectors, batch)
    layer = backbone.interacting[0]
    query, key, value, residual = layer.project.weight.chunk(4)
    for row in range(5):
        # eq. 4: x v for a dense field.
        dense = [batch.dense[row, m] * backbone.dense_vectors.table[m] for m in range(2)]
        e = torch.stack([*vectors[row], *dense])
        heads = []
        for head in (slice(0, 4), slice(4, 8)):
            scores = (e @ query[head].T) @ (e @ key[head].T).T
            heads.append(scores.softmax(1) @ (e @ value[head].T))
        out = (torch.cat(heads, dim=1) + e @ residual.T).relu()
        expected = backbone.first_order(batch)[row] + backbone.output(out.flatten())
        torch.testing.assert_close(logits[row], expected.squeeze())


def test_order_of_dense_fields_makes_no_difference_to_attention():
    backbone = built("autoint")
    batch, vectors = bags(rows_of(20)), torch.randn(20, 2, 4, dtype=torch.float64)
    inputs = backbone.dense_vectors(vectors, batch)
    swapped = bags(rows_of(20))
    swapped.dense.copy_(batch.dense.flip(1))
    with torch.no_grad():
        backbone.dense_vectors.table.copy_(backbone.dense_vectors.table.flip(0).clone())
    other = backbone.dense_vectors(vectors, swapped)
    order = [0, 1, 3, 2]
    torch.testing.assert_close(other, inputs[:, order])
    torch.testing.assert_close(backbone.interacting(other), backbone.interacting(inputs)[:, order])


def test_dlrm_is_its_definition():
    backbone, batch = built("dlrm"), bags(rows_of(5))
    vectors = torch.randn(5, 2, 4, dtype=torch.float64)
    logits = backbone(vectors, batch)
    for row in range(5):
        below = batch.dense[row]
        for layer in backbone.bottom:
            below = layer(below)
        a, b = vectors[row]
        inputs = torch.cat([below, torch.stack([below @ a, below @ b, a @ b])])
        top = backbone.top(inputs[None])[0]
        torch.testing.assert_close(logits[row], backbone.first_order(batch)[row] + top)


@pytest.mark.parametrize("name", BACKBONES)
def test_without_dense_fields_nothing_is_added(name):
    plain = Fields(("a", "b"), (3, 4), np.zeros(7, np.int64))
    names = [n for n, _ in built(name, plain).named_parameters()]
    assert not any("dense" in n or "bottom" in n for n in names)
    model = Model(PlainTable(7, 4), Catalog().load("backbone", name)().build(plain, 4))
    assert model(torch.tensor([[0, 3]])).shape == (1,)
