"""AUC and log loss against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from pepbench.metrics import auc, log_loss


@settings(max_examples=200, deadline=None)
@given(data=st.data(), n=st.integers(2, 60), distinct=st.integers(1, 60))
def test_auc_equals_scikit_learns_with_and_without_ties(data, n, distinct):
    labels = np.array(data.draw(st.lists(st.integers(0, 1), min_size=n, max_size=n)))
    scores = np.array(
        data.draw(st.lists(st.integers(0, distinct), min_size=n, max_size=n)), dtype=np.float32
    )
    if len(set(labels.tolist())) == 1:
        assert np.isnan(auc(labels, scores))
        return
    expected = sklearn_metrics.roc_auc_score(labels, scores)
    assert auc(labels, scores) == pytest.approx(expected, abs=1e-12)


def test_auc_of_many_rows_equals_scikit_learns():
    rng = np.random.default_rng(0)
    labels = (rng.random(200_000) < 0.3).astype(np.uint8)
    scores = np.round(rng.normal(size=200_000) + labels, 2).astype(np.float32)
    expected = sklearn_metrics.roc_auc_score(labels, scores)
    assert auc(labels, scores) == pytest.approx(expected, abs=1e-12)


def test_log_loss_of_logits_equals_scikit_learns_of_probabilities():
    rng = np.random.default_rng(1)
    labels = (rng.random(1000) < 0.5).astype(np.uint8)
    logits = rng.normal(scale=3, size=1000)
    expected = sklearn_metrics.log_loss(labels, 1 / (1 + np.exp(-logits)))
    assert log_loss(labels, logits) == pytest.approx(expected, abs=1e-12)


def test_log_loss_of_certain_mistakes_is_finite():
    assert log_loss(np.array([1, 0]), np.array([-1e4, 1e4])) == pytest.approx(1e4)
