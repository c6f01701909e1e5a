"""Leaderboards whose plans have folds, finalists and primary contrasts."""

import shutil
from types import SimpleNamespace

import made_board
import pandas as pd
import pytest
from record_factory import record, spec

from pepbench.analysis.cells import cells_of
from pepbench.errors import RecordError
from pepbench.leaderboards import record_reuse
from pepbench.leaderboards.board_page import limits_reached, time_table
from pepbench.leaderboards.board_results import load_results
from pepbench.leaderboards.boards import Board
from pepbench.leaderboards.publish import publish
from pepbench.leaderboards.record_packing import RECORDS_FILE, packed
from pepbench.leaderboards.record_reuse import reuse_records
from pepbench.leaderboards.table_checks import other_figure
from pepbench.leaderboards.verify import complete_cells
from pepbench.plan import PLAN_FILE, Plan
from pepbench.records import EpochRecord, RecordStore
from pepbench.report.page.tables import protocol_rows

PLAN = """\
methods = ["uniform", "full"]
datasets = ["synthetic:rows=2000:features=60:fields=4"]
backbones = ["fm"]
budgets = ["50%"]
dim = 4
trials = 2
finalists = 2
finalist_seeds = 1
folds = 3
epochs = 2
batch_size = 256

[[contrast]]
methods = ["uniform", "full"]
budgets = ["50%"]
"""


def of_fold(fold, role, seed, folds=2, **figures):
    made = spec(role=role, seed=seed)
    data = made.data.model_copy(update={"fold": fold, "folds": folds})
    return record(made.model_copy(update={"data": data}), **figures)


def cell_records(fold):
    return [of_fold(fold, role, 10 * fold + n) for n, role in enumerate(ROLES)]


ROLES = ("tuning", "finalist", "final")


def test_a_full_table_has_the_mean_size_of_all_folds_in_every_cell():
    """Also where a cell has no final run: all cells of a board are shares of one number."""
    made = []
    for fold, full in enumerate((10_000, 10_300)):
        for budget, role in (("10%", "final"), ("5%", "tuning")):
            one = of_fold(fold, role, 1).spec
            changed = one.model_copy(update={"budget": budget, "full_parameters": full})
            made.append(record(changed, "infeasible", reason="too small"))
    assert [cell.full_parameters for cell in cells_of(made)] == [10_150, 10_150]


def test_a_cell_is_verified_fold_by_fold_with_its_finalists(tmp_path):
    made = [*cell_records(0), *cell_records(1)]
    made[-1] = made[-1].model_copy(update={"status": "failed"})
    (found,) = complete_cells(Board("b", tmp_path), made)
    assert list(found.records) == made[:3]
    assert found.name.endswith(", fold 1/2")


def grown(tmp_path, trials, epochs):
    """What :func:`reuse_records` takes for a plan that grew, with records of the earlier one."""
    board, work = Board("b", tmp_path), tmp_path / "work"
    made = cell_records(1)
    earlier = board.work_folder(work, Plan(trials=1))
    for one in made:
        RecordStore(earlier).put(one)
    (earlier / PLAN_FILE).write_text(Plan(trials=1, finalists=1).to_toml())
    excepted = {"methods": ["pep"], "epochs": epochs, "patience": 2, "reason": "slow"}
    whole = Plan.load(None, {"trials": trials, "finalists": 1, "seeds": 9, "except": [excepted]})
    plan = whole.of_cell("toy", "fm", "pep", "10%")
    cell = SimpleNamespace(
        place=(made[0].spec.cell, 1),
        data=made[0].spec.data.model_copy(update={"source": "elsewhere"}),
        plan=plan,
        tuning_seed=10,
        finalist_seeds=lambda: [11],
        final_seeds=lambda: [12],
    )
    return board, work, whole, [cell]


@pytest.mark.parametrize(
    ("trials", "epochs", "roles"), [(1, 5, set(ROLES)), (2, 5, {"tuning"}), (1, 6, set())]
)
def test_after_more_trials_the_choice_is_made_anew(tmp_path, trials, epochs, roles):
    board, work, whole, cells = grown(tmp_path, trials, epochs)
    assert reuse_records(board, work, whole, cells) == len(roles)
    assert {r.spec.role for r in RecordStore(board.work_folder(work, whole))} == roles


def test_published_records_are_reused_but_for_the_final_runs(tmp_path):
    board, work, whole, cells = grown(tmp_path, 1, 5)
    (earlier,) = work.iterdir()
    plan = (earlier / PLAN_FILE).read_text()
    made = list(RecordStore(earlier))
    shutil.rmtree(work)
    (board.folder / RECORDS_FILE).write_bytes(packed(made))
    assert reuse_records(board, work, whole, cells) == 0  # By what plan, the file does not say.
    (board.folder / RECORDS_FILE).write_bytes(packed(made, plan + "dim = 31"))
    assert reuse_records(board, work, whole, cells) == 0
    (board.folder / RECORDS_FILE).write_bytes(packed(made, plan))
    assert reuse_records(board, work, whole, cells) == 2
    reused = {r.spec.role for r in RecordStore(board.work_folder(work, whole))}
    assert reused == {"tuning", "finalist"}


