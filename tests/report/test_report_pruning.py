"""Pruning curves and attainment bands in charts and on the page."""

import altair as alt
import numpy as np
import pandas as pd
import pytest
from record_factory import record, run_of, spec, typical_run
from run_folders import stored

from pepbench.analysis.leaderboard import analyse
from pepbench.records import KeptRecord
from pepbench.report.charts.curves import PRUNING_COLUMNS, pruning_chart, pruning_frame
from pepbench.report.charts.panels import svg_bytes
from pepbench.report.charts.pareto import ABSOLUTE, front_chart
from pepbench.report.charts.style import marks
from pepbench.report.findings import load_runs
from pepbench.report.page.html import report_html


def pruned_run(points=((0, 10_000), (10, 9_999), (20, 5_000), (30, 1_000))):
    run = run_of(400)
    for method in ("pep", "magnitude", "uniform"):
        run.add(0.3, 2, method=method, budget="10%")
    kept = [KeptRecord(step=step, parameters=left) for step, left in points]
    run.records = [
        one.model_copy(update={"kept": kept if one.spec.method.name != "uniform" else []})
        for one in run.records
    ]
    return run


@pytest.fixture(scope="module")
def drawn():
    run = pruned_run()
    return analyse(run.records, run.load_predictions, run.load_labels), pruning_frame(run.records)


def test_final_runs_of_searches_have_a_curve(drawn):
    _, kept = drawn
    assert tuple(kept.columns) == PRUNING_COLUMNS
    assert set(kept["method"]) == {"pep", "magnitude"}
    one = kept[(kept["method"] == "pep") & (kept["seed"] == 0)]
    assert one["parameters"].tolist() == [10_000, 9_999, 5_000, 1_000]


def test_chart_names_each_method_and_leaves_out_what_cannot_be_seen(drawn):
    analysis, kept = drawn
    (panel,) = pruning_chart(kept, marks(analysis.frame["method"])).panels.values()
    line = panel.to_dict()["layer"][0]["data"]["name"]
    rows = panel.to_dict()["datasets"][line]
    assert [(row["step"], row["parameters"]) for row in rows[:3]] == [
        (0, 10_000),
        (20, 5_000),
        (30, 1_000),
    ]
    svg = svg_bytes(pruning_chart(kept, marks(analysis.frame["method"])).picture()).decode()
    assert ">pep</text>" in svg
    assert ">magnitude</text>" in svg
    assert ">uniform</text>" not in svg


def test_a_search_that_keeps_nothing_or_ends_at_once_is_drawn(drawn):
    analysis, _ = drawn
    run = pruned_run([(0, 0)])
    svg_bytes(pruning_chart(pruning_frame(run.records), marks(analysis.frame["method"])).picture())


@pytest.mark.slow
def test_page_shows_pruning_curves_where_there_are_any(tmp_path):
    stored(pruned_run(), tmp_path / "some")
    stored(typical_run(), tmp_path / "none")
    pages = [
        report_html(load_runs([tmp_path / name]), tmp_path / name) for name in ("some", "none")
    ]
    assert ["Pruning curves" in page for page in pages] == [True, False]


ATTAINMENT = pd.DataFrame(
    [
        ("toy", "fm", 2.5, 1_000, 0.80),
        ("toy", "fm", 2.5, 2_000, 0.90),
        ("toy", "fm", 50.0, 1_000, 0.70),
        ("toy", "fm", 97.5, 1_000, 0.60),
        ("toy", "fm", 97.5, 5_000, 0.75),
    ],
    columns=["dataset", "backbone", "percentile", "parameters", "auc"],
)


def band_of(panel):
    spec = panel.to_dict()
    layer = next(layer for layer in spec["layer"] if layer["mark"].get("type") == "area")
    return spec["datasets"][layer["data"]["name"]]


def test_band_lies_between_what_few_and_what_most_draws_reach(drawn):
    analysis, _ = drawn
    (panel,) = front_chart(analysis.frame, ABSOLUTE, None, ATTAINMENT).panels.values()
    rows = [(row["drawn_at"], row["low"], row["high"]) for row in band_of(panel)]
    assert rows[:-1] == [(1_000, 0.60, 0.80), (2_000, 0.60, 0.90), (5_000, 0.75, 0.90)]
    assert rows[-1][1:] == (0.75, 0.90)  # on to the edge


def test_bands_of_a_run_hold_its_front():
    run = typical_run()
    analysis = analyse(run.records, run.load_predictions, run.load_labels)
    panels = front_chart(analysis.frame, ABSOLUTE, None, analysis.fronts.attainment).panels
    for (dataset, backbone), panel in panels.items():
        rows = pd.DataFrame(band_of(panel))
        frame = analysis.frame
        block = frame[(frame["dataset"] == dataset) & (frame["backbone"] == backbone)]
        front = block[block["on_front"]].sort_values("parameters")
        for size, auc in zip(front["parameters"], front["auc"], strict=True):
            here = rows[rows["drawn_at"] <= size].iloc[-1]
            assert here["low"] <= auc <= here["high"]
        assert (np.diff(rows["low"]) >= 0).all()
        assert (np.diff(rows["high"]) >= 0).all()


def test_chart_says_what_the_band_is_only_where_it_is(drawn):
    analysis, _ = drawn
    with_band = svg_bytes(
        front_chart(analysis.frame, ABSOLUTE, None, ATTAINMENT).picture()
    ).decode()
    assert "Band: " in with_band
    assert "Band: " not in svg_bytes(front_chart(analysis.frame, ABSOLUTE).picture()).decode()


def test_charts_of_many_rows_are_drawn():
    many = [(step, 10_000 - step) for step in range(6_000)]
    run = run_of(200)
    run.add(0.3, 1, method="pep", budget="10%")
    final = spec(method="pep", budget="10%", seed=0)
    kept = [KeptRecord(step=step, parameters=left) for step, left in many]
    run.records[-1] = record(
        final, kept=kept, n_parameters=1000, n_bytes=4000, test=run.records[-1].test
    )
    analysis = analyse(run.records, run.load_predictions, run.load_labels)
    (panel,) = pruning_chart(
        pruning_frame(run.records), marks(analysis.frame["method"])
    ).panels.values()
    assert isinstance(panel, alt.LayerChart)
