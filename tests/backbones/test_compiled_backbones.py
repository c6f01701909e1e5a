"""Compiled parts of deep backbones compared with their torch formulations, in double precision."""

import numpy as np
import pytest
import torch

from pepbench.backbones import autoint
from pepbench.backbones.attention import MOST_FIELDS, TILE
from pepbench.backbones.autoint import AutoInt
from pepbench.backbones.deepfm import DeepFM
from pepbench.method import Model, PlainTable
from pepbench.tables.embedding import lookup
from pepbench.tables.fields import Fields


def model_of(backbone, n_fields, dim=6):
    fields = Fields(
        tuple(f"f{f}" for f in range(n_fields)), (5,) * n_fields, np.zeros(5 * n_fields, np.int64)
    )
    torch.manual_seed(0)
    model = Model(PlainTable(fields.n_features, dim), backbone.build(fields, dim)).double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def ids_of(n_rows, n_fields):
    offsets = 5 * torch.arange(n_fields)
    return torch.randint(5, (n_rows, n_fields), generator=torch.manual_seed(1)) + offsets


def outcome(model, logits):
    """Logits, and the gradient of each parameter for a loss that weighs rows."""
    model.zero_grad()
    (logits * torch.arange(1.0, len(logits) + 1, dtype=logits.dtype)).sum().backward()
    return [logits.detach(), *(parameter.grad for parameter in model.parameters())]


@pytest.mark.parametrize("residual", [True, False])
@pytest.mark.parametrize("heads", [1, 2, 8])
@pytest.mark.parametrize(
    ("n_rows", "n_fields"), [(1, 3), (7, 1), (TILE, 4), (TILE + 5, MOST_FIELDS), (3 * TILE - 1, 2)]
)
def test_attention_is_that_of_torch(monkeypatch, n_rows, n_fields, heads, residual):
    model = model_of(
        AutoInt(layers=2, heads=heads, attention_size=8, residual=residual), n_fields
    )  # fmt: skip
    ids = ids_of(n_rows, n_fields)
    compiled = outcome(model, model(ids))
    monkeypatch.setattr(autoint, "is_compiled_for", lambda _: False)
    for found, expected in zip(compiled, outcome(model, model(ids)), strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


def test_attention_is_torchs_for_many_fields_and_in_half_precision(monkeypatch):
    monkeypatch.setattr(autoint, "attend", None)
    model_of(AutoInt(), MOST_FIELDS + 1)(ids_of(3, MOST_FIELDS + 1))
    model = model_of(AutoInt(), 3).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.isfinite(model(ids_of(3, 3))).all()


def test_attention_passes_on_a_nan():
    model = model_of(AutoInt(), 3)
    with torch.no_grad():
        model.embedding.table[0, 0] = float("nan")
    ids = ids_of(40, 3)
    logits = model(ids)
    assert torch.equal(torch.isnan(logits), (ids == 0).any(1))


@pytest.mark.parametrize("dropout", [0.0, 0.2])
def test_deepfm_from_its_table_is_that_from_vectors(dropout):
    model, ids = model_of(DeepFM(units=8, dropout=dropout), 4), ids_of(50, 4)
    torch.manual_seed(2)
    from_table = outcome(model, model(ids))
    torch.manual_seed(2)
    vectors = model.embedding(ids)
    for found, expected in zip(
        from_table, outcome(model, model.backbone(vectors, ids)), strict=True
    ):
        torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_gradient_of_a_lookup_is_that_of_torch(dtype):
    ids = torch.randint(30, (20, 3), generator=torch.manual_seed(0))
    table, weights = torch.randn(30, 4, dtype=dtype), torch.randn(20, 3, 4, dtype=dtype)
    ours, theirs = table.clone().requires_grad_(), table.clone().requires_grad_()
    (lookup(ours, ids) * weights).sum().backward()
    (torch.nn.functional.embedding(ids, theirs) * weights).sum().backward()
    torch.testing.assert_close(ours.grad, theirs.grad)
