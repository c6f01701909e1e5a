"""A run beside a published board: what is compared, and what is refused."""

import shutil
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from made_board import FOLDS, PLAN, made_record, records_of, test_aucs, write_board
from scipy import stats

from pepbench.analysis.tuning import trials_frame
from pepbench.errors import PlanError
from pepbench.leaderboards import boards
from pepbench.leaderboards.against import against
from pepbench.leaderboards.boards import find_board
from pepbench.leaderboards.extract import board_records, extract
from pepbench.leaderboards.record_packing import EXTRACT_FILE, RECORDS_FILE, packed, unpacked
from pepbench.leaderboards.run_against import run_against
from pepbench.plan import PLAN_FILE, Plan
from pepbench.records import RecordStore, final_runs
from pepbench.report.findings import load_runs

MINE = ("low-rank",)


@pytest.fixture(scope="module")
def published(tmp_path_factory, session_cache):
    folder = tmp_path_factory.mktemp("made")
    (folder / PLAN_FILE).write_text(PLAN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEPBENCH_CACHE", str(session_cache))
        return records_of(Plan.load(folder / PLAN_FILE, {}))


@pytest.fixture
def board(pepbench, published, tmp_path):  # noqa: ARG001
    return write_board(tmp_path / "results" / "made", published)


def put_beside(tmp_path, **keys):
    """The folder of a made-up run of ``low-rank`` beside the board."""
    compared = against("made", None, (), {"methods": MINE, **keys})
    out = tmp_path / "out"
    store = RecordStore(out)
    for one in records_of(compared.plan):
        store.put(one)
    (out / PLAN_FILE).write_text(compared.plan.to_toml())
    compared.write_beside(out)
    return out


def interval(differences):
    """Student's."""
    found = stats.ttest_1samp(differences, 0.0).confidence_interval()
    return differences.mean(), found.low, found.high


@pytest.mark.usefixtures("board")
def test_each_method_of_the_board_is_compared_over_folds(tmp_path):
    findings = load_runs([put_beside(tmp_path)])
    primary = findings.contrasts[findings.contrasts["primary"]]
    assert sorted(zip(primary["budget"], primary["method"], primary["other"], strict=True)) == [
        ("40%", "low-rank", "full"),
        ("40%", "low-rank", "uniform"),
        ("50%", "low-rank", "full"),
        ("50%", "low-rank", "random-mask"),
        ("50%", "low-rank", "uniform"),
    ]
    for row in primary.to_dict("records"):
        own = test_aucs("low-rank", row["budget"])
        other = test_aucs(row["other"], "100%" if row["other"] == "full" else row["budget"])
        expected = interval(own - other)
        assert [row["difference"], row["low"], row["high"]] == pytest.approx(expected)
        assert row["folds"] == FOLDS
        assert row["verdict"]
    assert set(findings.frame["tuning_trials"]) == {2 * FOLDS}
    assert set(trials_frame(findings.runs.records)["method"]) == set(MINE)
    assert "low-rank: run here. The other 3 methods: from the board made" in findings.notes[0]


@pytest.mark.usefixtures("board")
def test_some_folds_are_compared_with_the_same_folds_of_the_board(tmp_path):
    findings = load_runs([put_beside(tmp_path, only_folds=(1, 2, 4))])
    (row,) = findings.contrasts.query("primary and budget == '40%' and other == 'uniform'").to_dict(
        "records"
    )
    differences = (test_aucs("low-rank", "40%") - test_aucs("uniform", "40%"))[[0, 1, 3]]
    assert [row["difference"], row["low"], row["high"]] == pytest.approx(interval(differences))
    assert row["folds"] == 3
    assert "Only folds 1, 2, 4 of 4 are compared: intervals are wider" in findings.notes[-1]
    assert set(findings.frame["status"]) == {"ok"}


@pytest.mark.usefixtures("board")
def test_an_interrupted_run_does_not_pass_for_one_of_fewer_folds(tmp_path):
    out = put_beside(tmp_path)
    store = RecordStore(out)
    for one in list(store):
        if one.spec.data.fold == 3:
            (store.records / f"{one.key}.json").unlink()
    frame = load_runs([out]).frame.set_index("method")
    assert set(frame.loc["low-rank", "status"]) == {"incomplete"}


@pytest.mark.usefixtures("board")
def test_the_plan_is_the_boards_with_other_methods():
    beside = against("made", None, (), {"methods": MINE, "budgets": ("40%",)})
    plan = beside.plan
    assert {record.spec.budget for record in beside.records} == {"40%", "100%"}
    whole = against("made", None, (), {"methods": MINE}).records
    assert {record.spec.budget for record in whole} == {"50%", "40%", "100%"}
    theirs = Plan.load(find_board("made").plan_path, {})
    assert plan.methods == MINE
    assert plan.budgets == ("40%",)
    assert plan.exceptions == ()  # it is about another method
    same = {"methods": (), "budgets": (), "exceptions": ()}
    assert plan.model_copy(update=same) == theirs.model_copy(update=same)


def test_exceptions_for_all_methods_hold_for_a_new_one(board):
    path = board / PLAN_FILE
    path.write_text(PLAN.replace('methods = ["random-mask"]\nbudgets', "budgets"))
    (kept,) = against("made", None, (), {"methods": MINE}).plan.exceptions
    assert kept.budgets == ("40%",)


def changed(board, published, change):
    """Write the board's records after a change of their specs."""
    specs = [change(one.spec) for one in published]
    again = [
        one.model_copy(update={"spec": spec, "key": spec.key()})
        for one, spec in zip(published, specs, strict=True)
    ]
    (board / RECORDS_FILE).write_bytes(packed(again))


OTHER = {
    "data": lambda spec: spec.model_copy(
        update={"data": spec.data.model_copy(update={"table_fingerprint": "0ther" * 4})}
    ),
    "split": lambda spec: spec.model_copy(
        update={"data": spec.data.model_copy(update={"split_fingerprint": "0ther" * 4})}
    ),
    "protocol": lambda spec: spec.model_copy(update={"protocol": 99}),
    "backbone": lambda spec: spec.model_copy(
        update={"backbone": spec.backbone.model_copy(update={"version": 99})}
    ),
}


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("data", ["fingerprint of its table", "here and 0ther0ther0ther0 on the board", "release"]),
        ("split", ["fingerprint of its split", "0ther0ther0ther0 on the board"]),
        ("protocol", ["version 99 of the protocol"]),
        ("backbone", ["backbone fm", "version 99"]),
    ],
)
def test_other_data_and_versions_are_refused(pepbench, board, published, what, words):
    changed(board, published, OTHER[what])
    ran = pepbench("run", "--against", "made", "--methods=low-rank")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    for word in ("--against made", *words):
        assert word in ran.err


