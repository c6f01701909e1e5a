"""The compiled step of FM and logistic regression against torch's, for what it takes and leaves."""

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from baselines.frequency import Frequency
from baselines.hash import Hash
from baselines.low_rank import LowRank
from baselines.mixed import MixedTable, equal_count_blocks
from pepbench.backbones.deepfm import DeepFM
from pepbench.backbones.fm import FM
from pepbench.backbones.lr import LR
from pepbench.errors import Diverged
from pepbench.method import Batch, MaskedTable, Model, PlainTable, xavier_uniform
from pepbench.pep import ThresholdedTable, Thresholds
from pepbench.tables.bags import Bags
from pepbench.tables.fields import Fields
from pepbench.tables.rows import DirectRows, View
from pepbench.training import fm_step
from pepbench.training import step as steps
from pepbench.training.fm_kernels import cross_entropy
from pepbench.training.fm_step import compiled_step
from pepbench.training.optimizers import make_optimizer
from pepbench.training.step import torch_step

FIELDS = Fields(("a", "b", "c", "d", "e"), (40, 30, 20, 9, 2), np.arange(101))
DIM = 5
GRANULARITIES = ("feature_dim", "dimension", "feature", "field", "field_dim", "global")
KINDS = ("adam", "lazy-adam", "row-adagrad", "adagrad")
EMBEDDINGS = (
    "plain",
    "mask",
    "hash",
    "frequency",
    "blocks",
    "blocks out of order",
    *(f"pep {granularity}" for granularity in GRANULARITIES),
)


def embedding_of(name, dim=DIM):
    name, _, granularity = name.partition(" ")
    if name == "plain":
        return PlainTable(101, dim)
    if name == "mask":
        values = xavier_uniform(101, dim)
        return MaskedTable(values, torch.rand(101, dim) < 0.4)
    if name in ("hash", "frequency"):
        method = Hash() if name == "hash" else Frequency()
        return method.embedding(FIELDS, dim, 40 * dim)
    if name == "blocks":
        return MixedTable(
            block_of_feature("out of order" not in granularity), [3, dim, 1, 0, 2], dim
        )
    if name == "low-rank":
        return LowRank().embedding(FIELDS, dim, 350)
    return ThresholdedTable(xavier_uniform(101, dim), Thresholds(granularity, FIELDS, dim, -4, 1.0))


def block_of_feature(in_order):
    return FIELDS.field_of_feature if in_order else equal_count_blocks(FIELDS.frequencies, 5)


@pytest.fixture(autouse=True)
def blocks_in_small_batches_too(monkeypatch):
    monkeypatch.setattr(fm_step, "MOST_VECTORS", 1e9)


def batches_of(count, seed=0, size=32, remainder=7):
    """Batches of which every fifth is smaller, as at the end of an epoch."""
    rng = np.random.default_rng(seed)
    offsets, cardinalities = FIELDS.offsets, np.asarray(FIELDS.cardinalities)
    for number in range(1, count + 1):
        n = size if number % 5 else remainder
        codes = (cardinalities * rng.random((n, len(cardinalities))) ** 2).astype(np.int64)
        labels = (rng.random(n) < 0.2 + 0.5 * (codes[:, 0] % 2)).astype(np.float64)
        yield Batch(
            torch.from_numpy(codes + offsets),
            torch.from_numpy(labels).to(torch.get_default_dtype()),
        )


def model_of(name, backbone=FM, seed=0):
    torch.manual_seed(seed)
    embedding = embedding_of(name)
    return Model(embedding, backbone().build(FIELDS, embedding.dim))


def optimizer_of(model, kind="adam", l2=1e-3, rate=1e-2):
    """With factors on the bias, and on PEP's thresholds."""
    thresholds = getattr(model.embedding, "thresholds", None)
    special = model.backbone.first_order.bias if thresholds is None else thresholds.raw
    return make_optimizer(kind, model, rate, l2, {special: 3.0}, {special: 0.5})


