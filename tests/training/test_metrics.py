"""Figures of predictions against scikit-learn."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sklearn_metrics

from pepbench.metrics import auc, gauc, log_loss, ndcg


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


def scored(seed, n=300, n_users=20, ties=False):
    rng = np.random.default_rng(seed)
    scores = rng.integers(0, 5, n) / 4 if ties else rng.random(n)
    return rng.integers(0, 2, n), scores.astype(np.float32), rng.integers(0, n_users, n)


@pytest.mark.parametrize("ties", [False, True])
def test_gauc_is_the_mean_auc_of_users_weighted_by_rows(ties):
    labels, scores, users = scored(0, ties=ties)
    rows = [(users == user) for user in np.unique(users)]
    mixed = [chosen for chosen in rows if len(set(labels[chosen])) == 2]
    aucs = [sklearn_metrics.roc_auc_score(labels[chosen], scores[chosen]) for chosen in mixed]
    expected = np.average(aucs, weights=[chosen.sum() for chosen in mixed])
    assert gauc(labels, scores, users) == pytest.approx(expected)


@pytest.mark.parametrize("ties", [False, True])
def test_ndcg_is_the_mean_of_scikit_learns_over_users_with_a_positive_row(ties):
    labels, scores, users = scored(1, ties=ties)
    found = [
        sklearn_metrics.ndcg_score([labels[chosen]], [scores[chosen]], k=10)
        for user in np.unique(users)
        if labels[chosen := users == user].any()
    ]
    assert ndcg(labels, scores, users) == pytest.approx(np.mean(found))


def test_users_of_one_kind_of_label_have_no_gauc():
    assert math.isnan(gauc(np.array([1, 1, 0]), np.array([0.1, 0.2, 0.3]), np.array([0, 0, 1])))
