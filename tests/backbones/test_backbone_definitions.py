"""Every backbone against its paper's formulas, written out row by row in numpy."""

from itertools import combinations

import numpy as np
import pytest
import torch

from pepbench.backbones.autoint import AutoInt
from pepbench.backbones.dcnv2 import DCNv2
from pepbench.backbones.deepfm import DeepFM
from pepbench.backbones.dlrm import DLRM
from pepbench.backbones.lr import LR
from pepbench.backbones.wide_deep import WideDeep
from pepbench.errors import PlanError
from pepbench.tables.fields import Fields

N, F, D = 14, 4, 3
FIELDS = Fields(tuple("abcd"), (4, 5, 3, 2), np.zeros(N, np.int64))
IDS = torch.tensor([[0, 4, 9, 12], [3, 8, 11, 13], [1, 5, 10, 12]])

LAYERS = {"units": 6, "layers": 2, "dropout": 0.2}
ALL = [
    LR(),
    DeepFM(**LAYERS),
    WideDeep(**LAYERS),
    DCNv2(**LAYERS),
    DCNv2(structure="stacked", cross_layers=3, **LAYERS),
    DCNv2(low_rank=2, **LAYERS),
    DCNv2(low_rank=2, experts=3, **LAYERS),
    DCNv2(low_rank=20, experts=2, structure="stacked", **LAYERS),
    AutoInt(attention_size=8, layers=2),
    AutoInt(attention_size=8, heads=4, residual=False),
    AutoInt(attention_size=16, heads=1, deep=True, units=5, deep_layers=3),
    DLRM(**LAYERS),
    DLRM(vectors=True, **LAYERS),
]
IDENTITIES = [
    "-".join([backbone.name, *(f"{k}={v}" for k, v in backbone.options().items())])
    for backbone in ALL
]


def relu(x):
    return np.maximum(x, 0)


def softmax(x):
    return np.exp(x) / np.exp(x).sum()


class Weights:
    """The arrays of a module by name, and what several papers compute with them."""

    def __init__(self, module):
        self.arrays = {k: v.detach().numpy() for k, v in module.named_parameters()}

    def __getitem__(self, name):
        return self.arrays[name]

    def affine(self, name, x):
        return self[f"{name}.weight"] @ x + self.arrays.get(f"{name}.bias", 0.0)

    def layers(self, name, x):
        """All affine layers below ``name``, in order, with ReLU after those that have a bias."""
        numbers = {key.split(".")[1] for key in self.arrays if key.startswith(f"{name}.")}
        for number in sorted(numbers, key=int):
            x = self.affine(f"{name}.{number}", x)
            x = relu(x) if f"{name}.{number}.bias" in self.arrays else x
        return x

    def first_order(self, ids, name="first_order"):
        return self[f"{name}.bias"] + sum(self[f"{name}.weights"][i] for i in ids)


def lr(backbone, w, v, ids):  # noqa: ARG001
    return w.first_order(ids)


def deepfm(backbone, w, v, ids):  # noqa: ARG001
    pairs = sum(v[f] @ v[g] for f, g in combinations(range(F), 2))
    return w.first_order(ids) + pairs + w.layers("deep", v.ravel())


def wide_deep(backbone, w, v, ids):  # noqa: ARG001
    return w.first_order(ids, "wide") + w.layers("deep", v.ravel())


def dcnv2(backbone, w, v, ids):
    x0 = x = v.ravel()
    rank, experts = backbone.low_rank, backbone.experts
    for layer in range(backbone.cross_layers):
        name = f"cross.layers.{layer}"
        if rank == 0:
            x = x0 * w.affine(name, x) + x
        elif experts == 1:
            x = x0 * w.affine(f"{name}.1", w.affine(f"{name}.0", x)) + x
        else:
            reduce, expand = w[f"{name}.reduce.weight"], w[f"{name}.expand.weight"]
            gates = softmax(reduce[rank * experts :] @ x)
            total = 0
            for k in range(experts):
                part = slice(k * rank, (k + 1) * rank)
                narrow = np.tanh(w[f"{name}.middle"][k] @ np.tanh(reduce[part] @ x))
                expert = x0 * (expand[:, part] @ narrow + w[f"{name}.expand.bias"])
                total = total + gates[k] * expert
            x = total + x
    if backbone.structure == "stacked":
        outputs = w.layers("deep", x)
    else:
        outputs = np.concatenate([x, w.layers("deep", x0)])
    return w.first_order(ids) + w.affine("output.0", outputs)


