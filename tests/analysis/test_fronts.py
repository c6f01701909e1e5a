from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from record_factory import run_of

from pepbench.analysis.blocks import blocks_of
from pepbench.analysis.bootstrap import drawn_aucs, row_covariance
from pepbench.analysis.cells import cells_of
from pepbench.analysis.comparisons import against_reference
from pepbench.analysis.fronts import crossing, front_tables, points_of
from pepbench.analysis.leaderboard import analyse
from pepbench.analysis.significance import compare
from pepbench.records import MARGIN, PhaseSeconds


def graded_run(rows=1500, seeds=3):
    """Full table, and a method that loses AUC as it gets smaller; a hopeless one beside it."""
    run = run_of(rows)
    run.add(0.0, method="full", budget="100%", seeds=seeds)
    for budget, noise in (("50%", 0.1), ("10%", 0.5), ("2%", 1.0)):
        run.add(noise, method="pep", budget=budget, seeds=seeds)
        run.add(noise + 2.0, method="hash", budget=budget, seeds=seeds)
    return run


def block_of(run):
    (block,) = blocks_of(cells_of(run.records), run.load_predictions, run.load_labels)
    return block


def tables(run, draws=300):
    block = block_of(run)
    return front_tables([(block, against_reference(block, "full", MARGIN))], MARGIN, draws)


@pytest.fixture(scope="module")
def found():
    return tables(graded_run())


def test_clear_points_are_surely_on_the_front_and_hopeless_ones_never(found):
    points = found.points.set_index(["method", "budget"])
    chances = points["front_probability"]
    assert chances["pep", "2%"] == 1.0
    assert chances["pep", "10%"] > 0.99
    assert chances.xs("hash").max() < 0.01
    assert points["on_front"].equals(points["on_bytes_front"])
    assert (chances[points["on_front"]] > 0.5).all()


def test_two_equal_methods_share_the_front():
    run = run_of(800)
    run.add(0.3, method="pep", budget="10%", seeds=4)
    run.add(0.3, method="mde", budget="10%", seeds=4)
    chances = tables(run).points["front_probability"]
    assert chances.sum() == pytest.approx(1.0)
    assert chances.between(0.02, 0.98).all()


def test_what_is_faster_than_all_is_on_the_front_with_time_alone():
    run = graded_run()
    quick = {"search": PhaseSeconds(wall=0.1, cpu=0.1)}
    run.records = [
        made.model_copy(update={"seconds": quick}) if made.spec.method.name == "hash" else made
        for made in run.records
    ]
    points = tables(run).points.set_index(["method", "budget"])
    assert not points.loc["hash", "on_front"].any()
    assert points.loc["hash", "on_time_front"].all()
    assert points["on_front"].equals(points["on_time_front"] & (points["fit_seconds"] > 1))


def test_hypervolume_lies_in_its_interval_and_is_that_of_the_leaderboard(found):
    row = found.summary.iloc[0]
    assert row["low"] < row["hypervolume"] < row["high"]
    points = found.points[found.points["on_front"]].sort_values("parameters")
    widths = -np.diff(np.log10([*points["parameters"], 10_000][::-1]))[::-1]
    assert row["hypervolume"] == pytest.approx(
        (widths * -1 * (points["auc"] - 0.5)).sum() * -1, rel=1e-9
    )


def test_attainment_bands_are_nested_and_hold_the_front(found):
    bands = found.attainment

    def attained(percentile, parameters):
        band = bands[bands["percentile"] == percentile]
        return band.loc[band["parameters"] <= parameters, "auc"].max()

    for point in found.points[found.points["on_front"]].to_dict("records"):
        optimist, middle, sceptic = (
            attained(p, point["parameters"]) for p in sorted(bands["percentile"].unique())
        )
        assert optimist > middle > sceptic
        assert sceptic < point["auc"] < optimist


def test_auc_at_a_cell_of_the_method_is_the_cells(found):
    at = found.at_sizes.query("method == 'pep' and share == 0.1").iloc[0]
    cell = found.points.query("method == 'pep' and budget == '10%'").iloc[0]
    assert at["auc"] == pytest.approx(cell["auc"])
    assert at["low"] < at["auc"] < at["high"]
    assert found.at_sizes["share"].min() >= 0.02


def test_parity_has_an_interval_around_its_estimate(found):
    crossings = found.crossings.set_index("method")
    pep, hopeless = crossings.loc["pep"], crossings.loc["hash"]
    assert pep["compression_low"] <= pep["compression_estimate"] <= pep["compression_high"]
    assert hopeless["compression_estimate"] == pytest.approx(1.0, abs=0.05)
    assert not hopeless["at_smallest"]


def test_between_a_table_and_none_no_parity_is_estimated():
    run = graded_run()
    run.add(0.3, method="none", budget="100%", seeds=4, parameters=0)
    found = tables(run)
    assert found.points.set_index("method").loc["none", "parameters"] == 0
    assert set(found.crossings["method"]) == {"pep", "hash"}


@given(st.lists(st.floats(-1, 1), min_size=1, max_size=6))
def test_a_crossing_is_where_the_line_meets_zero(later):
    gaps = np.array([0.5, *later])
    sizes = np.arange(len(gaps), 0, -1.0)
    size = crossing(sizes, gaps)
    value = np.interp(size, sizes[::-1], gaps[::-1])
    if (gaps >= 0).all():
        assert size == sizes[-1]
    else:
        assert value == pytest.approx(0, abs=1e-9)
        assert (gaps[sizes > size] >= 0).all()


def test_draws_have_the_mean_and_the_variance_of_the_interval():
    run = graded_run(seeds=5)
    block = block_of(run)
    points = points_of(block, draws=20_000)
    np.testing.assert_allclose(points.draws.mean(axis=0), points.aucs, atol=3e-4)
    spread = points.draws.std(axis=0)
    errors = [block.interval(cell).standard_error for cell in points.cells]
    np.testing.assert_allclose(spread, errors, rtol=0.03)


def test_draws_of_a_difference_have_the_variance_of_the_comparison():
    run = graded_run(seeds=4)
    block = block_of(run)
    full, pep = 0, next(i for i, c in enumerate(block.cells) if c.method == "pep")
    drawn = drawn_aucs(block, [full, pep], 20_000)
    lines = [[run.predictions[r.key] for r in block.cells[cell].runs] for cell in (pep, full)]
    expected = compare(run.labels, *lines)
    assert (drawn[:, 1] - drawn[:, 0]).std() == pytest.approx(expected.standard_error, rel=0.03)
    assert row_covariance(block, [full, pep]).shape == (2, 2)


def test_the_same_records_give_the_same_tables():
    run = graded_run(300, 2)
    one, other = (analyse(run.records, run.load_predictions, run.load_labels) for _ in range(2))
    for name in ("points", "summary", "attainment", "at_sizes", "crossings"):
        assert getattr(one.fronts, name).equals(getattr(other.fronts, name))


def test_cells_that_are_not_ok_are_left_out():
    run = graded_run(300, 2)
    run.predictions.clear()
    analysis = analyse(run.records, run.load_predictions, run.load_labels)
    assert analysis.fronts.points.empty
    assert analysis.pairs.empty
    assert math.isfinite(analysis.frame["auc"].max())
