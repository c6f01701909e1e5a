"""What ``pepbench leaderboard`` leaves in a folder."""

import hashlib
import re

import pandas as pd
import pyarrow.parquet as pq
import pytest
from run_helpers import records

from pepbench.leaderboards.publish import BEGIN, END
from pepbench.leaderboards.record_packing import unpacked
from pepbench.records import RecordStore
from pepbench.report.findings import load_runs
from pepbench.report.write import write_reports

pytestmark = pytest.mark.slow


def work(tmp_path):
    (folder,) = (tmp_path / "work").iterdir()
    return folder


def test_packed_records_are_those_of_the_run_and_can_be_stored_again(board, tmp_path):
    packed = unpacked(board.folder / "records.parquet")
    original = records(work(tmp_path))
    assert packed == original
    assert any(record.curve for record in packed)
    assert any(record.status == "infeasible" for record in packed)
    store = RecordStore(tmp_path / "again")
    for record in packed:
        store.put(record)
        text = (work(tmp_path) / "records" / f"{record.key}.json").read_bytes()
        assert (store.records / f"{record.key}.json").read_bytes() == text


def test_packed_records_name_the_checksum_of_each_prediction_file(board, tmp_path):
    table = pq.read_table(board.folder / "records.parquet").to_pandas()
    finals = table[table["role"] == "final"]
    assert len(finals) == 8
    for row in finals.to_dict("records"):
        content = (work(tmp_path) / "predictions" / f"{row['key']}.npy").read_bytes()
        assert hashlib.sha256(content).hexdigest() == row["predictions_sha256"]


def test_published_tables_are_those_that_a_report_of_the_run_gives(board, tmp_path):
    write_reports(tmp_path / "report", load_runs([work(tmp_path)]))
    given = {path.name: path for path in (tmp_path / "report").iterdir()}
    assert {"leaderboard.csv", "leaderboard.md", "widths.csv", "pareto.png"} <= set(given)
    for name in given:
        bitmap = name.endswith(".png") and name != "pareto.png"
        assert (board.folder / name).exists() is not bitmap
    for name in ("leaderboard.csv", "widths.csv"):
        assert (board.folder / name).read_bytes() == given[name].read_bytes()
    # The report of a run has its predictions, and so an interval of the hypervolume.
    lines = (board.folder / "leaderboard.md").read_text().splitlines()
    page = [line for line in lines if not line.startswith("* Hypervolume")]
    assert set(page) <= set(given["leaderboard.md"].read_text().splitlines())


def test_charts_of_an_earlier_edition_go_and_other_pictures_stay(board):
    old = ["forest.png", "widths-gone.svg", "widths-gone.png"]
    for name in [*old, "drawn-by-hand.png", "drawn-by-hand.svg"]:
        (board.folder / name).write_bytes(b"old")
    before = {path.name for path in board.folder.iterdir()}
    ran = board.call("leaderboard", "tiny", "--work=work", "--tables-only", "--quiet")
    assert ran.code == 0, ran.err
    assert {path.name for path in board.folder.iterdir()} == before - set(old)


def test_without_a_working_folder_what_is_published_is_written_anew(board):
    files = {path.name: path.read_bytes() for path in board.folder.iterdir()}
    for name in ("leaderboard.md", "pareto.svg", "pareto.png", "pareto-bytes.svg"):
        (board.folder / name).unlink()
    ran = board.call("leaderboard", "tiny", "--work=elsewhere", "--tables-only", "--quiet")
    assert ran.code == 0, ran.err
    assert {path.name: path.read_bytes() for path in board.folder.iterdir()} == files


def test_nothing_published_holds_a_row_of_data(board, tmp_path):
    n_test = len(next((work(tmp_path) / "predictions").glob("labels-*.npy")).read_bytes()) - 128
    assert n_test == 200
    for path in board.folder.glob("*.parquet"):
        assert pq.read_metadata(path).num_rows < n_test


def test_page_tells_command_time_versions_and_the_best_of_each_size(board):
    page = (board.folder / "details.md").read_text()
    frame = pd.read_csv(board.folder / "leaderboard.csv")
    best = frame[(frame["budget"] == "50%") & (frame["status"] == "ok")]
    assert "`pepbench leaderboard tiny`" in page
    assert f"| {best.loc[best['auc'].idxmax(), 'method']} " in page
    assert "torch: 2" in page
    assert "Nothing: every cell is run alike." in page
    assert "| all " in page


def test_hand_written_part_of_a_page_stays(undrawn):
    page = undrawn.folder / "README.md"
    generated = page.read_text().split(BEGIN)[1].split(END)[0]
    page.write_text(f"# Mine\n\nBefore.\n\n{BEGIN}\nold\n{END}\n\nAfter.\n")
    ran = undrawn.call("leaderboard", "tiny", "--work=work", "--tables-only", "--quiet")
    assert ran.code == 0
    assert page.read_text() == f"# Mine\n\nBefore.\n\n{BEGIN}{generated}{END}\n\nAfter.\n"


def test_page_without_markers_is_refused_and_left_alone(undrawn):
    page = undrawn.folder / "README.md"
    page.write_text("# Mine\n")
    ran = undrawn.call("leaderboard", "tiny", "--work=work", "--tables-only")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "README.md: needs one line" in ran.err
    assert page.read_text() == "# Mine\n"