def test_two_processes_may_reuse_records_at_the_same_time(tmp_path, monkeypatch):
    board, work, whole, cells = grown(tmp_path, 2, 5)
    write, other = record_reuse.write_atomically, []

    def meanwhile(path, content):
        write(path, content)
        if not other:
            other.append(None)
            other.append(reuse_records(board, work, whole, cells))

    monkeypatch.setattr(record_reuse, "write_atomically", meanwhile)
    assert (reuse_records(board, work, whole, cells), other[1]) == (0, 1)
    assert len(list(RecordStore(board.work_folder(work, whole)))) == 1
    assert not list(work.glob(".*"))


def test_time_of_finalists_has_a_column_where_there_are_any():
    made = cell_records(0)
    assert "   finalists |" in time_table(made)
    assert "finalists" not in time_table([made[0], made[2]])


def test_final_runs_at_the_end_of_a_range_or_in_the_last_epoch_are_counted():
    def final(rate, l2, goals, role="final"):
        made = spec(role=role)
        update = {"learning_rate": rate, "l2": l2, "epochs": 3}
        training = made.training.model_copy(update=update)
        curve = [
            EpochRecord(epoch=n, train_loss=0.5, auc=auc, log_loss=0.5)
            for n, auc in enumerate(goals, 1)
        ]
        return record(made.model_copy(update={"training": training}), curve=curve)

    made = [
        final(0.0299, 1e-5, [0.6, 0.7, 0.8]),
        final(0.001, 1e-7, [0.6, 0.8, 0.7]),
        final(0.02, 9e-4, [0.6, 0.8]),
        final(0.0299, 1e-7, [0.6, 0.7, 0.8], role="tuning"),
    ]
    # A tenth of the range on a logarithmic scale: from 0.0213, to 0.00141, from 4e-4, to 2.5e-7.
    last, rates, l2 = limits_reached(made, Plan(tune_learning_rate=(0.001, 0.03)))
    assert last.startswith("In 1 of 3 final runs")
    assert rates.startswith("In 1 of 3 final runs the learning rate is in the upper tenth")
    assert "in 1 in the lower" in rates
    assert (l2.count("In 1 of 3"), l2.count("in 1 in the lower")) == (1, 1)


@pytest.mark.slow
def test_published_folds_have_a_contrast_table_that_is_verified(pepbench, tmp_path):
    folder = tmp_path / "results" / "folds"
    folder.mkdir(parents=True)
    (folder / "plan.toml").write_text(PLAN)
    ran = pepbench("leaderboard", "folds", "--work=work", "--jobs=1", "--quiet")
    assert ran.code == 0, ran.err
    (row,) = pd.read_csv(folder / "contrasts.csv").query("primary").to_dict("records")
    assert (row["method"], row["other"], row["folds"]) == ("uniform", "full", 3)
    assert "in each of 3 folds" in (folder / "details.md").read_text()
    overall = (tmp_path / "results" / "README.md").read_text()
    assert "](contrasts.png)" in overall
    assert "| uniform − full" in overall
    assert (tmp_path / "results" / "contrasts.png").stat().st_size > 10_000
    verified = pepbench("leaderboard", "folds", "--verify", "--jobs=1")
    assert verified.code == 0, verified.out
    assert "contrasts.csv: as the records give it" in verified.out
    assert "/3: run again (same platform): predictions have the recorded" in verified.out
    shown = pepbench("leaderboard", "folds", "--metric", "logloss")
    assert "Δ(−log loss)" in shown.out
    refused = pepbench("leaderboard", "folds", "--metric", "gauc")
    assert (refused.code, len(refused.err.strip().splitlines())) == (2, 1)
    page = folder / "contrasts.csv"
    page.write_text(page.read_text().replace("uniform", "uniforn"))
    plan = folder / "plan.toml"
    plan.write_text(PLAN.replace("folds = 3", "folds = 2"))
    out = pepbench("leaderboard", "folds", "--verify", "--jobs=1").out
    assert "contrasts.csv: line" in out
    assert "not follow from the plan" in out