@pytest.mark.usefixtures("board")
@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--against=mode", "--methods=qr"], ["unknown board 'mode'; did you mean 'made'?"]),
        (["--against=results", "--methods=qr"], ["results holds no plan.toml"]),
        (["--against=made"], ["--against needs methods"]),
        (["--against=made", "--methods=qr", "--dim=8"], ["dim = 8", "which is 4"]),
        (["--against=made", "--methods=qr", "--trials=3"], ["trials = 3", "which is 2"]),
        (["--against=made", "--methods=qr", "--folds=3"], ["folds = 3", "which is 4"]),
        (["own.toml", "--against=made"], ["epochs = 3", "which is 2"]),
        (["--against=made", "--methods=qr", "--budgets=45%"], ["unknown budget '45%'", "40%"]),
        (["--against=made", "--methods=qr", "--backbones=deepfm"], ["unknown backbone 'deepfm'"]),
        (["--against=made", "--methods=uniform"], ["a method 'uniform' already", "--as NAME"]),
        (["--against=made", "--methods=qr", "--as=full"], ["a method 'full' already"]),
        (["--against=made", "--methods=qr", "--as=my qr"], ["--as 'my qr'"]),
        (["--against=made", "--methods=qr,hash", "--as=mine"], ["--as names a single method"]),
        (["--against=made", "--methods=peq"], ["'peq'", "did you mean"]),
        (["--against=made", "--methods=qr", "--only-folds=1,5"], ["only_folds", "1 to 4"]),
        (["--against=made", "--methods=qr", "--only-folds=2"], ["at least two"]),
        (["--against=made", "--methods=qr", "--only-folds=a"], ["--only-folds", "whole numbers"]),
        (["--methods=qr", "--as=mine"], ["--as goes with --against"]),
    ],
)
def test_what_differs_from_the_board_is_named(pepbench, tmp_path, arguments, words):
    (tmp_path / "own.toml").write_text('methods = ["qr"]\nepochs = 3\n')
    ran = pepbench("run", *arguments, "--out=out")
    assert (ran.code, ran.out, ran.err.count("\n")) == (2, "", 1)
    for word in words:
        assert word in ran.err
    assert not (tmp_path / "out").exists()


def test_no_other_folder_is_replaced_by_the_boards_records(pepbench, board, tmp_path):
    shutil.copytree(board, tmp_path / "runs" / "board")
    for name in ("made", "runs/board"):
        ran = pepbench("run", f"--against={name}", "--methods=qr", "--out=runs")
        assert (ran.code, ran.err.count("\n")) == (2, 1)
        assert "runs/board is where the board's records would go" in ran.err
    assert (tmp_path / "runs/board" / RECORDS_FILE).is_file()


