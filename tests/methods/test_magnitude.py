"""Magnitude pruning keeps exactly the largest entries of the trained table."""

import numpy as np
import pytest
import torch

from pepbench.catalog import Catalog
from pepbench.method import largest_entries


class Watched:
    """A task that remembers what was trained."""

    def __init__(self, task):
        self.task = task
        self.trained = []

    def __getattr__(self, name):
        return getattr(self.task, name)

    def train(self, model, **options):
        start = model.embedding.table.detach().clone()
        fitted = self.task.train(model, **options)
        self.trained.append((start, fitted.model.embedding.table.detach().clone(), model))
        return fitted


@pytest.mark.parametrize("start", ["trained", "initial"])
def test_keeps_the_largest_entries_and_trains_them_from_the_right_values(toy, start):
    task = Watched(toy.task(epochs=2))
    method = Catalog().load("method", "magnitude")(start=start)
    fitted = method.fit(task, 150)
    (initial, dense, first_model), (second_start, _, second_model) = task.trained
    order = np.argsort(-np.abs(dense.numpy().ravel()), kind="stable")
    expected = np.zeros(dense.numel(), dtype=bool)
    expected[order[:150]] = True
    mask = fitted.model.embedding.mask.numpy()
    np.testing.assert_array_equal(mask.ravel(), expected)
    source = {"trained": dense, "initial": initial}[start]
    torch.testing.assert_close(second_start, source * torch.from_numpy(mask), rtol=0, atol=0)
    assert (second_model.backbone is first_model.backbone) == (start == "trained")
    assert set(task.clock.seconds) == {"pretrain", "train"}


def test_without_finetuning_the_result_is_the_trained_table_pruned(toy):
    task = Watched(toy.task(epochs=2))
    fitted = Catalog().load("method", "magnitude")(finetune=False).fit(task, 150)
    ((_, dense, _),) = task.trained
    expected = torch.where(largest_entries(dense.abs(), 150), dense, 0.0)
    assert torch.equal(fitted.model.embedding.table, expected)
    assert fitted.validation == task.validate(fitted.model)


def test_ties_are_broken_by_position():
    mask = largest_entries(torch.ones(3, 3), 4)
    assert mask.flatten().tolist() == [True] * 4 + [False] * 5
