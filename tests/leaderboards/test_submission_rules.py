"""A submission is refused in one line where it is not what the board's plan gives."""

import hashlib
import json
import re
import shutil
from types import SimpleNamespace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from doc_blocks import ROOT
from made_board import PLAN, made_record, publish_board, records_of, test_aucs, write_board
from record_factory import spec

from pepbench.leaderboards.against import against
from pepbench.leaderboards.board_page import submitted_table
from pepbench.leaderboards.boards import find_board
from pepbench.leaderboards.extract import published_extract
from pepbench.leaderboards.record_packing import EXTRACT_FILE, RECORDS_FILE, packed, unpacked
from pepbench.leaderboards.submission_rules import _incomplete
from pepbench.leaderboards.submissions import read_submission
from pepbench.leaderboards.verify import extract_check
from pepbench.plan import PLAN_FILE, Plan
from pepbench.records import DEFAULT_LEARNING_RATE, RecordStore

METHOD = """\
raise SystemExit("this code was run")
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory, session_cache):
    """A board, and a made-up run beside it that claims to be of a method file."""
    return made_beside(tmp_path_factory.mktemp("made"), session_cache, PLAN)


def made_beside(folder, session_cache, plan):
    (folder / "plan.toml").write_text(plan)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEPBENCH_CACHE", str(session_cache))
        patch.chdir(folder)
        records = records_of(Plan.load(folder / "plan.toml", {}))
        write_board(folder / "results" / "made", records, plan)
        compared = against("made", None, (), {"methods": ("low-rank",)})
        store = RecordStore(folder / "run")
        for one in records_of(compared.plan):
            store.put(one)
        (folder / "run" / PLAN_FILE).write_text(compared.plan.to_toml())
        compared.write_beside(folder / "run")
    (folder / "run" / "board" / "method").mkdir()
    (folder / "run" / "board" / "method" / "mine.py").write_text(METHOD)
    return folder


@pytest.fixture
def place(pepbench, made, tmp_path):
    for name in ("results", "run"):
        shutil.copytree(made / name, tmp_path / name)
    return pepbench


INTO = "results/made/submissions/mine"


@pytest.fixture
def submitted(place, tmp_path):
    ran = place("leaderboard", "--submit=run", f"--into={INTO}")
    assert ran.code == 0, ran.err
    return tmp_path / INTO


def test_a_submission_is_checked_without_running_its_code(place, submitted):
    assert {path.name for path in submitted.iterdir()} == {
        "plan.toml",
        "records.parquet",
        "submission.json",
        "method",
    }
    described = json.loads((submitted / "submission.json").read_text())
    assert (described["board"], described["methods"]) == ("made", ["low-rank"])
    ran = place("leaderboard", "--verify", INTO)
    assert ran.code == 0, ran.out + ran.err
    assert "records are complete" in ran.out
    assert "its code was not run" in ran.out
    assert "then add --trust" in ran.out


def test_a_board_of_some_folds_takes_submissions_of_these(pepbench, session_cache, tmp_path):
    some = PLAN.replace("\nseeds = 1", "\nonly_folds = [1, 3, 4]\nseeds = 1")
    assert some != PLAN
    made_beside(tmp_path, session_cache, some)
    assert pepbench("leaderboard", "--submit=run", f"--into={INTO}").code == 0
    ran = pepbench("leaderboard", "--verify", INTO)
    assert ran.code == 0, ran.err


def test_a_cell_that_no_draw_makes_feasible_may_have_fewer_trials(tmp_path):
    """Where a method has few choices, the next draw is the same trial."""
    (tmp_path / PLAN_FILE).write_text(PLAN)
    plan = Plan.load(tmp_path / PLAN_FILE, {"trials": 10})
    tried = [made_record(spec(role="tuning", seed=n), 0.7, status="infeasible") for n in range(7)]
    assert "tuning trials" not in _incomplete(tried, plan)
    tried[0] = made_record(spec(role="tuning", seed=0), 0.7)
    assert _incomplete(tried, plan).startswith("7 tuning trials, and")


def test_boards_and_submissions_are_verified_apart(place, submitted):
    assert place("leaderboard", "--verify", "made", INTO).code == 2
    (submitted / "submission.json").unlink()
    ran = place("leaderboard", "--verify", INTO)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "holds no submission.json" in ran.err


def test_a_board_in_anothers_folder_has_its_whole_name(submitted, tmp_path):
    shutil.copytree(submitted.parents[1], tmp_path / "results" / "other" / "made")
    folder = tmp_path / "results" / "other" / "made"
    assert read_submission(folder / "submissions" / "mine").board.name == "other/made"
    assert find_board("results/other/made").name == "other/made"
    shutil.copytree(folder, tmp_path / "elsewhere")
    assert find_board("elsewhere").name == "elsewhere"


def test_a_later_comparison_shows_it_as_submitted(submitted):
    compared = against("made", None, (), {"methods": ("qr",)})
    assert "low-rank (submitted)" in {one.spec.method.spec for one in compared.records}
    shutil.copytree(submitted, submitted.with_name("again"))
    with pytest.raises(Exception, match="both have a method 'low-rank'"):
        against("made", None, (), {"methods": ("qr",)})


def of_role(role, **changes):
    def change(records):
        first = next(n for n, one in enumerate(records) if one.spec.role == role)
        spec = records[first].spec.model_copy(update=changes)
        records[first] = records[first].model_copy(update={"spec": spec, "key": spec.key()})
        return records

    return change


def too_large(records):
    n = next(n for n, one in enumerate(records) if one.spec.role == "final")
    records[n] = records[n].model_copy(update={"n_parameters": 10**6})
    return records


def one_trial_more(records):
    first = next(one for one in records if one.spec.role == "tuning")
    training = first.spec.training.model_copy(update={"learning_rate": 0.02})
    return [*records, made_record(first.spec.model_copy(update={"training": training}), 0.4)]


def other_epochs(records):
    training = records[0].spec.training.model_copy(update={"epochs": 99})
    return of_role(records[0].spec.role, training=training)(records)


def of_training(role, **changes):
    def change(records):
        first = next(one for one in records if one.spec.role == role)
        training = first.spec.training.model_copy(update=changes)
        return of_role(role, training=training)(records)

    return change


def other_draws(records):
    """Each trial that is not the default one, and what follows from it, with another rate."""
    changed = []
    for one in records:
        training = one.spec.training
        if training.learning_rate != DEFAULT_LEARNING_RATE:
            rate = training.learning_rate * 0.9
            training = training.model_copy(update={"learning_rate": rate})
        spec = one.spec.model_copy(update={"training": training})
        changed.append(one.model_copy(update={"spec": spec, "key": spec.key()}))
    return changed


def better_twin(records):
    n = next(n for n, one in enumerate(records) if one.spec.role == "final")
    test = records[n].test.model_copy(update={"auc": 0.99})
    return [*records, records[n].model_copy(update={"test": test})]


def other_backbone(records):
    backbone = records[0].spec.backbone.model_copy(update={"version": 99})
    return of_role("final", backbone=backbone)(records)


def other_method(records):
    method = records[0].spec.method.model_copy(update={"name": "full"})
    return of_role("tuning", method=method)(records)


def without_test(records):
    return [one.model_copy(update={"test": None}) for one in records]


CHANGES = {
    "other draws": (other_draws, ["1 of 2 tuning trials have other learning rates"]),
    "a run twice": (better_twin, ["a run is there more than once"]),
    "another backbone": (other_backbone, ["options of its backbone are not the board's"]),
    "another method": (other_method, ["several methods or versions: full 1, low-rank 1"]),
    "another device": (of_role("final", device="cuda"), ["device is cuda, and cpu by the plan"]),
    "another objective": (of_training("tuning", objective="logloss"), ["objective is logloss"]),
    "no test AUC": (without_test, ["test AUC is missing"]),
    "a fold is missing": (
        lambda records: [one for one in records if one.spec.data.fold != 2],
        ["fold 3/4: there are no records"],
    ),
    "a final run is missing": (
        lambda records: [r for r in records if r.spec.role != "final" or r.spec.data.fold != 2],
        ["fold 3/4: 2 of 3 runs of finalists and of the chosen trial are there"],
    ),
    "a budget is missing": (
        lambda records: [one for one in records if one.spec.budget != "40%"],
        ["40%, fold 1/4: there are no records"],
    ),
    "more trials": (one_trial_more, ["3 tuning trials, and the board's methods have 2"]),
    "another seed": (of_role("final", seed=5), ["seed is 5"]),
    "another dim": (of_role("tuning", dim=8), ["dim is 8, and 4 by the plan"]),
    "other epochs": (other_epochs, ["epochs is 99, and 2 by the plan"]),
    "another budget": (of_role("final", budget="45%"), ["do not follow from the plan"]),
    "too large": (too_large, ["1000000 parameters are more than"]),
}


@pytest.mark.parametrize(("change", "words"), CHANGES.values(), ids=CHANGES)
def test_records_that_do_not_follow_from_the_plan_are_refused(place, submitted, change, words):
    path = submitted / RECORDS_FILE
    path.write_bytes(packed(change(unpacked(path))))
    ran = place("leaderboard", "--verify", INTO)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    for word in (INTO, *words):
        assert word in ran.err


@pytest.mark.parametrize(
    ("file", "old", "new", "words"),
    [
        ("plan.toml", "patience = 5", "patience = 4", ["patience is 4, and 5 there"]),
        ("plan.toml", '"40%"', '"30%"', ["'30%'"]),
        (
            "plan.toml",
            "folds = 4",
            "folds = 4\nonly_folds = [1, 2]",
            ["folds 3, 4 of 4 are missing"],
        ),
        ("plan.toml", '"low-rank"', '"uniform"', ["a method 'uniform' already"]),
        ("method/mine.py", "run", "fun", ["files are not those that"]),
        ("submission.json", '"board"', '"bored"', ["is no description of a submission"]),
    ],
)
def test_a_changed_plan_or_method_is_refused(place, submitted, file, old, new, words):
    path = submitted / file
    assert old in path.read_text()
    path.write_text(path.read_text().replace(old, new))
    ran = place("leaderboard", "--verify", INTO)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    for word in words:
        assert word in ran.err


def link(folder):
    (folder / "method" / "more.py").symlink_to("/etc/hostname")


def link_to_folder(folder):
    (folder / "method").rename(folder.with_name("elsewhere"))
    (folder / "method").symlink_to(folder.with_name("elsewhere"))


def unlisted_code(folder):
    (folder / "method" / "parts").mkdir()
    (folder / "method" / "parts" / "mine.py").write_text(METHOD)


def large_file(folder):
    with (folder / "records.parquet").open("r+b") as file:
        file.truncate(10**8)


def many_rows(folder):
    table = pa.table({"key": pa.nulls(2 * 10**6, pa.string())})
    pq.write_table(table, folder / "records.parquet")


def path_out(folder):
    (folder.with_name("other.py")).write_text(METHOD)
    described = json.loads((folder / "submission.json").read_text())
    described["files"]["../../other.py"] = hashlib.sha256(METHOD.encode()).hexdigest()
    (folder / "submission.json").write_text(json.dumps(described))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (link, "more.py: is a link"),
        (link_to_folder, "method: is a link"),
        (unlisted_code, "parts: does not belong to a submission"),
        (large_file, "records.parquet: has more than 50 MB"),
        (many_rows, "holds 2,000,000 records"),
        (path_out, "its files are not those that"),
    ],
)
def test_files_that_a_reader_does_not_see_or_that_do_not_fit_are_refused(
    place, submitted, change, words
):
    change(submitted)
    ran = place("leaderboard", "--verify", INTO, "--trust")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert words in ran.err


def test_another_boards_data_are_refused(place, submitted):
    path = submitted / RECORDS_FILE
    records = unpacked(path)
    other = records[0].spec.data.model_copy(update={"table_fingerprint": "0ther"})
    path.write_bytes(packed(of_role(records[0].spec.role, data=other)(records)))
    ran = place("leaderboard", "--verify", INTO)
    assert ran.code == 2
    assert "its data are not the board's" in ran.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--submit=nowhere", "--into=new"], ["nowhere: is not a run beside a board"]),
        (["--submit=run"], ["--submit RUN and --into FOLDER"]),
        (["--submit=run", "--into=results"], ["results: is not empty"]),
        (["--submit=run", "--into=new", "--verify"], ["exclude each other"]),
        (["--trust"], ["--trust and --json go with --verify"]),
        (["--verify", "run"], ["run: holds no submission.json"]),
    ],
)
def test_submit_refuses_in_one_line(place, tmp_path, arguments, words):
    ran = place("leaderboard", *arguments)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    for word in words:
        assert word in ran.err
    assert not (tmp_path / "new").exists()


def test_a_run_with_missing_folds_is_not_written(place, tmp_path):
    store = RecordStore(tmp_path / "run")
    for one in list(store):
        if one.spec.data.fold == 3:
            (store.records / f"{one.key}.json").unlink()
    ran = place("leaderboard", "--submit=run", f"--into={INTO}")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "fold 4/4: there are no records" in ran.err
    assert not (tmp_path / INTO).exists()


@pytest.mark.usefixtures("submitted")
def test_the_boards_page_has_a_table_of_what_was_submitted():
    board = find_board("made")
    *_, table = submitted_table(board, unpacked(board.folder / RECORDS_FILE), 0.001)
    (row,) = [line for line in table.splitlines() if "| 40% " in line]
    difference = (test_aucs("low-rank", "40%") - test_aucs("full", "100%")).mean()
    assert "low-rank (submitted)" in row
    assert f" {difference:+.4f} (" in row


def test_the_boards_page_says_of_a_submitted_cell_that_it_is_not_feasible(submitted):
    path = submitted / RECORDS_FILE
    bare = {"status": "infeasible", "validation": None, "n_parameters": None, "n_bytes": None}
    records = [
        one.model_copy(update=bare) if one.spec.budget == "40%" else one
        for one in unpacked(path)
        if one.spec.budget != "40%" or one.spec.role == "tuning"
    ]
    path.write_bytes(packed(records))
    board = find_board("made")
    *_, table = submitted_table(board, unpacked(board.folder / RECORDS_FILE), 0.001)
    (row,) = [line for line in table.splitlines() if "| 40% " in line]
    assert [cell.strip() for cell in row.split("|")[5:-1]] == ["", "", "", "", "infeasible"]


@pytest.mark.slow
@pytest.mark.usefixtures("submitted")
def test_the_site_shows_contrasts_and_what_was_submitted(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "docs" / "hooks")
    from board_pages import board_pages

    contrasts = [("uniform", "full", "50%"), ("uniform", "full", "1%")]
    publish_board(tmp_path / "results" / "made", contrasts)
    pages = board_pages(tmp_path / "results")
    page = pages["made.md"]
    order = ["## .* · fm", "## What it shows", "## All cells", "## Submitted by others"]
    parts = re.split("|".join(order), page)
    assert len(parts) == len(order) + 1
    assert all(map(re.search, order, re.findall("|".join(order), page)))
    difference = test_aucs("uniform", "50%") - test_aucs("full", "100%")
    assert parts[1].count("<tr>") == 3  # a heading, and the contrast at two budgets
    assert parts[1].count(">not compared<") == 1  # at the budget that was not run
    assert f">{difference.mean():+.4f}</td>" in parts[1]
    assert f"<td>{(difference > 0).sum()} of 4</td>" in parts[1]
    assert "[the plan](../../results/made/plan.toml)" in parts[0]
    assert "low-rank" not in parts[3]
    assert parts[4].count("| low-rank (submitted)") == 2
    assert not any(path.startswith("methods/low-rank") for path in pages)


@pytest.mark.usefixtures("place")
def test_an_extract_that_is_not_of_the_records_is_found():
    board = find_board("made")
    records = unpacked(board.folder / RECORDS_FILE)
    results = SimpleNamespace(records=records)
    path = board.folder / EXTRACT_FILE
    assert extract_check(board, results).good is None
    path.write_bytes(packed(published_extract(records, board)))
    assert extract_check(board, results).good is True
    path.write_bytes(packed(published_extract(records[1:], board)))
    assert extract_check(board, results).good is False
