"""Verdicts about figures other than AUC: gAUC, NDCG@10 and log loss."""

from __future__ import annotations

import math
from functools import cache, partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_factory import Run, record, run_of, spec
from scipy import stats
from sklearn.metrics import log_loss as sklearn_log_loss
from sklearn.metrics import ndcg_score, roc_auc_score

from pepbench.analysis import leaderboard
from pepbench.analysis.blocks import blocks_of
from pepbench.analysis.cells import cells_of
from pepbench.analysis.covariance import measure
from pepbench.analysis.leaderboard import analyse
from pepbench.analysis.metrics import METRICS, metric_named
from pepbench.analysis.significance import compare_runs, mean_interval
from pepbench.errors import PlanError
from pepbench.metrics import gauc, ndcg, user_aucs, user_ndcgs
from pepbench.records import MARGIN, ScoresRecord


@st.composite
def rows_of_users(draw):
    """Labels, scores with ties, and users in any order."""
    size = draw(st.integers(2, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    return rng.integers(0, 2, size), rng.integers(0, 5, size) / 4, rng.integers(0, 6, size) * 7


@settings(max_examples=25, deadline=None)
@given(rows_of_users())
def test_figures_of_each_user_are_those_of_scikit_learn_on_their_rows(rows):
    labels, scores, users = rows
    aucs, ndcgs = user_aucs(*rows), user_ndcgs(*rows)
    for place, user in enumerate(np.unique(users)):
        own, given_scores = labels[users == user], scores[users == user]
        mixed = 0 < own.sum() < len(own)
        assert aucs[1][place] == (len(own) if mixed else 0)
        assert ndcgs[1][place] == (own.sum() > 0)
        if mixed:
            assert aucs[0][place] == pytest.approx(roc_auc_score(own, given_scores))
        if own.sum() > 0 and len(own) > 1:
            assert ndcgs[0][place] == pytest.approx(ndcg_score([own], [given_scores], k=10))


@given(rows_of_users())
def test_means_over_users_are_the_figures(rows):
    for figure, of_users in ((gauc, user_aucs), (ndcg, user_ndcgs)):
        values, weights = of_users(*rows)
        if weights.any():
            assert figure(*rows) == pytest.approx(np.sum(values * weights) / weights.sum())
        else:
            assert math.isnan(figure(*rows))


@pytest.mark.parametrize(("within", "figure"), [(user_aucs, gauc), (user_ndcgs, ndcg)])
def test_variance_within_users_is_that_of_a_weighted_mean(within, figure):
    """Brute force: the difference of two runs, linear in the users' own differences."""
    rng = np.random.default_rng(5)
    users = rng.integers(0, 40, 900)
    labels = (rng.random(900) < 0.3).astype(int)
    runs = [rng.normal(size=900) + labels * strength for strength in (0.5, 0.9)]
    loads = [partial(np.asarray, run) for run in runs]
    found = measure(labels, loads, users, log_loss=False, within=within).within
    assert found.means == pytest.approx([figure(labels, run, users) for run in runs])
    compared = compare_runs(found, [1], [0])
    weights = within(labels, runs[0], users)[1]
    own = within(labels, runs[1], users)[0] - within(labels, runs[0], users)[0]
    known = weights > 0
    mean = np.average(own[known], weights=weights[known])
    size = known.sum()
    shares = weights[known] * (own[known] - mean) / weights.sum()
    error = math.sqrt(size / (size - 1) * np.sum(shares**2))
    freedom = weights.sum() ** 2 / np.sum(weights**2) - 1
    assert (compared.difference, compared.standard_error) == pytest.approx((mean, error))
    assert compared.degrees_of_freedom == pytest.approx(freedom)
    assert compared.basis == "users only"


def test_without_users_nothing_is_measured_within_them():
    loads = [partial(np.asarray, np.array([0.1, 0.4, 0.3, 0.8]))]
    assert measure([0, 1, 0, 1], loads, within=user_aucs).within is None


def with_figures(run: Run, users: np.ndarray) -> Run:
    """The run with the other figures of its predictions in the records."""
    for place, made in enumerate(run.records):
        if made.test is not None:
            rows = run.labels, run.predictions[made.key]
            scores = ScoresRecord(
                auc=made.test.auc,
                log_loss=sklearn_log_loss(rows[0], rows[1].astype(np.float64)),
                calibration=float(rows[1].sum() / rows[0].sum()),
                gauc=gauc(*rows, users),
                ndcg10=ndcg(*rows, users),
            )
            run.records[place] = made.model_copy(update={"test": scores})
    return run


@cache
def analysed(metric="auc"):
    """A single split: pep is a little worse than the full table."""
    run = run_of(600)
    run.add(0.0, method="full", budget="100%")
    run.add(0.8, method="pep")
    users = np.random.default_rng(1).integers(0, 60, len(run.labels))
    with_figures(run, users)
    loaders = run.load_predictions, run.load_labels
    return analyse(run.records, *loaders, load_users=lambda _: users, metric=metric)


@pytest.mark.parametrize("metric", ["gauc", "ndcg10", "logloss"])
def test_differences_are_those_of_the_records_and_positive_where_better(metric):
    """Log loss: minus the difference, and the verdict follows."""
    analysis, card = analysed(metric), METRICS[metric]
    full, pep = analysis.frame.to_dict("records")
    expected = card.sign * (pep[card.figure] - full[card.figure])
    assert pep[f"delta_{metric}"] == pytest.approx(expected, abs=1e-6)
    assert expected < 0
    assert "delta_auc" not in analysis.frame
    (row,) = analysis.comparisons.dropna(subset=["difference"]).to_dict("records")
    assert row["metric"] == metric
    assert row["low"] < row["difference"] < row["high"]
    assert pep["verdict"] == ("worse" if row["p_holm"] < 0.05 else "undecided")
    assert pep[f"{card.figure}_low"] < pep[card.figure] < pep[f"{card.figure}_high"]


def test_log_loss_as_metric_mirrors_the_log_loss_that_is_reported_beside_auc():
    beside, decisive = analysed().comparisons, analysed("logloss").comparisons
    ends = {"difference": "log_loss_difference", "low": "log_loss_high", "high": "log_loss_low"}
    for ours, theirs in ends.items():
        np.testing.assert_allclose(decisive[ours], -beside[theirs])
    np.testing.assert_allclose(decisive["p"], beside["p_log_loss"])


def test_auc_stays_what_it_is_whatever_verdicts_are_about():
    plain, other = analysed().frame, analysed("gauc").frame
    for column in ("auc", "auc_low", "auc_high", "log_loss", "on_front"):
        assert plain[column].equals(other[column])


def test_unknown_metrics_are_refused_with_the_nearest_name():
    assert [metric_named(name) for name in METRICS] == list(METRICS)
    with pytest.raises(PlanError, match="gauc"):
        metric_named("gacu")


EQUAL = {"auc": 0.7, "log_loss": 0.5, "gauc": 0.6, "ndcg10": 0.4, "calibration": 1.0}


def folds_of(differences, figure):
    """Cells whose ``figure`` differs so by fold; their other figures are equal."""
    records = []
    for method, sign in (("pep", 1.0), ("mde", 0.0)):
        for fold, difference in enumerate(differences):
            trial = spec(method=method)
            data = trial.data.model_copy(update={"fold": fold, "folds": len(differences)})
            trial = trial.model_copy(update={"data": data})
            records.append(record(trial.model_copy(update={"role": "tuning", "seed": 9})))
            values = dict(EQUAL)
            values[figure] += sign * difference
            records.append(record(trial, n_parameters=10, test=ScoresRecord(**values)))
    return records


@settings(max_examples=20, deadline=None)
@given(
    st.lists(st.floats(-0.05, 0.05), min_size=3, max_size=8),
    st.sampled_from(["gauc", "ndcg10", "logloss"]),
)
def test_over_folds_every_metric_has_students_interval(differences, metric):
    card = METRICS[metric]
    records = folds_of(differences, card.figure)
    (block,) = blocks_of(cells_of(records), {}.__getitem__, {}.__getitem__, metric=metric)
    names = [cell.method for cell in block.cells]
    found, _ = block.compare(names.index("pep"), names.index("mde"), 0.001)
    folds = len(differences)
    values = card.sign * np.array(differences)
    error = values.std(ddof=1) / math.sqrt(folds)
    assert found.difference == pytest.approx(values.mean(), abs=1e-12)
    half = stats.t.ppf(0.975, folds - 1) * error
    assert (found.low, found.high) == pytest.approx(
        (values.mean() - half, values.mean() + half), abs=1e-9
    )


@pytest.mark.parametrize("figure", ["log_loss", "calibration", "gauc", "ndcg10"])
def test_figures_beside_auc_have_intervals_over_folds(figure):
    """Student's t of the folds' values; log loss and calibration may exceed 1."""
    values = [0.0, 0.3, 0.9, 0.1]
    cells = cells_of(folds_of(values, figure))
    (block,) = blocks_of(cells, {}.__getitem__, {}.__getitem__)
    place = next(n for n, cell in enumerate(cells) if cell.method == "pep")
    found = block.interval(place, figure=figure)
    error = np.std(values, ddof=1) * math.sqrt(1 / 4)
    half = stats.t.ppf(0.975, 3) * error
    most = math.inf if figure in ("log_loss", "calibration") else 1.0
    mean = EQUAL[figure] + np.mean(values)
    ends = max(0.0, mean - half), min(most, mean + half)
    assert (found.mean, found.low, found.high) == pytest.approx((mean, *ends))


def test_single_splits_have_an_interval_of_log_loss_over_rows():
    run = run_of()
    run.add(0.5, method="pep", seeds=1)
    frame = analyse(run.records, run.load_predictions, run.load_labels).frame
    scores = run.predictions[run.records[-1].key].astype(np.float64)
    losses = -np.log(np.where(run.labels == 1, scores, 1 - scores))
    half = stats.t.ppf(0.975, len(losses) - 1) * losses.std(ddof=1) / math.sqrt(len(losses))
    ends = losses.mean() - half, losses.mean() + half
    assert (frame["log_loss_low"][0], frame["log_loss_high"][0]) == pytest.approx(ends)
    assert frame[["gauc_low", "ndcg10_low", "calibration_low"]].isna().all(axis=None)
    found = measure(run.labels, [partial(np.asarray, scores)]).log_loss
    assert mean_interval(found, [0]).mean == pytest.approx(sklearn_log_loss(run.labels, scores))


def test_a_single_user_with_both_labels_has_a_figure_but_no_interval():
    run = run_of(60)
    run.add(0.0, method="full", budget="100%")
    run.add(0.8, method="pep")
    users = np.where(np.arange(60) < 20, 0, 1 + run.labels)
    with_figures(run, users)
    loaders = run.load_predictions, run.load_labels
    found = analyse(run.records, *loaders, load_users=lambda _: users, metric="gauc")
    assert found.frame["gauc"].notna().all()
    assert found.frame["gauc_low"].isna().all()
    assert found.comparisons["note"].tolist() == [
        "a variance by user needs two users, there is 1",
    ]


@pytest.mark.parametrize(("metric", "margin"), [("auc", 0.01), ("logloss", MARGIN)])
def test_the_margin_of_another_metric_is_none_of_ranks(metric, margin, monkeypatch):
    for name, stub in (("rank_tables", lambda *given: given[2]), ("front_tables", lambda *_: None)):
        monkeypatch.setattr(leaderboard, name, stub)
    run = run_of(40)
    run.add(0.5, method="pep", seeds=1)
    loaders = run.load_predictions, run.load_labels
    assert analyse(run.records, *loaders, metric=metric, margin=0.01).ranks == margin


@pytest.mark.parametrize("metric", ["gauc", "ndcg10"])
def test_a_fold_with_one_user_of_both_labels_costs_the_intervals_not_the_report(metric):
    """Of two folds, each judged as a single split."""
    run = run_of(60)
    alone = np.where(run.labels == 1, 0, 1 + np.arange(60) % 7)
    alone[run.labels.argmin()] = 0
    users = {"0" * 16: np.arange(60) // 6, "1" * 16: alone}
    for fold, (split, own) in enumerate(users.items()):
        made = run_of(60)
        made.add(0.0, method="full", budget="100%", split=split)
        made.add(0.8, method="pep", split=split)
        for one in with_figures(made, own).records:
            data = one.spec.data.model_copy(update={"fold": fold, "folds": 2})
            trial = one.spec.model_copy(update={"data": data})
            run.records.append(one.model_copy(update={"spec": trial, "key": trial.key()}))
            run.predictions[trial.key()] = made.predictions.get(one.key)
    loaders = run.load_predictions, run.load_labels
    found = analyse(run.records, *loaders, load_users=users.__getitem__, metric=metric)
    assert found.frame[metric].notna().all()
    assert found.frame[f"{metric}_low"].isna().all()
    assert found.frame["auc_low"].notna().all()
    (note,) = found.comparisons["note"]
    assert "needs two users" in note
