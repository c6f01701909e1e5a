"""The paired front: what is drawn where, and which methods are named."""

import itertools

import pandas as pd
import pytest

from pepbench.analysis.pareto import on_front
from pepbench.report.charts.highlight import MOST_NAMED, highlighted, report_marks
from pepbench.report.charts.panels import svg_bytes
from pepbench.report.charts.pareto import FRONTS, front_chart
from pepbench.report.charts.style import marks
from pepbench.report.phrases import front_pictures
from pepbench.report.terminal.text_plot import front_plot


@pytest.fixture(scope="module")
def toy(analysed):
    frame, _ = analysed
    return frame[(frame["dataset"] == "toy") & (frame["status"] == "ok")]


@pytest.fixture(scope="module")
def crowded(toy):
    """A dozen methods more, all below the others, the last one far below."""
    low = toy[toy["budget"] == "10%"].head(1)
    others = [
        low.assign(method=f"slow{n:02}", auc=0.6, delta_auc=-0.01 - 0.5 * (n == 11), on_front=False)
        for n in range(12)
    ]
    return pd.concat([toy, *others], ignore_index=True)


def rows_of(chart, kind):
    """The rows that a kind of mark draws, of the first panel."""
    spec = next(iter(chart.panels.values())).to_dict()
    layers = [layer for layer in spec["layer"] if layer["mark"]["type"] == kind]
    return [row for layer in layers for row in spec["datasets"][layer["data"]["name"]]]


def test_points_are_differences_to_the_full_table_at_their_sizes(toy):
    named = marks(["pep", "mde"])
    points = pd.DataFrame(rows_of(front_chart(toy, named=named), "point"))
    expected = toy.assign(delta_auc=toy["delta_auc"].fillna(0.0))
    for column, other in (("parameters", "parameters"), ("y", "delta_auc")):
        order = ["parameters", column]
        assert points.sort_values(order)[column].tolist() == pytest.approx(
            expected.sort_values(["parameters", other])[other].tolist()
        )
    bars = pd.DataFrame(rows_of(front_chart(toy, named=named), "rule")).dropna(subset="y_low")
    compared = toy.dropna(subset="delta_auc")
    assert sorted(bars["y_low"]) == pytest.approx(sorted(compared["delta_low"]))
    assert sorted(bars["y_high"]) == pytest.approx(sorted(compared["delta_high"]))


def test_the_front_of_differences_is_that_of_aucs(toy):
    line = pd.DataFrame(
        [row for row in rows_of(front_chart(toy), "line") if "method" not in row]
    ).iloc[:-1]
    best = toy[on_front(toy["parameters"], toy["auc"])].sort_values("parameters")
    assert line["drawn_at"].tolist() == best["parameters"].tolist()
    assert line["y"].tolist() == pytest.approx(best["delta_auc"].fillna(0.0).tolist())


def test_without_a_full_table_aucs_are_drawn(toy):
    alone = toy[toy["method"] == "pep"].assign(delta_auc=float("nan"))
    points = rows_of(front_chart(alone), "point")
    assert sorted(row["y"] for row in points) == pytest.approx(sorted(alone["auc"]))
    svg = svg_bytes(front_chart(alone).picture()).decode()
    assert "test AUC" in svg


def test_without_a_table_a_cell_is_left_of_all_others_and_narrows_them_little(toy):
    least = toy[toy["budget"] == "10%"].head(1)
    zero = least.assign(method="zero", parameters=0, bytes=4, delta_auc=-0.07, auc=0.6)
    frame = pd.concat([toy, zero], ignore_index=True)
    for name in ("pareto", "pareto-bytes"):
        chart = front_chart(frame, name)
        points = pd.DataFrame(rows_of(chart, "point")).set_index("method")["drawn_at"]
        others = points.drop("zero")
        assert others.min() / 4 < points["zero"] < others.min()
        assert {"y": -0.07} in rows_of(chart, "rule")
    assert "without a table" in svg_bytes(front_chart(frame).picture()).decode()
    lines = front_plot(frame)
    assert lines[-2].split()[0] == "0"


@pytest.mark.filterwarnings("error")
def test_a_full_table_alone_is_drawn_without_a_warning(toy):
    alone = toy[toy["method"] == "full"]
    assert "full" in svg_bytes(front_chart(alone).picture()).decode()


def test_at_most_eight_are_named_and_the_rest_is_grey(crowded):
    names = highlighted(crowded)
    assert len(names) == MOST_NAMED == 8
    assert {"pep", "mde"} <= set(names)
    assert "full" not in names
    svg = svg_bytes(front_chart(crowded, named=marks(names)).picture()).decode()
    assert "Grey: other methods" in svg
    # Each name is drawn twice, the first time as its white ground.
    drawn = {name: svg.count(f">{name}</text>") for name in crowded["method"].unique()}
    assert drawn == {name: 2 * (name in (*names, "full")) for name in drawn}


def test_methods_of_primary_contrasts_are_named_wherever_they_stand(crowded):
    contrasts = pd.DataFrame({"method": ["slow10"], "other": ["full"], "primary": [True]})
    assert "slow10" not in highlighted(crowded)
    assert "slow10" in highlighted(crowded, contrasts)
    assert len(highlighted(crowded, contrasts)) == MOST_NAMED


def test_what_lies_below_the_picture_is_marked_at_its_edge(crowded):
    chart = front_chart(crowded, named=marks(highlighted(crowded)))
    below = {row["method"] for row in rows_of(chart, "point") if row.get("below")}
    assert below == {"slow11"}


def test_named_methods_have_colours_of_their_own_whatever_else_is_drawn():
    frame = pd.DataFrame({"method": [f"m{n}" for n in range(30)], "status": "ok"})
    frame = frame.assign(dataset="d", backbone="b", budget="1%", verdict="", auc=0.5)
    frame["on_front"] = frame["method"].isin([f"m{n}" for n in range(20, 28)])
    all_marks = report_marks(frame)
    colours = [all_marks[name].colour for name in highlighted(frame)]
    assert len(set(colours)) == len(colours) == 8
    assert all(one != other for one, other in itertools.combinations(all_marks.values(), 2))


def test_times_are_cpu_seconds(toy):
    points = rows_of(front_chart(toy.assign(cpu_seconds=7.0), "pareto-time"), "point")
    assert {row["drawn_at"] for row in points} == {7.0}


@pytest.mark.parametrize("name", FRONTS)
def test_a_single_cell_without_parameters_can_be_drawn(toy, name):
    single = toy[toy["method"] == "pep"].head(1).assign(parameters=0, bytes=0)
    assert b"pep" in svg_bytes(front_chart(single, name).picture())


def test_where_verdicts_are_about_another_metric_fronts_show_auc(toy):
    other = toy.rename(columns={"delta_auc": "delta_gauc"})
    chart = front_chart(other)
    assert chart.title.startswith("Test AUC")
    points = pd.DataFrame(rows_of(chart, "point"))
    assert sorted(points["y"]) == sorted(toy["auc"])
    assert front_pictures(other)["pareto"] == "AUC against parameters"
    assert front_plot(other)[0].startswith("AUC, by parameters")
