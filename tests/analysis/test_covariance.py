from __future__ import annotations

from functools import partial

import numpy as np
import pytest
from scipy.stats import rankdata
from sklearn.metrics import log_loss, roc_auc_score

from pepbench.analysis.covariance import measure
from pepbench.analysis.score_matrix import ScoreMatrix
from pepbench.analysis.significance import compare_runs
from pepbench.errors import PepbenchError


@pytest.fixture(scope="module")
def sample():
    rng = np.random.default_rng(2)
    labels = rng.random(900) < 0.3
    common = rng.random(900)
    scores = np.clip(0.6 * common + 0.2 * labels + 0.2 * rng.random((4, 900)), 0, 1)
    return labels, scores.astype(np.float32), rng.integers(0, 60, 900)


def measured(labels, scores, **options):
    return measure(labels, [partial(np.asarray, line) for line in scores], **options)


def test_figures_are_those_of_scikit_learn(sample):
    labels, scores, _ = sample
    found = measured(labels, scores)
    np.testing.assert_allclose(found.auc.means, [roc_auc_score(labels, s) for s in scores])
    np.testing.assert_allclose(
        found.log_loss.means, [log_loss(labels, s.astype(float)) for s in scores], rtol=1e-6
    )
    assert found.problems == ("",) * 4


def test_log_losses_of_rows_have_the_covariance_of_means(sample):
    labels, scores, _ = sample
    losses = -np.log(np.where(labels, scores.astype(float), 1 - scores.astype(float)))
    (part,) = measured(labels, scores).log_loss.parts
    np.testing.assert_allclose(part.covariance, np.cov(losses) / 900, rtol=1e-6)


def test_log_losses_by_user_have_the_covariance_of_cluster_sums(sample):
    labels, scores, users = sample
    losses = -np.log(np.where(labels, scores.astype(float), 1 - scores.astype(float)))
    residuals = losses - losses.mean(axis=1, keepdims=True)
    sums = np.array([residuals[:, users == user].sum(axis=1) for user in range(60)])
    found = measured(labels, scores, users=users).log_loss
    np.testing.assert_allclose(
        found.parts[0].covariance, 60 / 59 * sums.T @ sums / 900**2, rtol=1e-6
    )
    assert (found.unit, found.units) == ("users", 60)


@pytest.mark.parametrize("by_user", [False, True])
def test_a_temporary_file_gives_what_memory_gives(sample, by_user):
    labels, scores, users = sample
    options = {"users": users} if by_user else {}
    inside = measured(labels, scores, **options)
    outside = measured(labels, scores, in_memory=0, **options)
    for kind in ("auc", "log_loss"):
        for part, other in zip(
            getattr(inside, kind).parts, getattr(outside, kind).parts, strict=True
        ):
            np.testing.assert_allclose(part.covariance, other.covariance, rtol=1e-5)
    a, b = (compare_runs(found.auc, (0, 1), (2, 3)) for found in (inside, outside))
    assert a.standard_error == pytest.approx(b.standard_error, rel=1e-4)


@pytest.mark.parametrize("kind", [np.float32, np.float64])
@pytest.mark.parametrize("in_memory", [2**28, 0])
def test_auc_covariances_are_sun_and_xus_to_twelve_digits(kind, in_memory):
    rng = np.random.default_rng(5)
    labels = rng.random(20_000) < 0.2
    scores = rng.random(20_000) + 0.3 * labels + 0.1 * rng.standard_normal((3, 20_000))
    scores = np.round(scores, 4).astype(kind)
    positive, negative = scores[:, labels], scores[:, ~labels]
    m, n = positive.shape[1], negative.shape[1]
    ranks = rankdata(np.hstack([positive, negative]), axis=1)
    v10 = (ranks[:, :m] - rankdata(positive, axis=1)) / n
    v01 = 1 - (ranks[:, m:] - rankdata(negative, axis=1)) / m
    found = measured(labels, scores, in_memory=in_memory, log_loss=False).auc
    np.testing.assert_allclose(found.means, v10.mean(axis=1), rtol=1e-13)
    for part, components in zip(found.parts, (v10, v01), strict=True):
        np.testing.assert_allclose(
            part.covariance, np.cov(components) / components.shape[1], rtol=1e-12
        )


def test_products_are_those_of_centred_lines_in_any_blocks():
    values = np.random.default_rng(0).normal(size=(3, 50))
    with ScoreMatrix(3, 50) as lines:
        for row in (2, 0, 1):
            lines.put(row, values[row])
        centred = values[:, 10:40] - [[1], [2], [3]]
        np.testing.assert_allclose(
            lines.products(10, 40, np.array([1.0, 2.0, 3.0])), centred @ centred.T
        )


def test_a_run_that_cannot_be_used_costs_that_run_only(sample):
    labels, scores, _ = sample

    def lost():
        raise PepbenchError("lost")

    runs = [partial(np.asarray, scores[0]), lost, partial(np.asarray, scores[1][:5])]
    found = measure(labels, [*runs, partial(np.asarray, scores[1])])
    assert found.problems[1] == "lost"
    assert "shape" in found.problems[2]
    alone = measured(labels, scores[:2])
    expected = compare_runs(alone.auc, [0], [1])
    assert compare_runs(found.auc, [0], [3]).p == pytest.approx(expected.p)


def test_scores_that_are_no_probabilities_have_no_log_loss(sample):
    labels, scores, _ = sample
    found = measured(labels, [scores[0], 3 * scores[1]])
    assert np.isnan(found.log_loss.means).tolist() == [False, True]
    assert not np.isnan(found.auc.means).any()


def test_certain_and_wrong_costs_a_finite_loss():
    found = measured([0, 1, 0, 1], [np.array([1.0, 1.0, 0.0, 1.0])])
    assert found.log_loss.means[0] == pytest.approx(-np.log(1e-7) / 4, rel=1e-3)


def test_users_must_be_one_for_each_row(sample):
    labels, scores, users = sample
    with pytest.raises(PepbenchError, match="one for each label"):
        measured(labels, scores, users=users[:-1])