@pytest.mark.usefixtures("nothing_drawn")
def test_a_board_can_be_published_with_some_of_its_folds(pepbench, tmp_path, monkeypatch):
    board, work = Board("b", tmp_path / "results" / "b"), tmp_path / "work"
    plan = made_board.PLAN.replace("folds = 4", "folds = 4\nonly_folds = [1, 2, 4]")
    for folder in (board.folder, work):
        folder.mkdir(parents=True)
        (folder / PLAN_FILE).write_text(plan)
    for one in made_board.records_of(Plan.load(work / PLAN_FILE, {})):
        RecordStore(work).put(one)
    monkeypatch.setattr("pepbench.leaderboards.publish._write_report", lambda *_: [])
    final = next(one for one in RecordStore(work) if one.spec.role == "final")
    path = work / "records" / f"{final.key}.json"
    whole = path.read_bytes()
    path.unlink()
    with pytest.raises(RecordError, match="of the chosen trial are there"):
        publish(board, work)
    path.write_bytes(whole)
    results = publish(board, work)
    assert set(results.frame["status"]) == {"ok"}
    assert set(results.frame["folds"]) == {3}
    aucs = made_board.test_aucs("uniform", "50%")[[0, 1, 3]]
    (auc,) = results.frame.query("method == 'uniform' and budget == '50%'")["auc"]
    assert auc == pytest.approx(aucs.mean())
    assert other_figure(board, results) == ""
    shown = pepbench("leaderboard", "b", "--metric", "logloss")
    assert (shown.code, "incomplete" in shown.out) == (0, False)


@pytest.fixture
def verdicts(tmp_path):
    """A board over folds with a contrast, published."""
    plan = made_board.PLAN + '\n[[contrast]]\nmethods = ["uniform", "full"]\nbudgets = ["50%"]\n'
    (tmp_path / "plan.toml").write_text(plan)
    records = made_board.records_of(Plan.load(tmp_path / "plan.toml", {}))
    folder = made_board.write_board(tmp_path / "results" / "b", records, plan)
    made_board.publish_board(folder, [("uniform", "full", "50%")])
    return Board("b", folder)


def test_what_is_published_over_folds_follows_from_the_records(verdicts):
    assert other_figure(verdicts, load_results(verdicts.folder)) == ""


@pytest.mark.parametrize(
    ("table", "column", "value"),
    [
        ("contrasts", "verdict", "better"),
        ("contrasts", "standard_error", 1e-9),
        ("contrasts", "folds_won", 0.0),
        ("comparisons", "p_noninferior", 1e-9),
        ("comparisons", "verdict", "equivalent"),
        ("frame", "auc", 0.9),
        ("frame", "delta_low", 0.5),
        ("frame", "verdict", "better"),
    ],
)
def test_a_published_figure_that_is_not_that_of_the_records_is_found(
    verdicts, table, column, value
):
    results = load_results(verdicts.folder)
    frame = getattr(results, table)
    chosen = (frame["method"] == "uniform") & (frame["budget"] == "50%")
    frame.loc[chosen, column] = value
    assert f"{column} is {value}, and " in other_figure(verdicts, results)


def test_a_published_contrast_that_the_plan_does_not_name_is_found(verdicts):
    results = load_results(verdicts.folder)
    results.contrasts["primary"] = True
    assert other_figure(verdicts, results).endswith("uniform, False: not published")


def test_other_metrics_of_two_folds_need_predictions(pepbench, tmp_path):
    folder = tmp_path / "results" / "two"
    (tmp_path / "plan.toml").write_text(made_board.PLAN)
    records = made_board.records_of(Plan.load(tmp_path / "plan.toml", {}))
    two = [record for record in records if record.spec.data.fold < 2]
    made_board.publish_board(made_board.write_board(folder, two))
    refused = pepbench("leaderboard", "two", "--metric", "logloss")
    assert (refused.code, refused.err.count("\n")) == (2, 1)
    assert "two has fewer than 3 folds" in refused.err


@pytest.mark.slow
def test_charts_and_report_over_folds_are_drawn_from_what_is_published(tmp_path):
    board, work = Board("b", tmp_path / "results" / "b"), tmp_path / "work" / "b"
    plan = made_board.PLAN + '\n[[contrast]]\nmethods = ["uniform", "full"]\nbudgets = ["50%"]\n'
    for folder in (board.folder, work):
        folder.mkdir(parents=True)
        (folder / PLAN_FILE).write_text(plan)
    for one in made_board.records_of(Plan.load(work / PLAN_FILE, {})):
        RecordStore(work).put(one)
    publish(board, work)
    files = {path.name: path.read_bytes() for path in board.folder.iterdir()}
    assert b'href="records.parquet"' in files["report.html"]
    for name in ("report.html", "forest.svg", "pareto-auc.svg", "pareto.png", "fronts.csv"):
        (board.folder / name).unlink()
    shutil.rmtree(work)
    publish(board, work)
    assert {path.name: path.read_bytes() for path in board.folder.iterdir()} == files


def test_draws_that_no_setting_made_feasible_are_not_taken_for_unequal_trials():
    """Where a method has few choices, the same trial is drawn again: its cell has fewer records."""
    feasible = [of_fold(0, role, n) for n, role in enumerate(("tuning", "tuning", "final"))]
    small = of_fold(0, "tuning", 9).spec.model_copy(update={"budget": "5%"})
    (row,) = protocol_rows([*feasible, record(small, "infeasible", reason="too small")])
    assert row["facts"]["trials a cell and fold"] == "2"