def losses_of(step, model, optimizer, batches, clip=100.0):
    losses = []
    for batch in batches:
        loss = step(model, batch, optimizer, clip)
        assert loss is not None, "left to torch"
        losses.append(float(loss))
    if hasattr(optimizer, "flush"):
        optimizer.flush()
    return np.array(losses)


def both(name, kind, count, backbone=FM, l2=1e-3, clip=100.0, rate=1e-2):
    """Losses and models of torch's steps and of compiled ones."""
    results = []
    for step in (torch_step, compiled_step):
        model = model_of(name, backbone)
        optimizer = optimizer_of(model, kind, l2, rate)
        results.append((losses_of(step, model, optimizer, batches_of(count), clip), model))
    return results


def assert_agree(results, rtol, atol):
    (losses, reference), (ours, model) = results
    np.testing.assert_allclose(ours, losses, rtol=rtol, atol=atol)
    for key, value in reference.state_dict().items():
        torch.testing.assert_close(model.state_dict()[key], value, rtol=rtol, atol=atol)


@pytest.fixture
def double():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["plain", "mask", "hash", "blocks", "pep feature_dim"])
def test_single_precision_agrees_with_torch(name, kind):
    # A first step of Adam magnifies the rounding of gradients near its epsilon.
    assert_agree(both(name, kind, 30), rtol=1e-4, atol=5e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", EMBEDDINGS)
@pytest.mark.usefixtures("double")
def test_a_thousand_steps_in_double_precision_are_torchs(name):
    assert_agree(both(name, "adam", 1000), rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS[1:])
@pytest.mark.parametrize("name", EMBEDDINGS)
@pytest.mark.usefixtures("double")
def test_double_precision_with_other_optimizers(name, kind):
    # Lazy Adam replays 128 steps one by one, and goes in strides from then on.
    assert_agree(both(name, kind, 170), rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("l2", [0.0, 1e-2])
@pytest.mark.parametrize("clip", [0.02, 100.0])
@pytest.mark.parametrize("backbone", [FM, LR])
@pytest.mark.parametrize("name", ["plain", "mask", "blocks", "pep field"])
@pytest.mark.usefixtures("double")
def test_double_precision_with_clipping_and_any_l2(name, backbone, clip, l2):
    assert_agree(both(name, "adam", 50, backbone, l2, clip), rtol=1e-9, atol=1e-9)


@pytest.mark.usefixtures("double")
def test_a_factorised_table_is_one_block():
    assert_agree(both("low-rank", "adam", 50), rtol=1e-9, atol=1e-9)


def test_factors_that_are_updated_by_rows_are_left_to_torch():
    model = model_of("low-rank")
    assert compiled_step(model, next(batches_of(1)), optimizer_of(model, "lazy-adam"), 1.0) is None


@settings(max_examples=30, deadline=None)
@given(
    widths=st.lists(st.integers(0, DIM), min_size=5, max_size=5).filter(any),
    project=st.booleans(),
    in_order=st.booleans(),
)
def test_gradients_of_blocks_are_torchs_at_all_widths(widths, project, in_order):
    models = []
    for step in (torch_step, compiled_step):
        torch.manual_seed(0)
        table = MixedTable(block_of_feature(in_order), widths, DIM, project)
        model = Model(table, FM().build(FIELDS, DIM)).double()
        # Adagrad's own step takes the gradients, and leaves them where they were.
        optimizer = make_optimizer("adagrad", model, 0.0, 0.0)
        (batch,) = batches_of(1)
        step(model, batch._replace(labels=batch.labels.double()), optimizer, 100.0)
        models.append(model)
    for theirs, ours in zip(*(dict(m.named_parameters()).values() for m in models), strict=True):
        if theirs.requires_grad:
            torch.testing.assert_close(ours.grad, theirs.grad, rtol=1e-9, atol=1e-12)


def test_blocks_of_far_more_rows_than_lookups_are_left_to_torch(monkeypatch):
    monkeypatch.setattr(fm_step, "MOST_VECTORS", 2.0)
    model = model_of("blocks")
    optimizer = optimizer_of(model)
    # 50 and 55 lookups for 101 rows.
    few, enough = (next(batches_of(1, size=size)) for size in (10, 11))
    assert compiled_step(model, few, optimizer, 100.0) is None
    assert compiled_step(model, enough, optimizer, 100.0) is not None


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain", "mask", "hash", "pep feature_dim"])
def test_a_thousand_steps_in_single_precision(name):
    (losses, _), (ours, _) = both(name, "adam", 1000)
    np.testing.assert_allclose(ours, losses, rtol=0, atol=1e-3)


def test_clipping_has_an_effect_and_is_torchs():
    clipped, free = both("plain", "adam", 20, clip=0.02), both("plain", "adam", 20)
    assert np.abs(clipped[0][0] - free[0][0]).max() > 1e-4
    assert_agree(clipped, rtol=1e-4, atol=5e-5)


def test_cross_entropy_of_extreme_logits_and_of_many_rows():
    logits = np.r_[np.array([-1e4, -90.0, -1e-3, 0.0, 30.0, 1e4]), np.zeros(3000)]
    labels = np.r_[np.array([0.0, 1.0, 1.0, 0.0, 1.0, 0.0]), np.ones(3000)]
    gradient = np.empty_like(logits)
    loss, for_bias = cross_entropy(logits, np.array([0.25]), labels, gradient)
    x = torch.from_numpy(logits + 0.25).requires_grad_()
    expected = nn.functional.binary_cross_entropy_with_logits(x, torch.from_numpy(labels))
    expected.backward()
    assert loss == pytest.approx(expected.item(), rel=1e-12)
    np.testing.assert_allclose(gradient, x.grad.numpy(), rtol=1e-12, atol=1e-18)
    assert for_bias == pytest.approx(float(x.grad.sum()), rel=1e-12)


def test_steps_of_both_kinds_alternate():
    reference, model = model_of("pep feature"), model_of("pep feature")
    theirs, ours = optimizer_of(reference), optimizer_of(model)
    for number, batch in enumerate(batches_of(12)):
        torch_step(reference, batch, theirs, 100.0)
        (compiled_step if number % 2 else torch_step)(model, batch, ours, 100.0)
    for key, value in reference.state_dict().items():
        torch.testing.assert_close(model.state_dict()[key], value, rtol=1e-4, atol=1e-5)
    for state, other in zip(theirs.state.values(), ours.state.values(), strict=True):
        assert float(state["step"]) == float(other["step"]) == 12


@pytest.mark.parametrize("kind", ["adam", "lazy-adam"])
@pytest.mark.parametrize(
    ("name", "held"),
    [
        ("pep feature_dim", "thresholds.raw"),
        ("pep feature_dim", "values"),
        ("blocks", "tables.0"),
        ("blocks", "projections.0"),
    ],
)
def test_held_parameters_do_not_move_nor_age(name, held, kind):
    results = []
    for step in (torch_step, compiled_step):
        model = model_of(name)
        parameter = model.embedding.get_parameter(held)
        before = parameter.detach().clone()
        optimizer = optimizer_of(model, kind)
        parameter.requires_grad_(False)
        losses = [losses_of(step, model, optimizer, batches_of(8), clip=0.05)]
        assert torch.equal(parameter, before)
        parameter.requires_grad_(True)
        losses.append(losses_of(step, model, optimizer, batches_of(8, seed=1), clip=0.05))
        assert not torch.equal(parameter, before)
        results.append((np.concatenate(losses), model))
    assert_agree(results, rtol=1e-4, atol=5e-5)


def test_an_optimizer_of_some_parameters_updates_those_alone():
    model = model_of("plain")
    first_order = copy.deepcopy(model.backbone.first_order.state_dict())
    optimizer = torch.optim.Adam([model.embedding.table], lr=0.01)
    losses_of(compiled_step, model, optimizer, batches_of(3))
    assert torch.equal(model.backbone.first_order.weights, first_order["weights"])
    assert torch.equal(model.backbone.first_order.bias, first_order["bias"])


@pytest.mark.parametrize("kind", ["adam", "lazy-adam"])
def test_divergence_changes_nothing_and_leaves_no_gradient_behind(kind):
    model, good = model_of("plain"), list(batches_of(3))
    optimizer = optimizer_of(model, kind)
    losses_of(compiled_step, model, optimizer, good)
    with torch.no_grad():
        model.embedding.table[3, 1] = float("inf")
    before = copy.deepcopy(model.state_dict())
    bad = Batch(torch.tensor([[3, 41, 75, 92, 99]]), torch.tensor([1.0]))
    with pytest.raises(Diverged, match="not finite"):
        compiled_step(model, bad, optimizer, 100.0)
    for key, value in before.items():
        torch.testing.assert_close(model.state_dict()[key], value, equal_nan=True)
    with torch.no_grad():
        model.embedding.table[3, 1] = 0.0
    state = copy.deepcopy(model.state_dict())
    losses = losses_of(compiled_step, model, optimizer, good)
    assert np.isfinite(losses).all()
    if kind == "adam":
        other = model_of("plain")
        theirs = optimizer_of(other, kind)
        losses_of(torch_step, other, theirs, good)
        other.load_state_dict(state)
        np.testing.assert_allclose(losses, losses_of(torch_step, other, theirs, good), rtol=1e-4)


@pytest.mark.parametrize("kind", ["adam", "lazy-adam"])
@pytest.mark.parametrize("step", [torch_step, compiled_step])
def test_a_threshold_that_is_not_a_number_diverges(step, kind):
    model = model_of("pep feature_dim")
    optimizer = optimizer_of(model, kind)
    with torch.no_grad():
        model.embedding.thresholds.raw[3, 1] = float("nan")
    batch = Batch(torch.tensor([[3, 41, 75, 92, 99]]), torch.tensor([1.0]))
    with pytest.raises(Diverged, match="not finite"):
        step(model, batch, optimizer, 100.0)


def test_diverges_at_the_step_at_which_torch_does():
    def steps_until_divergence(step):
        model = model_of("plain")
        optimizer = optimizer_of(model, rate=1e19)
        for number, batch in enumerate(batches_of(50)):
            try:
                step(model, batch, optimizer, 100.0)
            except Diverged:
                return number
        return None

    assert steps_until_divergence(compiled_step) == steps_until_divergence(torch_step) > 0


def replace_values(model, _optimizer):
    model.embedding.table.data = model.embedding.table.detach() * 0.5


def replace_mask(model, _optimizer):
    model.embedding.mask = torch.ones_like(model.embedding.mask)


def replace_embedding(model, optimizer):
    table = model.embedding.table.detach().clone()
    model.embedding = MaskedTable(table, torch.rand(table.shape) < 0.2)
    optimizer.add_param_group({"params": [model.embedding.table]})


def replace_projection(model, optimizer):
    projection = nn.Parameter(torch.rand(3, DIM))
    model.embedding.projections["0"] = projection
    optimizer.add_param_group({"params": [projection]})


def reload_optimizer(_model, optimizer):
    state = copy.deepcopy(optimizer.state_dict())
    for group in state["param_groups"]:
        group["lr"] *= 0.1
    for moments in state["state"].values():
        moments["exp_avg"] *= 2
    optimizer.load_state_dict(state)


def assign_first_order(model, _optimizer):
    first_order = model.backbone.first_order
    copied = {key: value.clone() for key, value in first_order.state_dict().items()}
    first_order.load_state_dict(copied, assign=True)


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("mask", replace_values),
        ("mask", replace_mask),
        ("mask", replace_embedding),
        ("mask", reload_optimizer),
        ("mask", assign_first_order),
        ("blocks", replace_projection),
        ("blocks", reload_optimizer),
    ],
)
def test_changes_between_steps_are_seen(name, change):
    results = []
    for step in (torch_step, compiled_step):
        model = model_of(name)
        optimizer = optimizer_of(model)
        losses_of(step, model, optimizer, batches_of(3))
        torch.manual_seed(1)
        change(model, optimizer)
        results.append((losses_of(step, model, optimizer, batches_of(9, seed=2)), model))
    assert_agree(results, rtol=1e-4, atol=5e-5)


