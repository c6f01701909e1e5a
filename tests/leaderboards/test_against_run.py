"""Real runs beside a board: the tutorial from end to end, and a board with a single split."""

import shlex
import shutil
import webbrowser

import pandas as pd
import pytest
from doc_blocks import ROOT, blocks
from made_board import PLAN, records_of, write_board

from pepbench.plan import Plan

pytestmark = pytest.mark.slow

BOARD = (
    PLAN.replace('"uniform", "random-mask"', '"magnitude", "random-mask"')
    .replace('budgets = ["50%", "40%"]', 'budgets = ["50%", "5%"]', 1)
    .replace('budgets = ["40%"]', 'budgets = ["50%"]')
)


@pytest.fixture
def quick(pepbench, monkeypatch, nothing_drawn):  # noqa: ARG001
    """The command line in this process alone; nothing is drawn or opened."""
    monkeypatch.setattr(webbrowser, "open", lambda _address: True)
    for module in ("run", "reports"):
        monkeypatch.setattr(f"pepbench.cli.{module}.usable_cores", lambda: 1)
    return pepbench


def commands(page):
    """The calls of pepbench in the blocks of a page."""
    for block in blocks(page):
        for line in block.body.replace("\\\n", " ").splitlines() if block.language == "sh" else ():
            yield shlex.split(line)[1:]


def test_the_tutorial_and_a_submission_run_on_a_small_board(quick, tmp_path):
    (tmp_path / "small.toml").write_text(BOARD)
    folder = tmp_path / "results" / "ml-1m-ids"
    write_board(folder, records_of(Plan.load(tmp_path / "small.toml", {})), BOARD)
    pages = [ROOT / "docs/tutorials/compare-with-a-board.md", ROOT / "docs/submit.md"]
    for block in blocks(pages[0]):
        if block.file:
            (tmp_path / block.file).write_text(block.body)
    called = [words for page in pages for words in commands(page) if words[0] != "data"]
    assert [words[0] for words in called] == ["run", "report", "compare", *["leaderboard"] * 2]
    said = []
    for words in called:
        ran = quick(*words)
        assert ran.code == 0, f"{shlex.join(words)}\n{ran.out}{ran.err}"
        said.append(ran.out)
    rows = pd.read_csv(tmp_path / "runs/popular/contrasts.csv").query("primary")
    assert sorted(zip(rows["method"], rows["other"], rows["folds"], strict=True)) == [
        ("popular", "full", 4),
        ("popular", "magnitude", 4),
        ("popular", "random-mask", 4),
    ]
    assert rows["verdict"].notna().all()
    (from_python,) = [
        block
        for block in blocks(ROOT / "docs/reference/python/run.md")
        if "pepbench.run_against(" in block.body
    ]
    names = {}
    shutil.rmtree(folder / "submissions")
    exec(from_python.body, names)
    results = names["results"]
    assert (results.trials_run, results.warnings) == (0, [])
    for column in ("method", "other", "difference", "verdict"):
        assert names["contrasts"][column].tolist() == rows[column].tolist()
    assert "folds won" in said[0]
    assert "from the board ml-1m-ids" in " ".join(said[0].split())
    assert "no rule is broken" in said[-1]
    assert "run again (same platform): predictions have the recorded checksums" in said[-1]


def test_a_single_split_is_compared_on_the_predictions_of_a_run(quick, tiny_run, tmp_path):
    both = ("--methods=uniform,full", "--budgets=50%")
    assert tiny_run(*both, "--out=board").code == 0
    ran = quick("run", "--against=board", "--methods=random-mask", "--out=mine", "--jobs=1")
    assert ran.code == 0, ran.err
    assert tiny_run("--methods=random-mask,uniform,full", *both[1:], "--out=all").code == 0
    (beside,) = (
        pd.read_csv(tmp_path / "mine/contrasts.csv")
        .query("primary and other == 'full'")
        .to_dict("records")
    )
    (together,) = (
        pd.read_csv(tmp_path / "all/comparisons.csv")
        .query("method == 'random-mask'")
        .to_dict("records")
    )
    for name in ("difference", "low", "high", "p", "basis"):
        assert beside[name] == together[name]
