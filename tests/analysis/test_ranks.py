from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from pepbench.analysis.ranks import (
    bayesian_signed_rank,
    block_aucs,
    critical_difference,
    rank_tables,
    sources_of,
)
from pepbench.records import DataSpec

METHODS = ("pep", "mde", "hash")


def frame_of(aucs, backbones=("fm",)):
    """A leaderboard of AUCs (datasets, methods) at one budget."""
    return pd.DataFrame(
        [
            (f"data{row}", backbone, method, "10%", "ok", auc + 0.01 * shift)
            for row, line in enumerate(aucs)
            for shift, backbone in enumerate(backbones)
            for method, auc in zip(METHODS, line, strict=True)
        ],
        columns=["dataset", "backbone", "method", "budget", "status", "auc"],
    )


def ranked(frame):
    """Every data set is a source of its own."""
    return rank_tables(frame, {name: name for name in frame["dataset"]})


@pytest.fixture(scope="module")
def aucs():
    rng = np.random.default_rng(3)
    return 0.7 + np.array([0.03, 0.02, 0.0]) + 0.01 * rng.normal(size=(8, 3))


def test_ranks_and_friedman_are_scipys(aucs):
    found = ranked(frame_of(aucs))
    ranks = dict(zip(METHODS, stats.rankdata(-aucs, axis=1).mean(axis=0), strict=True))
    assert found.ranks.set_index("method")["mean_rank"].to_dict() == pytest.approx(ranks)
    assert found.ranks["mean_rank"].is_monotonic_increasing
    assert not found.ranks["descriptive"].any()
    test = found.tests.iloc[0]
    assert (test["friedman"], test["p"]) == pytest.approx(tuple(stats.friedmanchisquare(*aucs.T)))


def test_pairs_agree_with_the_critical_difference_and_with_scipy(aucs):
    found = ranked(frame_of(aucs))
    critical = found.tests["critical_difference"][0]
    for pair in found.pairs.to_dict("records"):
        assert (abs(pair["rank_difference"]) > critical) == (pair["p_nemenyi"] < 0.05)
        a, b = (aucs[:, METHODS.index(pair[side])] for side in ("method", "other"))
        assert pair["p_wilcoxon"] == pytest.approx(stats.wilcoxon(a - b).pvalue)
        chances = [pair[f"chance_{word}"] for word in ("worse", "equivalent", "better")]
        assert sum(chances) == pytest.approx(1.0)


def test_critical_differences_are_demsars():
    """Table 5 of Demšar 2006: q of 2.343, 2.728 and 3.164 for 3, 5 and 10 methods."""
    for methods, q in ((3, 2.343), (5, 2.728), (10, 3.164)):
        expected = q * np.sqrt(methods * (methods + 1) / (6 * 30))
        assert critical_difference(methods, 30) == pytest.approx(expected, abs=1e-3)


def test_bars_join_methods_within_the_critical_difference():
    rng = np.random.default_rng(0)
    close = np.column_stack([rng.random((12, 2)) * 0.01 + 0.8, np.full(12, 0.6)])
    found = ranked(frame_of(close))
    (bar,) = found.cliques["methods"]
    assert set(bar.split(",")) == {"pep", "mde"}


def test_few_data_sets_are_described_and_not_tested(aucs):
    found = ranked(frame_of(aucs[:4]))
    assert found.ranks["descriptive"].all()
    assert found.tests.empty
    assert found.pairs.empty


def test_backbones_of_a_data_set_count_once(aucs):
    once, twice = (frame_of(aucs, backbones) for backbones in (("fm",), ("fm", "deepfm")))
    assert ranked(twice).tests["blocks"].tolist() == [8]
    pd.testing.assert_frame_equal(
        block_aucs(once.assign(source=once["dataset"])) + 0.005,
        block_aucs(twice.assign(source=twice["dataset"])),
    )


def test_a_method_that_is_missing_somewhere_is_left_out(aucs):
    frame = frame_of(aucs)
    frame.loc[(frame["method"] == "hash") & (frame["dataset"] == "data0"), "status"] = "infeasible"
    assert set(ranked(frame).ranks["method"]) == {"pep", "mde"}


def test_a_clear_difference_is_likely_and_none_is_equivalent():
    assert bayesian_signed_rank([0.02] * 10, 0.001)[2] > 0.99
    assert bayesian_signed_rank([-0.02] * 10, 0.001)[0] > 0.99
    assert bayesian_signed_rank([0.0001, -0.0001] * 5, 0.001)[1] == 1.0
    low, _, high = bayesian_signed_rank([0.02, -0.02] * 5, 0.001)
    assert low == pytest.approx(high, abs=0.03)


def test_a_single_difference_equals_the_closed_form():
    """Weights (w, 1 − w) uniform: (1 − w)² + 2w(1 − w) > w² where w < 1/√2."""
    worse, equal, better = bayesian_signed_rank([1.0], 0.1, draws=100_000)
    assert worse == 0.0
    assert better == pytest.approx(np.sqrt(0.5), abs=0.005)
    assert equal == pytest.approx(1 - np.sqrt(0.5), abs=0.005)


def test_encodings_of_one_source_count_once_and_drawn_data_not_at_all(aucs):
    frame = frame_of(aucs)
    sources = {f"data{row}": f"source{row // 2}" for row in range(7)}  # data7 is left out
    found = rank_tables(frame, sources)
    means = np.array([aucs[[0, 1]].mean(0), aucs[[2, 3]].mean(0), aucs[[4, 5]].mean(0), aucs[6]])
    expected = dict(zip(METHODS, stats.rankdata(-means, axis=1).mean(axis=0), strict=True))
    assert found.ranks.set_index("method")["mean_rank"].to_dict() == pytest.approx(expected)
    assert set(found.ranks["blocks"]) == {4}


def test_sources_come_from_records_and_names_stand_in_for_those_without():
    def data(source):
        return DataSpec(
            spec="d", table_fingerprint="t", split_seed=0, split_fingerprint="s", source=source
        )

    known = [("a", data("one")), ("b", data("one")), ("c", data("")), ("d", data("drawn"))]
    assert sources_of(known) == {"a": "one", "b": "one", "c": "c"}


def test_methods_that_are_equal_everywhere_have_no_difference():
    cells = [
        {"dataset": f"d{number}", "method": method, "auc": 0.7 + number / 100}
        for number in range(6)
        for method in "abc"
    ]
    frame = pd.DataFrame(cells).assign(backbone="fm", budget="5%", status="ok")
    tables = rank_tables(frame, {name: name for name in frame["dataset"]})
    assert tables.tests[["friedman", "p"]].to_numpy().tolist() == [[0.0, 1.0]]
    assert set(tables.ranks["mean_rank"]) == {2.0}
