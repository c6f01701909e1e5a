import io
import json
from xml.etree import ElementTree

from check_helpers import ENVIRONMENT, a_baseline
from rich.console import Console

from pepbench.check.findings import Finding
from pepbench.check.output import Checked, as_json, as_junit, as_markdown, as_table

CELL = "data, fm, full, 100%"
LOST = Finding("accuracy", CELL, "worse", True, 0.75, 0.74, "AUC", -0.01, 0.001, "mind <b> | &")
SAME = Finding("size", CELL, "same", False, 10, 10, "parameters")
SLOW = Finding(
    "time", f"{CELL}: train", "within the margin", False, 90.0, 89.0, "steps/s", 0.01, 1.0
)


def checked(*findings, warnings=()):
    return Checked(a_baseline(), ENVIRONMENT, findings, warnings, 12.3)


def printed(outcome, width):
    out = io.StringIO()
    Console(file=out, width=width, color_system=None).print(as_table(outcome))
    return out.getvalue()


def test_junit_has_a_case_for_each_finding_and_a_failure_for_each_regression():
    suite = ElementTree.fromstring(as_junit(checked(LOST, SAME, SLOW)))[0]
    assert (suite.get("tests"), suite.get("failures")) == ("3", "1")
    cases = {case.get("classname"): case for case in suite}
    failure = cases["pepbench.accuracy"].find("failure")
    assert failure.get("message") == "worse: mind <b> | &"
    assert "0.7500, 0.7400, -0.0100, 0.001" in failure.text
    assert cases["pepbench.time"].find("failure") is None


def test_markdown_is_a_table_whose_cells_cannot_break_out():
    text = as_markdown(checked(LOST, SAME, SLOW))
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.replace("\\|", "").count("|") for line in rows} == {8}
    assert "<b>" not in text
    assert text.startswith("## ❌")
    assert as_markdown(checked(SAME)).startswith("## ✅")


def test_json_holds_every_finding():
    document = json.loads(json.dumps(as_json(checked(LOST, SAME, warnings=("mind",)))))
    assert document["failed"] == 1
    assert document["warnings"] == ["mind"]
    assert [finding["verdict"] for finding in document["findings"]] == ["worse", "same"]


def test_the_terminal_says_once_what_all_cells_share():
    text = printed(checked(LOST, SAME, SLOW), 120)
    assert text.splitlines()[0].strip() == "data, fm"
    assert "full, 100%: train" in text
    assert "all 1 counts" in text
    assert "1 of 3 figures have got worse." in text


def test_the_table_fits_eighty_columns():
    assert max(map(len, printed(checked(LOST, SAME, SLOW), 80).splitlines())) <= 80
