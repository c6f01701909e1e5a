"""What ``pepbench leaderboard --verify`` finds."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pepbench.leaderboards import verify as verifying
from pepbench.leaderboards.boards import Board
from pepbench.leaderboards.record_packing import packed, unpacked

pytestmark = pytest.mark.slow


def changed(path, column, value, where):
    """Change one figure of a frame's file."""
    table = pq.read_table(path)
    frame = table.to_pandas()
    frame.loc[where(frame), column] = value
    again = pa.Table.from_pandas(frame, table.schema, preserve_index=False)
    pq.write_table(again.replace_schema_metadata(table.schema.metadata), path)


def test_published_leaderboard_is_in_step_and_its_cell_comes_out_the_same(board):
    ran = board.verify()
    assert ran.code == 0, ran.out
    assert "same platform): predictions have the recorded checksums" in ran.out
    assert ", 0 failed" in ran.out


@pytest.mark.parametrize("name", ["leaderboard.csv", "leaderboard.md", "README.md", "details.md"])
@pytest.mark.usefixtures("no_rerun")
def test_table_changed_by_hand_is_found(board, name):
    path = board.folder / name
    path.write_text(path.read_text().replace("full", "fool", 1))
    ran = board.verify()
    assert ran.code == 1
    assert f"WRONG: {path.relative_to(path.parents[2])}" in ran.out


@pytest.mark.parametrize("contrasts", [True, False])
@pytest.mark.usefixtures("no_rerun")
def test_figure_that_no_table_has_is_found_in_hand_written_text(board, monkeypatch, contrasts):
    monkeypatch.setattr(verifying, "has_contrasts", lambda _: contrasts)
    path = board.folder / "README.md"
    path.write_text(f"It gains 0.98765, as surely as 95 %.\n{path.read_text()}")
    ran = board.verify()
    assert ran.code == contrasts
    assert "README.md: in its text but in none of its tables: 0.98765\n" in ran.out


@pytest.mark.usefixtures("no_rerun")
def test_missing_table_is_found(board):
    (board.folder / "leaderboard.csv").unlink()
    ran = board.verify()
    assert (ran.code, "leaderboard.csv: missing" in ran.out) == (1, True)
    as_json = board.verify("--json")
    document = json.loads(as_json.out)
    marks = {True: "good", False: "WRONG", None: "not checked"}
    lines = [f"{marks[check['good']]}: {check['line']}" for check in document["checks"]]
    assert lines == ran.out.splitlines()[:-1]
    assert (as_json.code, document["failed"]) == (1, ran.out.count("WRONG: "))


@pytest.mark.usefixtures("no_rerun")
def test_record_changed_by_hand_is_found(board):
    path = board.folder / "records.parquet"
    records = unpacked(path)
    first = next(r for r in records if r.test is not None)
    better = first.model_copy(update={"test": first.test.model_copy(update={"auc": 0.9})})
    path.write_bytes(packed([better if r is first else r for r in records]))
    ran = board.verify()
    assert ran.code == 1
    assert "leaderboard.csv: line" in ran.out
    assert "its records say" in ran.out


@pytest.mark.usefixtures("no_rerun")
def test_comparison_changed_by_hand_is_found(board):
    changed(board.folder / "comparisons.parquet", "p", 1e-9, lambda f: f["method"] == "uniform")
    ran = board.verify()
    assert ran.code == 1
    assert "do not follow from the others" in ran.out


@pytest.mark.usefixtures("no_rerun")
def test_records_of_another_plan_are_found(board):
    plan = board.folder / "plan.toml"
    plan.write_text(plan.read_text().replace('"uniform", ', ""))
    ran = board.verify()
    assert ran.code == 1
    assert "not follow from the plan" in ran.out


@pytest.mark.usefixtures("no_rerun")
def test_cells_and_trials_that_are_missing_are_found(board):
    path = board.folder / "records.parquet"
    records = unpacked(path)
    final = next(r for r in records if r.spec.role == "final")
    plan = board.folder / "plan.toml"
    for left, text, words in (
        (records, plan.read_text().replace('"full"', '"full", "hash"'), "there are no records"),
        ([r for r in records if r is not final], plan.read_text(), "of the chosen trial are there"),
    ):
        path.write_bytes(packed(left))
        plan.write_text(text)
        ran = board.verify()
        assert (ran.code, words in ran.out) == (1, True), ran.out + ran.err


def test_damaged_file_of_records_is_told_in_one_line(board):
    path = board.folder / "records.parquet"
    path.write_bytes(path.read_bytes()[:-40])
    ran = board.verify()
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "records.parquet: is no whole file of records" in ran.err


@pytest.mark.parametrize("change", [0.0, 1e-3])
def test_other_predictions_of_the_cell_run_again_are_named_and_fail_by_their_auc(board, change):
    def forged(record):
        if not record.predictions_sha256:
            return record
        auc = record.validation.auc + change
        validation = record.validation.model_copy(update={"auc": auc})
        update = {"predictions_sha256": "0" * 64, "validation": validation}
        return record.model_copy(update=update)

    path = board.folder / "records.parquet"
    path.write_bytes(packed([forged(record) for record in unpacked(path)]))
    out = board.verify().out
    assert ("gave other AUCs, by 1.0e-03" in out) == (change > 0)
    assert ("AUCs agree within 0.0001; predictions of" in out) == (change == 0)


def test_final_runs_of_a_former_best_trial_are_not_asked_of_the_plan(board):
    records = list(unpacked(board.folder / "records.parquet"))
    final = next(r for r in records if r.spec.role == "final")
    training = final.spec.training.model_copy(update={"learning_rate": 0.5})
    spec = final.spec.model_copy(update={"training": training})
    former = final.model_copy(update={"key": "f" * 64, "spec": spec})
    where = Board("tiny", board.folder)
    found = verifying.complete_cells(where, [*records, former])
    assert list(found) == list(verifying.complete_cells(where, records)) != []


def test_elsewhere_final_runs_are_repeated_and_compared_by_auc(board, monkeypatch):
    here = verifying.environment(1)
    elsewhere = here.model_copy(update={"cpu": "another"})
    monkeypatch.setattr(verifying, "environment", lambda _: elsewhere)
    ran = board.verify()
    assert ran.code == 0
    assert "another platform): AUCs agree within 0.0001" in ran.out


def test_nothing_published_is_nothing_to_verify(pepbench, tmp_path):
    (tmp_path / "results").mkdir()
    ran = pepbench("leaderboard", "--verify")
    assert ran.code == 0
    assert "no leaderboard is published" in ran.out
    ran = pepbench("leaderboard", "--verify", "--json")
    assert (ran.code, json.loads(ran.out)) == (0, {"checks": [], "failed": 0})


@pytest.mark.parametrize("option", ["--verify", "--metric=gauc"])
def test_a_board_that_is_named_but_only_planned_is_no_success(pepbench, tmp_path, option):
    (tmp_path / "results" / "later").mkdir(parents=True)
    (tmp_path / "results" / "later" / "plan.toml").write_text('methods = ["pep", "full"]')
    ran = pepbench("leaderboard", option, "later")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "later: is planned, but was not run yet; run it: pepbench leaderboard later" in ran.err


@pytest.fixture
def no_rerun(monkeypatch):
    """Tables alone are looked at, in no time."""
    monkeypatch.setattr(
        "pepbench.leaderboards.commands.check_cell",
        lambda *_: verifying.Check(None, "no cell was run again"),
    )
