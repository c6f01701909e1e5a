"""The margin of equivalence: from the plan or the command line, and said wherever it decides."""

import json

import pytest
from record_factory import run_of
from run_folders import stored

from pepbench.errors import PlanError, RecordError
from pepbench.plan import Plan
from pepbench.records import MARGIN
from pepbench.report.beside_board import opened
from pepbench.report.findings import contrasts_of, json_document, load_runs, margin_of
from pepbench.report.page.html import report_html
from pepbench.report.write import report_markdown

WIDE = 0.2


def folder_of(path, plan=""):
    run = run_of()
    run.add(0.0, method="full", budget="100%")
    run.add(0.3, method="pep", budget="10%")
    stored(run, path)
    if plan is not None:
        (path / "plan.toml").write_text(plan)
    return path


def verdict(findings):
    return findings.frame.set_index("method").loc["pep", "verdict"]


def test_plan_and_reports_agree_on_the_default(tmp_path):
    assert Plan().margin == MARGIN
    assert margin_of([folder_of(tmp_path)]) == MARGIN
    assert margin_of([tmp_path / "no plan"]) == MARGIN


@pytest.mark.slow
def test_the_plans_margin_decides_and_is_said_everywhere(tmp_path):
    narrow = load_runs([folder_of(tmp_path / "narrow")])
    wide = load_runs([folder_of(tmp_path / "wide", f"margin = {WIDE}\n")])
    assert (verdict(narrow), verdict(wide)) == ("worse", "equivalent")
    assert wide.frame["auc_low"].equals(narrow.frame["auc_low"])
    (front,) = wide.fronts
    assert [entry["compression"] for entry in front["parity"]] == [10.0]
    markdown, page = report_markdown(wide), report_html(wide, tmp_path / "wide")
    assert "within ±0.2 (two one-sided" in markdown
    assert "less than 0.2 below" in page
    assert "0.001" not in page.split('<pre tabindex="0">')[0].split("</style>")[1]
    assert json_document(tmp_path, wide)["margin"] == WIDE


def test_the_command_line_prevails(tmp_path):
    folder = folder_of(tmp_path / "run", f"margin = {WIDE}\n")
    assert verdict(load_runs([folder], margin=0.001)) == "worse"


def test_runs_with_different_margins_want_one_to_be_chosen(tmp_path):
    folders = [folder_of(tmp_path / "a"), folder_of(tmp_path / "b", "margin = 0.002\n")]
    with pytest.raises(RecordError, match=r"margins \(0.001 and 0.002\).*--margin"):
        load_runs(folders)
    assert load_runs(folders, margin=0.002).margin == 0.002


@pytest.mark.parametrize("text", ["0", "-0.001", "0.5", "nan", '"wide"', "true"])
def test_what_cannot_be_a_margin_is_refused(tmp_path, text):
    folder = folder_of(tmp_path / "run", f"margin = {text}\n")
    with pytest.raises(PlanError, match=r"plan.toml: margin"):
        load_runs([folder])
    with pytest.raises(PlanError, match="margin"):
        Plan.load(folder / "plan.toml", {})


def test_a_plan_that_cannot_be_read_ends_a_report_in_one_line(pepbench, tmp_path):
    """Its margin, contrasts and folds would else be left out without a word."""
    folder = folder_of(tmp_path / "run", "margin = = 3\n")
    ran = pepbench("report", folder)
    assert (ran.code, len(ran.err.strip().splitlines())) == (2, 1)
    assert "plan.toml: is not valid TOML" in ran.err
    for read in (margin_of, contrasts_of, opened):
        with pytest.raises(PlanError, match=r"plan.toml: is not valid TOML"):
            read([folder])


@pytest.mark.parametrize("margin", ["0.7", "0", "-1"])
def test_commands_refuse_it_in_one_line(pepbench, tmp_path, margin):
    folder = folder_of(tmp_path / "run")
    for arguments in (("report", folder), ("compare", "pep", "full", folder), ("run", "--dry-run")):
        ran = pepbench(*arguments, f"--margin={margin}")
        assert ran.code == 2
        assert "--margin" in ran.err
        assert len(ran.err.strip().splitlines()) == 1


def test_compare_judges_by_it_and_tells_it(pepbench, tmp_path):
    folder = folder_of(tmp_path / "run")
    wide = json.loads(pepbench("compare", "pep", "full", folder, f"--margin={WIDE}", "--json").out)
    assert [(one["margin"], one["verdict"]) for one in wide] == [(WIDE, "equivalent")]
    assert "(margin 0.2)" in pepbench("compare", "pep", "full", folder, "--margin=0.2").out
    assert "(margin 0.001)" in pepbench("compare", "pep", "full", folder).out


@pytest.mark.slow
def test_a_run_goes_on_under_another_margin(tiny_run, tmp_path):
    common = ("--methods=uniform,full", "--budgets=50%", "--out=run")
    assert tiny_run(*common).code == 0
    made = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "run/records").iterdir()}
    assert "margin" not in (tmp_path / "run" / "plan.toml").read_text()
    again = tiny_run(*common, "--margin=0.01")
    assert again.code == 0, again.err
    assert "margin of verdicts: 0.01" in " ".join(again.out.split())
    assert {p.name: p.stat().st_mtime_ns for p in (tmp_path / "run/records").iterdir()} == made
    assert Plan.load(tmp_path / "run" / "plan.toml", {}).margin == 0.01


def test_plans_that_differ_in_it_share_their_folder():
    assert Plan().digest() == Plan(margin=0.01).digest() != Plan(dim=8).digest()
    assert Plan(margin=0.01).decides_as(Plan())
    assert not Plan(margin=0.01).decides_as(Plan(dim=8))