@pytest.mark.usefixtures("board")
def test_an_interruption_leaves_the_boards_records_as_they_were(tmp_path, monkeypatch):
    out = put_beside(tmp_path)
    before = {path: path.read_bytes() for path in (out / "board").rglob("*") if path.is_file()}

    def interrupted(*_):
        raise KeyboardInterrupt

    compared = against("made", None, (), {"methods": MINE})
    with monkeypatch.context() as patch:
        patch.setattr("pepbench.leaderboards.against.write_atomically", interrupted)
        with pytest.raises(KeyboardInterrupt):
            compared.write_beside(out)
    assert before == {p: p.read_bytes() for p in (out / "board").rglob("*") if p.is_file()}
    compared.write_beside(out)


@pytest.mark.usefixtures("board")
def test_shards_that_end_at_the_same_time_leave_one_whole_board(tmp_path):
    out = put_beside(tmp_path)
    compared = against("made", None, (), {"methods": MINE})
    names = {path.relative_to(out) for path in (out / "board").rglob("*")}
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: compared.write_beside(out), range(12)))
    assert {path.relative_to(out) for path in (out / "board").rglob("*")} == names
    assert not list(out.glob(".board-*"))


@pytest.mark.usefixtures("board")
def test_two_files_of_one_name_are_refused(tmp_path):
    files = (tmp_path / "a" / "mine.py", tmp_path / "b" / "mine.py")
    with pytest.raises(PlanError, match="two files have the same name"):
        against("made", None, files, {})


@pytest.mark.usefixtures("board")
def test_plugins_of_an_earlier_comparison_do_not_stay(tmp_path):
    compared = against("made", None, (), {"methods": MINE})
    for name in ("first.py", "second.py"):
        (tmp_path / name).write_text("")
        replace(compared, plugins=(tmp_path / name,)).write_beside(tmp_path / "out")
    assert [path.name for path in (tmp_path / "out").rglob("*.py")] == ["second.py"]


@pytest.mark.usefixtures("board")
def test_python_raises_what_the_command_says(pepbench, tmp_path):
    ran = pepbench("run", "--against=made", "--methods=uniform", "--out=out", "--jobs=1")
    with pytest.raises(PlanError) as raised:
        run_against("made", "uniform", out=tmp_path / "out")
    assert str(raised.value) in ran.err
    with pytest.raises(PlanError, match="unknown budget '7%'"):
        run_against("made", MINE, budgets=["7%"])


@pytest.mark.usefixtures("board")
def test_a_method_has_another_name_with_as():
    plan = against("made", None, (), {"methods": ("uniform",)}, "mine").plan
    assert Plan.load(None, {"methods": plan.methods}).method_labels() == ["mine"]
    (one, *_) = records_of(plan)
    assert (one.spec.method.spec, one.spec.method.name) == ("mine", "uniform")


def test_boards_are_found_by_path_and_in_the_package(board, tmp_path, monkeypatch):
    assert find_board(str(board)).folder == board
    records = board_records(find_board("made"))
    monkeypatch.setattr(boards, "PACKAGED", tmp_path / "packaged")
    packaged = tmp_path / "packaged" / "wheeled"
    packaged.mkdir(parents=True)
    (packaged / PLAN_FILE).write_text(PLAN)
    (packaged / EXTRACT_FILE).write_bytes(packed(records))
    found = find_board("wheeled")
    assert found.folder == packaged
    assert board_records(found) == sorted(records, key=lambda one: one.key)
    (tmp_path / "elsewhere" / "results" / "mine").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "elsewhere")  # its results are something else
    assert find_board("ml-1m-ids").folder == boards.IN_REPOSITORY / "ml-1m-ids"


def test_an_extract_has_one_setting_of_a_cell_and_counts_all_trials(published, tmp_path):
    small = extract(published)
    assert extract(small) == small
    assert len(small) == len(published) * 3 // 5  # of two trials and their finalists, one each
    assert final_runs(published[:5]) == [published[4]]
    path = tmp_path / "extract.parquet"
    path.write_bytes(packed(small))
    assert unpacked(path) == small


def test_a_cell_that_never_succeeded_keeps_its_reason(published):
    spec = published[0].spec
    failed = [
        made_record(spec.model_copy(update={"seed": seed}), 0.5).model_copy(
            update={"status": "infeasible", "reason": "smallest possible is 9"}
        )
        for seed in (1, 2)
    ]
    (kept,) = extract(failed)
    assert (kept.status, kept.reason) == ("infeasible", "smallest possible is 9")
    assert kept.notes["tuning_trials"] == 2


@pytest.mark.usefixtures("pepbench")
def test_a_single_split_without_predictions_is_shown_without_verdicts(tmp_path):
    plan = PLAN.replace(f"folds = {FOLDS}\n", "")
    (tmp_path / "single.toml").write_text(plan)
    records = records_of(Plan.load(tmp_path / "single.toml", {}))
    write_board(tmp_path / "results" / "made", records, plan)
    warnings = []
    findings = load_runs([put_beside(tmp_path)], warnings.append)
    assert not findings.contrasts["primary"].any()
    assert not warnings
    assert {"low-rank", "full"} <= set(findings.frame["method"])
    assert "no difference from its methods is tested" in findings.notes[1]