def autoint(backbone, w, v, ids):
    width, size = backbone.attention_size, backbone.attention_size // backbone.heads
    e = v
    for layer in range(backbone.layers):
        matrices = np.split(w[f"interacting.{layer}.project.weight"], 4 if backbone.residual else 3)
        new = np.zeros((F, width))
        for head in range(backbone.heads):
            part = slice(head * size, (head + 1) * size)
            query, key, value = (matrix[part] for matrix in matrices[:3])
            for m in range(F):
                alpha = softmax(np.array([(query @ e[m]) @ (key @ e[k]) for k in range(F)]))
                new[m, part] = sum(alpha[k] * (value @ e[k]) for k in range(F))
        if backbone.residual:
            new = new + np.stack([matrices[3] @ e[m] for m in range(F)])
        e = relu(new)
    logit = w.first_order(ids) + w.affine("output.0", e.ravel())
    return logit + w.layers("deep", v.ravel()) if backbone.deep else logit


def dlrm(backbone, w, v, ids):
    pairs = np.array([v[f] @ v[g] for f, g in combinations(range(F), 2)])
    inputs = np.concatenate([v.ravel(), pairs]) if backbone.vectors else pairs
    return w.first_order(ids) + w.layers("top", inputs)


@pytest.mark.parametrize("backbone", ALL, ids=IDENTITIES)
def test_equals_the_formulas_of_its_paper(backbone):
    torch.manual_seed(0)
    module = backbone.build(FIELDS, D).double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    vectors = torch.randn(len(IDS), F, D, dtype=torch.float64)
    logits = module(vectors, IDS).detach().numpy()
    formula, weights = globals()[backbone.name], Weights(module)
    rows = zip(vectors.numpy(), IDS.tolist(), strict=True)
    expected = [formula(backbone, weights, v, ids).item() for v, ids in rows]
    np.testing.assert_allclose(logits, expected, rtol=1e-10)


FIRST_ORDER = N + 1
DEEP = (F * D + 1) * 6 + (6 + 1) * 6 + 6
CROSS = (F * D + 1) * F * D
PAIRS = F * (F - 1) // 2


@pytest.mark.parametrize(
    ("backbone", "count"),
    [
        (LR(), 0),
        (DeepFM(**LAYERS), DEEP),
        (WideDeep(**LAYERS), (F * D + 1) * 6 + (6 + 1) * 3 + 3),
        (DCNv2(**LAYERS), 2 * CROSS + DEEP + F * D),
        (DCNv2(structure="stacked", cross_layers=3, **LAYERS), 3 * CROSS + DEEP),
        (DCNv2(low_rank=2, **LAYERS), 2 * (2 * 2 * F * D + F * D) + DEEP + F * D),
        (
            DCNv2(low_rank=2, experts=3, **LAYERS),
            2 * (3 * (2 * 2 * F * D + 2 * 2 + F * D) + F * D) + DEEP + F * D,
        ),
        (AutoInt(), 4 * 64 * (D + 64 + 64) + F * 64),
        (AutoInt(residual=False), 3 * 64 * (D + 64 + 64) + F * 64),
        (AutoInt(deep=True, units=6), 4 * 64 * (D + 64 + 64) + F * 64 + DEEP),
        (DLRM(**LAYERS), (PAIRS + 1) * 6 + (6 + 1) * 3 + 3),
        (DLRM(vectors=True, **LAYERS), (PAIRS + F * D + 1) * 6 + (6 + 1) * 3 + 3),
    ],
    ids=lambda value: value.name if hasattr(value, "name") else None,
)
def test_number_of_parameters(backbone, count):
    parameters = backbone.build(FIELDS, D).parameters()
    assert sum(parameter.numel() for parameter in parameters) == FIRST_ORDER + count


def test_dropout_is_for_training_only():
    torch.manual_seed(0)
    module, vectors = DeepFM(dropout=0.5).build(FIELDS, D), torch.randn(len(IDS), F, D)
    assert not torch.equal(module(vectors, IDS), module(vectors, IDS))
    module.eval()
    assert torch.equal(module(vectors, IDS), module(vectors, IDS))


def test_heads_that_are_not_on_offer_are_refused():
    with pytest.raises(PlanError, match="heads"):
        AutoInt(heads=3)