def higher_target(table):
    table.thresholds.target = 2.0


def one_group(table):
    table.thresholds.field_of_feature = torch.zeros_like(table.thresholds.field_of_feature)


def no_threshold(table):
    table.as_table = lambda ids: View(table.values, ids, None)
    table.direct_rows = lambda: DirectRows(table.values)


@pytest.mark.parametrize("change", [higher_target, one_group, no_threshold])
def test_changed_thresholds_are_seen(change):
    results = []
    for step in (torch_step, steps.train_step):
        model = model_of("pep field")
        optimizer = optimizer_of(model)
        losses_of(step, model, optimizer, batches_of(3))
        change(model.embedding)
        results.append((losses_of(step, model, optimizer, batches_of(5, seed=2)), model))
    assert_agree(results, rtol=1e-4, atol=5e-5)


def test_a_table_that_has_become_shorter_is_seen():
    model = model_of("plain")
    optimizer = torch.optim.Adam(model.parameters())
    batch = Batch(torch.tensor([[1, 2]]), torch.ones(1))
    compiled_step(model, batch, optimizer, 100.0)
    model.embedding.table.data = model.embedding.table.data[:50]
    with pytest.raises(IndexError, match="of 50 rows"):
        compiled_step(model, Batch(torch.tensor([[1, 60]]), torch.ones(1)), optimizer, 100.0)


