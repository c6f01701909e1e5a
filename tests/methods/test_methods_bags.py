"""Methods on multi-valued fields: a field of one value gives the numbers of the plain field."""

import numpy as np
import pytest
import torch
from bag_helpers import as_bags
from run_helpers import CHEAP_OPTIONS

from pepbench.backbones.deepfm import DeepFM
from pepbench.backbones.fm import FM
from pepbench.catalog import Catalog
from pepbench.data.splits import Rows
from pepbench.harness.fit_checks import check_contract
from pepbench.records import TrainingSpec
from pepbench.tables.fields import BagField, Fields
from pepbench.training.task import TrialTask

METHODS = sorted(Catalog().entries("method"))


@pytest.fixture(autouse=True)
def double_precision():
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.slow
def test_one_value_a_bag_gives_the_numbers_of_the_plain_field(name, toy):
    logits = []
    for form in (toy, as_bags(toy)):
        method = Catalog().load("method", name).from_options(CHEAP_OPTIONS.get(name, {}))
        task = form.task(backbone=DeepFM(units=16, layers=1), epochs=2)
        budget = toy.full_parameters if method.fixed_size else toy.full_parameters * 3 // 5
        torch.manual_seed(0)
        fitted = method.fit(task, budget)
        check_contract(fitted, budget, form.validation)
        logits.append(task.logits(fitted.model, form.validation))
    np.testing.assert_allclose(logits[1], logits[0], rtol=1e-4, atol=1e-5)


def sparse_rows(fields, seed):
    """Nine rows; in every second one the multi-valued fields have no value."""
    rng = np.random.default_rng(seed)
    columns = [
        start + rng.integers(0, n, (9, slots))
        for start, n, slots in zip(fields.offsets, fields.cardinalities, fields.slots, strict=True)
    ]
    ids = np.hstack(columns).astype(np.int32)
    ids[::2, ids.shape[1] - fields.slots[-1] :] = -1
    return Rows(ids, (np.arange(9) % 3 == 0).astype(np.uint8))


@pytest.mark.parametrize("cardinalities", [(9, 12), (12,)])
@pytest.mark.parametrize("name", METHODS)
def test_batches_without_a_value_of_a_field_train_and_leave_its_vector_zero(name, cardinalities):
    """Where no other field is left, a factorisation machine gives its bias."""
    names = ("user", "tags")[-len(cardinalities) :]
    frequencies = np.ones(sum(cardinalities), np.int64)
    fields = Fields(names, cardinalities, frequencies, {"tags": BagField(3)})
    train, validation = sparse_rows(fields, 0), sparse_rows(fields, 1)
    settings = TrainingSpec(
        learning_rate=1e-2,
        l2=1e-4,
        batch_size=1,
        epochs=2,
        patience=2,
        clip=100.0,
        optimizer="lazy-adam",
    )
    task = TrialTask(fields, 4, train, validation, FM(), settings, seed=0)
    torch.manual_seed(0)
    method = Catalog().load("method", name).from_options(CHEAP_OPTIONS.get(name, {}))
    budget = task.full_parameters if method.fixed_size else task.full_parameters * 2 // 3
    fitted = method.fit(task, budget)
    check_contract(fitted, budget, validation)
    first_order = fitted.model.backbone.first_order
    users = validation.ids[::2, 0] if len(cardinalities) > 1 else []
    own = first_order.weights.detach().numpy()[users] if len(users) else 0.0
    expected = np.broadcast_to(own + first_order.bias.item(), 5)
    np.testing.assert_allclose(task.logits(fitted.model, validation)[::2], expected, atol=1e-6)
