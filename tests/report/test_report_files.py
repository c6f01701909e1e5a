from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from record_factory import SPLIT, run_of, typical_run
from run_folders import stored

from pepbench.analysis.frames import COLUMNS
from pepbench.analysis.leaderboard import analyse
from pepbench.errors import RecordError
from pepbench.report.charts.panels import svg_bytes
from pepbench.report.charts.pareto import ABSOLUTE, front_chart
from pepbench.report.charts.style import marks
from pepbench.report.findings import json_document, load_runs
from pepbench.report.write import report_markdown, write_reports


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    stored(typical_run(), folder)
    return folder


@pytest.fixture(scope="module")
def written(folder, tmp_path_factory):
    """The files of a report of it."""
    return write_reports(tmp_path_factory.mktemp("report"), load_runs([folder]))


@pytest.mark.slow
def test_files_are_named_whole(written):
    names = ["report.html", *(f"leaderboard.{kind}" for kind in ("csv", "md", "tex", "parquet"))]
    fronts = ("pareto", "pareto-bytes", "pareto-time", "pareto-auc")
    for chart in (*fronts, "forest", "learning-curves", "tuning"):
        names += [f"{chart}.svg", f"{chart}.png"]
    names += ["fronts.csv", "contrasts.csv", "comparisons.csv", "pairs.csv"]
    assert [path.name for path in written] == names
    assert sorted(path.name for path in written[0].parent.iterdir()) == sorted(names)
    pictures = [path for path in written if path.suffix == ".png"]
    assert all(path.read_bytes().startswith(b"\x89PNG") for path in pictures)


@pytest.mark.slow
def test_another_process_writes_the_same_bytes(folder, written, tmp_path):
    program = (
        "import sys, pathlib\n"
        "from pepbench.report.findings import load_runs\n"
        "from pepbench.report.write import write_reports\n"
        "write_reports(pathlib.Path(sys.argv[2]), load_runs([pathlib.Path(sys.argv[1])]))\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run(
        [sys.executable, "-c", program, str(folder), str(tmp_path)],
        check=True,
        # Sums of one thread and of several differ in the last bit, so that threads are as here.
        env=os.environ | {"PYTHONHASHSEED": "7", "PATH": ""},
    )
    for path in written:
        assert path.read_bytes() == (tmp_path / path.name).read_bytes(), path.name


@pytest.mark.slow
def test_five_data_sets_bring_a_critical_difference_diagram(tmp_path):
    run = run_of(300)
    for dataset in ("ant", "bee", "cat", "dog", "elk"):
        for noise, method in enumerate(("pep", "mde", "hash")):
            run.add(0.4 * noise, 2, dataset=dataset, method=method, budget="10%")
    stored(run, tmp_path)
    names = {path.name for path in write_reports(tmp_path, load_runs([tmp_path]))}
    assert {"critical-difference.svg", "critical-difference.png"} <= names
    page = (tmp_path / "report.html").read_text()
    assert "At 10%, 3 methods on 5 data sets: Friedman&#39;s p = " in page
    assert "![Mean ranks](critical-difference.svg)" in (tmp_path / "leaderboard.md").read_text()


def test_json_document_is_strict_json_with_the_contracts_keys(folder):
    findings = load_runs([folder])
    document = json_document(folder, findings)
    assert list(document) == [
        "folder",
        "metric",
        "margin",
        "contrasts",
        "cells",
        "fronts",
        "widths",
        "failed",
    ]
    assert document["widths"] == []
    read = json.loads(json.dumps(document, allow_nan=False))
    assert all(tuple(cell) == COLUMNS for cell in read["cells"])
    assert len(read["cells"]) == len(findings.frame)
    assert read["failed"] == 1
    full = read["cells"][0]
    assert full["delta_auc"] is None
    assert (full["parameters"], full["on_front"], full["verdict"]) == (10_000, False, "reference")


def test_an_empty_folder_is_refused_with_the_command_that_fills_it(tmp_path):
    with pytest.raises(RecordError, match=r"no records in .*; run: pepbench run --out "):
        load_runs([tmp_path])


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(RecordError, match="nothing: no such folder; give the folder of a run"):
        load_runs([tmp_path / "nothing"])


@pytest.mark.parametrize("damage", ["missing", "damaged"])
def test_lost_predictions_cost_one_comparison_and_are_reported(tmp_path, damage):
    run = typical_run()
    store = stored(run, tmp_path)
    lost = next(r for r in run.records if r.spec.method.spec == "pep" and r.key in run.predictions)
    path = store.prediction_path(lost.key)
    path.unlink()
    if damage == "damaged":
        path.write_bytes(b"nonsense")
    warnings: list[str] = []
    frame = load_runs([tmp_path], warnings.append).frame
    assert frame["delta_auc"].notna().sum() == 7
    assert frame["auc"].notna().sum() == 10
    assert any("no comparison: the predictions of run" in line for line in warnings)


@pytest.mark.slow
def test_lost_labels_leave_the_recorded_figures(tmp_path):
    store = stored(typical_run(), tmp_path)
    store.labels_path(SPLIT).unlink()
    findings = load_runs([tmp_path])
    assert findings.frame["auc"].notna().sum() == 10
    assert findings.frame["delta_auc"].isna().all()
    write_reports(tmp_path, findings)


def test_chart_escapes_names_and_draws_every_ok_cell(analysed):
    frame, _ = analysed
    frame = frame.assign(method=frame["method"].replace("mde", "<script>"))
    svg = svg_bytes(front_chart(frame, ABSOLUTE).picture()).decode()
    assert "<script>" not in svg
    assert "&lt;script&gt;" in svg
    assert svg.count('aria-roledescription="point"') == 10
    assert "toy · fm" in svg
    assert "two · fm" in svg


def test_chart_of_a_run_without_finished_cells_says_so(analysed):
    frame, _ = analysed
    svg = svg_bytes(front_chart(frame[frame["status"] != "ok"]).picture()).decode()
    assert "no cell has finished" in svg


def test_chart_of_a_single_cell_and_of_an_empty_table_can_be_drawn():
    run = run_of(200)
    run.add(0.1, seeds=1, parameters=0, method="pep", budget="10%")
    frame = analyse(run.records, run.load_predictions, run.load_labels).frame
    assert b"pep" in svg_bytes(front_chart(frame).picture())


def test_a_method_looks_the_same_whatever_else_is_drawn():
    everything = marks(["pep", "mde", "uniform", "full", "magnitude", "random-mask"])
    for name, mark in everything.items():
        assert marks([name])[name] == mark


@pytest.mark.parametrize(("count", "colours"), [(8, 8), (64, 8)])
def test_marks_are_distinct(count, colours):
    assigned = marks(f"method-{number}" for number in np.arange(count))
    assert len(set(assigned.values())) == count
    assert len({mark.colour for mark in assigned.values()}) == colours


def test_a_runs_page_tells_each_hypervolume_once_with_its_interval(folder):
    page = report_markdown(load_runs([folder]))
    told = [line for line in page.splitlines() if "Hypervolume of the front" in line]
    assert len(told) == 2
    assert all("95% interval" in line for line in told)