@pytest.mark.parametrize("held", ["thresholds.raw", "values"])
def test_values_by_rows_with_whole_thresholds_or_the_reverse_are_left_to_torch(held):
    losses = []
    for kind in ("adam", "lazy-adam"):
        model = model_of("pep feature")
        model.embedding.get_parameter(held).requires_grad_(False)
        optimizer = optimizer_of(model, kind)
        assert (compiled_step(model, next(batches_of(1)), optimizer, 1.0) is None) == (
            kind == "lazy-adam"
        )
        model = model_of("pep feature")
        model.embedding.get_parameter(held).requires_grad_(False)
        losses.append(losses_of(torch_step, model, optimizer_of(model, kind), batches_of(9)))
    np.testing.assert_allclose(*losses, rtol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_calls_hooks_once_after_the_optimizers_step(kind):
    model = model_of("plain")
    optimizer = optimizer_of(model, kind)
    called = []
    optimizer.register_step_post_hook(lambda *arguments: called.append(arguments[0]))
    losses_of(compiled_step, model, optimizer, batches_of(2))
    assert called == [optimizer, optimizer]


class Doubled(PlainTable):
    def as_table(self, ids):
        view = super().as_table(ids)
        return view._replace(table=2 * view.table)


class Penalised(PlainTable):
    def penalty(self):
        return self.table.square().sum()


class PenalisedDirectly(Penalised):
    def direct_rows(self):
        return DirectRows(self.table)


def with_table(kind):
    torch.manual_seed(0)
    return Model(kind(101, DIM), FM().build(FIELDS, DIM))


def hooked_module():
    model = model_of("plain")
    model.embedding.register_forward_hook(lambda *_: None)
    return model


def hooked_parameter():
    model = model_of("plain")
    model.backbone.first_order.weights.register_hook(lambda gradient: 2 * gradient)
    return model


def patched():
    model = model_of("plain")
    original = model.embedding.as_table
    model.embedding.as_table = lambda ids: original(ids)
    return model


STRANGERS = {
    "subclass": lambda: with_table(Doubled),
    "penalty": lambda: with_table(Penalised),
    "penalty of direct rows": lambda: with_table(PenalisedDirectly),
    "module hook": hooked_module,
    "parameter hook": hooked_parameter,
    "patched": patched,
    "deep": lambda: model_of("plain", DeepFM),
    "dense inputs": lambda: Model(
        PlainTable(101, DIM),
        FM().build(Fields(FIELDS.names, FIELDS.cardinalities, FIELDS.frequencies, {}, ("x",)), DIM),
    ),
    "half precision": lambda: model_of("plain").to(torch.bfloat16),
    "mixed types": lambda: Model(PlainTable(101, DIM).double(), FM().build(FIELDS, DIM)),
}


@pytest.mark.parametrize("stranger", STRANGERS)
def test_models_that_compute_otherwise_are_left_to_torch(stranger):
    model = STRANGERS[stranger]()
    optimizer = torch.optim.Adam(model.parameters())
    assert compiled_step(model, next(iter(batches_of(1))), optimizer, 100.0) is None


def test_a_stranger_that_appears_between_steps_is_left_to_torch():
    model = model_of("plain")
    optimizer = optimizer_of(model)
    first, second = batches_of(2)
    assert compiled_step(model, first, optimizer, 100.0) is not None
    hook = model.embedding.table.register_hook(lambda gradient: 0 * gradient)
    assert compiled_step(model, second, optimizer, 100.0) is None
    hook.remove()
    assert compiled_step(model, second, optimizer, 100.0) is not None


@pytest.mark.parametrize(
    "make",
    [
        lambda parameters: torch.optim.Adam(parameters, amsgrad=True),
        lambda parameters: torch.optim.Adam(parameters, maximize=True),
        torch.optim.AdamW,
        torch.optim.SGD,
        lambda parameters: type("Own", (torch.optim.Adam,), {})(parameters),
    ],
)
def test_optimizers_of_other_arithmetic_are_left_to_torch(make):
    model = model_of("plain")
    assert compiled_step(model, next(iter(batches_of(1))), make(model.parameters()), 1.0) is None


def test_bags_are_left_to_torch():
    model = model_of("plain")
    batch = Batch(Bags.__new__(Bags), torch.zeros(2))
    assert compiled_step(model, batch, optimizer_of(model), 100.0) is None


@pytest.mark.parametrize(
    ("ids", "labels"),
    [
        (torch.zeros(2, 3, dtype=torch.int32), torch.zeros(2)),
        (torch.zeros(6, dtype=torch.int64), torch.zeros(6)),
        (torch.zeros(2, 3, dtype=torch.int64), torch.zeros(1)),
        (torch.zeros(2, 3, dtype=torch.int64), torch.zeros(2, 1)),
    ],
)
def test_batches_of_other_shapes_and_types_are_left_to_torch(ids, labels):
    model = model_of("plain")
    assert compiled_step(model, Batch(ids, labels), optimizer_of(model), 100.0) is None


@pytest.mark.parametrize("step", [compiled_step, torch_step])
@pytest.mark.parametrize("kind", ["adam", "lazy-adam"])
@pytest.mark.parametrize("name", ["plain", "hash", "pep feature"])
@pytest.mark.parametrize("wrong", [-1, 101, 2**40])
def test_ids_of_no_feature_raise_and_change_nothing(wrong, name, kind, step):
    model = model_of(name)
    optimizer = optimizer_of(model, kind)
    before = copy.deepcopy(model.state_dict())
    batch = Batch(torch.tensor([[3, 41], [5, wrong]]), torch.ones(2))
    with pytest.raises(IndexError):
        step(model, batch, optimizer, 100.0)
    assert all(torch.equal(model.state_dict()[key], before[key]) for key in before)


def test_reduced_precision_is_left_to_torch(monkeypatch):
    monkeypatch.setattr(steps, "compiled_step", lambda *_: pytest.fail("compiled"))
    model = model_of("plain")
    steps.train_step(model, next(iter(batches_of(1))), optimizer_of(model), 100.0, "bfloat16")


def test_the_result_does_not_depend_on_the_number_of_threads():
    threads = torch.get_num_threads()
    states = []
    try:
        for number in (1, 2):
            torch.set_num_threads(number)
            model = model_of("pep feature_dim")
            losses_of(compiled_step, model, optimizer_of(model), batches_of(10))
            states.append(model.state_dict())
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_non_zeros_in_use_are_those_of_the_table_in_use():
    model = model_of("pep feature_dim")
    optimizer = optimizer_of(model)
    for step in (torch_step, compiled_step):
        losses_of(step, model, optimizer, batches_of(20))
        table = model.embedding
        assert table.non_zeros_in_use == int(torch.count_nonzero(table.table_in_use)) < 505
