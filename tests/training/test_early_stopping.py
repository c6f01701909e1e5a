"""Early stopping: patience, ties, and the best epoch's values."""

import pytest
from torch import nn

from pepbench.method import EpochScore
from pepbench.training.early_stopping import EarlyStopping


def followed(aucs, patience):
    """Epochs until it stops, and the model restored; epoch n has the weight n."""
    model, stopping = nn.Linear(1, 1, bias=False), EarlyStopping(patience)
    for epoch, auc in enumerate(aucs, start=1):
        nn.init.constant_(model.weight, epoch)
        if stopping.should_stop(EpochScore(epoch, 0.5, auc, 0.5), model):
            break
    return epoch, stopping.restore(model), float(model.weight.detach())


@pytest.mark.parametrize(("patience", "last"), [(1, 3), (2, 4), (4, 6), (9, 7)])
def test_it_stops_after_patience_epochs_without_a_better_auc(patience, last):
    assert followed([0.5, 0.7, 0.6, 0.65, 0.6, 0.6, 0.6], patience)[0] == last


def test_the_earliest_of_equal_epochs_is_restored():
    epoch, best, weight = followed([0.5, 0.7, 0.7, 0.7], patience=2)
    assert (epoch, best.epoch, weight) == (4, 2, 2.0)


def test_restored_values_are_a_copy_of_the_best_epoch():
    _, best, weight = followed([0.6, 0.9, 0.8], patience=5)
    assert (best.auc, weight) == (0.9, 2.0)
