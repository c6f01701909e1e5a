"""The page: one file, whole, the same for the same records, and safe."""

import base64
import gzip
import html
import json
import math
import re
from html.parser import HTMLParser

import pytest
from record_factory import record, run_of, spec, typical_run
from run_folders import stored

from pepbench.records import RecordStore
from pepbench.report.charts.style import DARK, marks
from pepbench.report.findings import load_runs
from pepbench.report.page.html import report_html
from pepbench.report.page.tables import with_detail
from pepbench.report.table_rows import chance

HOSTILE = "<script>alert(1)</script>"
CELL = ["dataset", "backbone", "method", "budget"]
VOID = {"meta", "link", "input", "br"}


class Checked(HTMLParser):
    """Tags in balance, every id once, every address."""

    def __init__(self):
        super().__init__()
        self.open, self.ids, self.links, self.tags, self.text = [], [], [], [], []

    def handle_starttag(self, tag, attributes):
        values = dict(attributes)
        self.tags.append(tag)
        self.ids += [values["id"]] if "id" in values else []
        self.links += [values[name] for name in ("href", "src") if name in values]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("script", "style"):
            self.text.append(data)


def checked(page):
    parser = Checked()
    parser.feed(page)
    assert parser.open == []
    return parser


def charts(page):
    packed = re.search(r'id="charts">(.*?)</script>', page).group(1)
    return json.loads(gzip.decompress(base64.b64decode(packed)))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    stored(typical_run(), folder)
    (folder / "plan.toml").write_text('methods = ["pep"]\n')
    return folder


@pytest.fixture(scope="module")
def page(folder):
    return report_html(load_runs([folder]), folder)


def test_page_is_one_whole_file_below_three_megabytes(page):
    parsed = checked(page)
    assert len(page.encode()) < 3e6
    assert len(parsed.ids) == len(set(parsed.ids))
    fetched = [link for link in parsed.links if not link.startswith(("#", "records/", "data:"))]
    assert all(link.startswith(("https://arxiv.org/", "https://doi.org/")) for link in fetched)
    assert "src=" not in re.sub(r"<script.*?</script>", "", page, flags=re.S)


@pytest.mark.slow
def test_page_is_the_same_for_the_same_records(folder, page):
    assert report_html(load_runs([folder]), folder) == page


def test_fronts_come_first_then_the_leaderboard_then_findings_in_words(page):
    text = " ".join(" ".join(checked(page).text).split())
    assert "On toy with fm" in text
    assert "pep is shown to keep parity (within 0.001 AUC) down to 50.0% of the full table" in text
    assert re.search(r"At 10%, \w+ has the highest AUC; its lead over \w+ is", text)
    assert "Failed: mine at 10%" in text
    places = [text.index(words) for words in ("against cost", "Search", "On toy with fm")]
    assert places == sorted(places)


def test_every_cell_has_a_row_and_every_final_run_a_link(folder, page):
    parsed = checked(page)
    cells = load_runs([folder]).frame
    board = page.split('<table id="board">')[1].split("</table>")[0]
    assert board.count("<tr data-method=") == len(cells)
    linked = [link for link in parsed.links if link.startswith("records/")]
    assert len(linked) == int(cells["seeds"].sum())
    assert all((folder / link).is_file() for link in linked)


def test_reasons_are_texts_that_can_be_opened_and_not_only_hovered(page):
    board = page.split('<table id="board">')[1].split("</table>")[0]
    opened = re.findall(r'<details class="why"><summary>.*?</summary><p>(.*?)</p>', board, re.S)
    assert "smallest possible is 625" in opened
    assert html.escape("ValueError: <script> no | luck") in opened
    assert "title=" not in board.split("<tbody>")[1]


def test_verdicts_come_with_units_notes_and_chances(folder, page):
    findings = load_runs([folder])
    text = " ".join(" ".join(checked(page).text).split())
    assert "toy · fm, over rows and seeds" in text
    undecided = findings.comparisons[findings.comparisons["verdict"] == "undecided"]
    for seeds in undecided["seeds_to_decide"]:
        words = f"about {seeds:.0f} seeds of each" if math.isfinite(seeds) else "only more rows"
        assert f"{words} would decide" in text
    points = findings.analysis.fronts.points
    frame = with_detail(findings).set_index(CELL)
    for point in points.to_dict("records"):
        row = frame.loc[tuple(point[name] for name in CELL)]
        assert row["front_probability"] == point["front_probability"]
        assert row["parameters_front"] == chance(point["front_probability"])
    assert frame.loc[("toy", "fm", "uniform", "1%"), "parameters_front"] == ""
    (volume, *_) = findings.analysis.fronts.summary["hypervolume"]
    assert f"Hypervolume of the front: {volume:.3f}"[:-1] in text


def test_plan_and_the_command_that_repeats_it_are_shown(folder, page):
    assert f"pepbench run {folder.name}/plan.toml" in page
    assert html.escape('methods = ["pep"]', quote=True).replace("&quot;", "&#34;") in page


def test_names_from_outside_are_shown_and_never_run(tmp_path):
    run = run_of()
    run.add(0.0, dataset=HOSTILE, method="full", budget="100%")
    run.add(0.1, dataset=HOSTILE, method=HOSTILE, budget="10%")
    trial = spec(dataset=HOSTILE, method="</script><b>", budget="10%", role="tuning")
    run.records.append(record(trial, "failed", reason=HOSTILE))
    stored(run, tmp_path)
    page = report_html(load_runs([tmp_path]), tmp_path)
    parsed = checked(page)
    assert "<script>alert" not in page
    assert parsed.tags.count("script") == 4
    assert "b" not in parsed.tags
    assert HOSTILE in "".join(parsed.text)
    assert HOSTILE in json.dumps(charts(page), ensure_ascii=False)


def test_charts_have_all_cells_and_choose_by_method(page, folder):
    specs = charts(page)
    assert page.count('class="chart"') == len(specs)
    assert all({"chosen", "named"} <= {p["name"] for p in spec["params"]} for spec in specs)
    fronts = [spec for spec in specs if "embedding parameters" in json.dumps(spec)]
    # Differences, and AUCs themselves.
    assert len(fronts) == 2 * load_runs([folder]).frame["dataset"].nunique()


def test_every_colour_of_a_method_has_one_for_dark_pages():
    assert {mark.colour for mark in marks(map(str, range(64))).values()} <= set(DARK)


@pytest.mark.slow
@pytest.mark.nightly
def test_ten_thousand_records_are_a_page_below_three_megabytes(tmp_path):
    store = RecordStore(tmp_path)
    store.records.mkdir()
    run = run_of(40)
    for dataset in ("one", "two", "three", "four"):
        for number in range(100):
            budgets = ("50%", "20%", "10%", "5%", "2%")
            for budget in budgets:
                run.add(0.1, 4, dataset=dataset, method=f"method-{number}", budget=budget)
    assert len(run.records) == 10_000
    for made in run.records:
        (store.records / f"{made.key}.json").write_text(made.model_dump_json())
    page = report_html(load_runs([tmp_path]), tmp_path)
    assert len(page.encode()) < 3e6
    assert page.count("<tr data-method=") >= 2000
    # There are no predictions: no matrix of them, and the reason once for each data set.
    assert "Nothing was compared with the full table" in page
    assert page.count("Not compared, because the test labels are missing or damaged: ") == 4
    assert "method-99 at 2%" in page
