import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pepbench.datasets.synthetic import (
    Synthetic,
    bayes_auc,
    draw_widths,
    field_sizes,
    width_levels,
)
from scipy.stats import spearmanr
from sklearn.metrics import roc_auc_score
from split_helpers import feature_values

from pepbench.data.manage import open_table
from pepbench.data.splits import open_splits
from pepbench.errors import PlanError


def brute_force_auc(p):
    positive, negative = p[:, None], 1 - p[None, :]
    won = (p[:, None] > p[None, :]) + 0.5 * (p[:, None] == p[None, :])
    weights = positive * negative
    np.fill_diagonal(weights, 0.0)
    return (weights * won).sum() / weights.sum()


@given(arrays(np.float64, st.integers(2, 40), elements=st.sampled_from([0.1, 0.2, 0.5, 0.7, 0.9])))
def test_bayes_auc_is_the_double_sum(probabilities):
    assert bayes_auc(probabilities) == pytest.approx(brute_force_auc(probabilities), abs=1e-12)


def test_bayes_auc_is_what_the_true_probabilities_reach():
    draws = list(Synthetic(rows=200_000).draws())
    probabilities = np.concatenate([p for _, p, _ in draws])
    labels = np.concatenate([y for *_, y in draws])
    assert roc_auc_score(labels, probabilities) == pytest.approx(bayes_auc(probabilities), abs=3e-3)


def test_more_rows_begin_with_the_same_rows():
    few = np.concatenate([codes for codes, *_ in Synthetic(rows=20_000).draws()])
    many = np.concatenate([codes for codes, *_ in Synthetic(rows=40_000).draws()])
    assert (many[:20_000] == few).all()


@pytest.mark.parametrize("interaction", [0.0, 0.5, 1.0])
def test_logit_has_the_asked_for_variance_and_share_of_pairs(interaction):
    dataset = Synthetic(rows=200_000, signal=2.0, interaction=interaction)
    codes = np.concatenate([codes for codes, *_ in dataset.draws()])
    logits = dataset.model.logits(codes)
    assert logits.mean() == pytest.approx(0.0, abs=0.05)
    assert logits.std() == pytest.approx(2.0, rel=0.05)
    residual = logits.copy()
    for field in codes.T:
        counts = np.maximum(np.bincount(field), 1)
        residual -= (np.bincount(field, logits) / counts)[field]
    share = residual.var() / logits.var()
    assert share == pytest.approx(interaction, abs=0.05)


def test_logits_are_the_sum_over_pairs():
    model = Synthetic(rows=10, fields=3, features=20, dim=4).model
    codes = np.array([[0, 1, 2], [1, 0, 3]])
    for row, logit in zip(codes + model.offsets, model.logits(codes), strict=True):
        a, b, c = model.vectors[row]
        assert logit == pytest.approx(model.bias + model.weights[row].sum() + a @ b + a @ c + b @ c)


def test_vectors_end_at_their_widths():
    model = Synthetic().model
    last = np.where(model.vectors != 0, np.arange(1, 17), 0).max(axis=1)
    assert (last == model.widths).all()
    assert set(model.widths) == {0, 1, 2, 4, 8, 16}


def test_alignment_decides_how_width_follows_popularity():
    def correlation(alignment: float) -> float:
        widths = draw_widths(3_000, 16, alignment, np.random.default_rng(0))
        return -spearmanr(np.arange(3_000), widths).statistic

    assert correlation(0.0) == pytest.approx(0.0, abs=0.05)
    assert correlation(0.0) < correlation(0.5) < correlation(1.0)
    assert correlation(1.0) > 0.98


def test_field_sizes_are_uneven_and_add_up():
    assert field_sizes(500, 8).tolist() == sorted(field_sizes(500, 8))
    assert field_sizes(500, 8).sum() == 500
    assert field_sizes(6, 3).tolist() == [2, 2, 2]
    assert width_levels(1).tolist() == [0, 1]


def test_first_value_is_the_most_frequent():
    codes = np.concatenate([codes for codes, *_ in Synthetic(rows=5_000).draws()])
    assert all(np.bincount(field).argmax() == 0 for field in codes.T)


def test_true_widths_come_with_the_splits_by_global_id():
    dataset = Synthetic(rows=300, fields=3, features=60)
    splits = open_splits(open_table(dataset), 0)
    widths = splits.true_widths()
    planted = dataset.truth().widths
    names = [splits.fields.names[field] for field in splits.fields.field_of_feature]
    expected = [
        -1 if value is None else planted[name][value]
        for name, value in zip(names, feature_values(splits), strict=True)
    ]
    assert widths.tolist() == expected
    assert (widths[splits.fields.offsets] == -1).all()


def test_bayes_auc_is_kept_with_the_table():
    dataset = Synthetic(rows=3_000)
    probabilities = np.concatenate([p for _, p, _ in dataset.draws()])
    assert open_table(dataset).meta.bayes_auc == pytest.approx(bayes_auc(probabilities))


def test_too_few_features_for_the_fields_is_an_error():
    with pytest.raises(PlanError, match="features=10 is too few for fields=8; at least 16"):
        Synthetic(features=10)


def test_smallest_truth_can_be_drawn():
    assert np.isfinite(
        Synthetic(rows=10, fields=2, features=4, dim=1).model.logits(np.eye(2, dtype=int))
    ).all()