def test_plan_that_grew_reuses_the_records_of_the_earlier_one(undrawn, tmp_path):
    plan = undrawn.folder / "plan.toml"
    plan.write_text(plan.read_text().replace('"full"]', '"full", "hash"]'))
    ran = undrawn.call("leaderboard", "tiny", "--work=work", "--jobs=1")
    assert ran.code == 0
    assert "or of an earlier plan, are reused" in ran.err
    finished = len(unpacked(undrawn.folder / "records.parquet"))
    made = int(ran.err.split(" trials run")[0].rsplit(maxsplit=1)[-1])
    assert made == finished - len(records(sorted((tmp_path / "work").iterdir(), key=age)[0]))
    assert "hash" in (undrawn.folder / "leaderboard.csv").read_text()


def age(folder):
    return folder.stat().st_mtime


def test_plan_with_other_settings_starts_anew(undrawn):
    plan = undrawn.folder / "plan.toml"
    plan.write_text(plan.read_text().replace("dim = 4", "dim = 3").replace(', "1"]', "]"))
    ran = undrawn.call("leaderboard", "tiny", "--work=work", "--jobs=1")
    assert " 0 reused" in ran.err
    assert {record.spec.dim for record in unpacked(undrawn.folder / "records.parquet")} == {3}


@pytest.fixture
def drawn_counts(monkeypatch):
    """Ranks count drawn data, which they leave out otherwise, and a single source is enough."""
    monkeypatch.setattr(
        "pepbench.leaderboards.overall_page.sources_of",
        lambda found: {name: name for name, _ in found},
    )
    monkeypatch.setattr("pepbench.leaderboards.overall_page.FEWEST_BLOCKS", 1)


def test_too_few_sources_are_not_ranked_across(undrawn, tmp_path):
    assert undrawn.call("leaderboard", "--overall").code == 0
    ranks = (tmp_path / "results" / "leaderboards.md").read_text().split("## Mean ranks")[1]
    assert "at least 5 sources" in ranks
    assert "| random-mask" not in ranks.split("##")[0]


@pytest.mark.usefixtures("drawn_counts")
def test_overall_page_links_ranks_and_compares(undrawn, tmp_path):
    ran = undrawn.call("leaderboard", "--overall")
    page = (tmp_path / "results" / "leaderboards.md").read_text()
    assert ran.code == 0
    assert "(leaderboards.md), 1 of 1 run" in (tmp_path / "results" / "README.md").read_text()
    assert "[tiny](tiny/README.md)" in page
    assert "ranks are descriptive" in page
    assert "random-mask" in page.split("## Mean ranks")[1]
    assert "## Compression at parity" in page


@pytest.mark.usefixtures("drawn_counts")
def test_budgets_of_the_overall_page_go_from_large_to_small(undrawn, tmp_path):
    plan = undrawn.folder / "plan.toml"
    plan.write_text(plan.read_text().replace('["50%", "0.001k"]', '["30%", "0.1k", "50%"]'))
    assert undrawn.call("leaderboard", "tiny", "--work=work", "--jobs=1", "--quiet").code == 0
    ranks = (tmp_path / "results" / "leaderboards.md").read_text().split("## Mean ranks")[1]
    heading = next(line for line in ranks.splitlines() if line.startswith("|"))
    assert [cell.split()[0] for cell in heading.split("|")[2:-1]] == ["50%", "30%", "0.1k"]


def test_page_on_the_paper_has_a_table_for_each_claim_that_figures_can_tell(undrawn, tmp_path):
    plan = undrawn.folder / "plan.toml"
    methods = '["pep:max_steps=50", "uniform", "full"]'
    plan.write_text(plan.read_text().replace('["uniform", "random-mask", "full"]', methods))
    (tmp_path / "results" / "paper").mkdir()
    assert undrawn.call("leaderboard", "tiny", "--work=work", "--jobs=1", "--quiet").code == 0
    page = (tmp_path / "results" / "paper" / "README.md").read_text()
    sections = dict(re.findall(r"^### (\(\w\)).*?\n(.*?)(?=^###|\Z)", page, re.M | re.S))
    assert list(sections) == ["(a)", "(b)", "(d)", "(e)", "(c)", "(f)"]
    frame = pd.read_csv(undrawn.folder / "leaderboard.csv").set_index(["method", "budget"])
    difference = (
        frame.loc[("pep:max_steps=50", "50%"), "auc"] - frame.loc[("uniform", "50%"), "auc"]
    )
    assert f" {difference:+.4f} (" in sections["(b)"]
    assert "pep:max_steps=50" in sections["(c)"]


def test_unknown_name_is_told_with_the_nearest(undrawn):
    ran = undrawn.call("leaderboard", "tinny")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "did you mean 'tiny'?" in ran.err


def test_missing_results_folder_is_told_in_one_line(pepbench):
    ran = pepbench("leaderboard", "--verify", "--results=nowhere")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "nowhere: no such folder" in ran.err


def test_a_plans_margin_judges_what_is_published(undrawn):
    plan = undrawn.folder / "plan.toml"
    plan.write_text(plan.read_text() + "margin = 0.4\n")
    assert undrawn.verify().code == 1  # what is published was judged by another
    ran = undrawn.call("leaderboard", "tiny", "--work=work", "--tables-only", "--quiet")
    assert ran.code == 0, ran.err
    assert "within ±0.4 (two one-sided" in (undrawn.folder / "leaderboard.md").read_text()
    assert "equivalent" in (undrawn.folder / "leaderboard.csv").read_text()
    assert undrawn.verify().code == 0
