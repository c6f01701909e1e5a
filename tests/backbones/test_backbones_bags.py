"""Backbones on multi-valued fields."""

import numpy as np
import pytest
import torch
from bag_helpers import as_bags, random_bags

from pepbench.catalog import Catalog
from pepbench.contract.toy import make_toy
from pepbench.data.splits import Rows
from pepbench.method import Model, PlainTable
from pepbench.records import TrainingSpec
from pepbench.tables.bags import bags_of
from pepbench.training.task import TrialTask

BACKBONES = sorted(Catalog().entries("backbone"))


def model_of(name, fields, dim=4):
    torch.manual_seed(0)
    backbone = Catalog().load("backbone", name)().build(fields, dim)
    model = Model(PlainTable(fields.n_features, dim), backbone).double().eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.slow
def test_one_value_a_bag_gives_the_numbers_of_the_plain_field(name):
    toy = make_toy()
    form = as_bags(toy)
    plain = model_of(name, toy.fields)
    model = model_of(name, form.fields)
    rows = toy.validation.ids[:200].astype(np.int64)
    expected = plain(torch.from_numpy(rows))
    found = model(bags_of(form.validation.ids[:200], form.fields))
    torch.testing.assert_close(found, expected)
    expected.square().sum().backward()
    found.square().sum().backward()
    for one, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


@pytest.mark.parametrize("name", BACKBONES)
def test_the_order_of_values_does_not_matter(name):
    fields, ids = random_bags()
    model = model_of(name, fields)
    turned = ids.copy()
    for row in turned:
        given = np.flatnonzero(row[1:5] >= 0)
        row[1 + given] = row[1 + given][::-1]
    assert not np.array_equal(turned, ids)
    torch.testing.assert_close(model(bags_of(turned, fields)), model(bags_of(ids, fields)))


@pytest.mark.parametrize("optimizer", ["adam", "lazy-adam", "adagrad"])
@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.slow
def test_learns_what_is_in_bags_alone(name, optimizer):
    """Clicks where one value is in the bag, on fields of one value that say nothing."""
    fields, ids = random_bags(n_rows=4000, pool="sum")
    labels = (ids[:, 1:5] == 4).any(axis=1).astype(np.uint8)
    settings = TrainingSpec(
        learning_rate=3e-2, l2=0.0, batch_size=100, epochs=4, patience=4, clip=100.0,
        optimizer=optimizer,
    )  # fmt: skip
    torch.manual_seed(0)
    task = TrialTask(
        fields,
        4,
        Rows(ids[:3000], labels[:3000]),
        Rows(ids[3000:], labels[3000:]),
        Catalog().load("backbone", name)(),
        settings,
        seed=0,
    )
    fitted = task.train(task.model(PlainTable(fields.n_features, 4)))
    assert fitted.validation.auc > 0.95
