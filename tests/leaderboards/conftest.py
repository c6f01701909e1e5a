import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from pepbench.leaderboards import publish

sys.path.insert(0, str(Path(__file__).parents[1] / "analysis"))

PLAN = """\
# What: the tiniest leaderboard.
methods = ["uniform", "random-mask", "full"]
datasets = ["synthetic:rows=2000:features=60:fields=4"]
backbones = ["fm"]
budgets = ["50%", "0.001k"]
dim = 4
trials = 2
seeds = 2
epochs = 2
batch_size = 256
"""


@dataclass(frozen=True)
class Place:
    """A copy of a published leaderboard, in the working directory."""

    folder: Path
    call: Callable

    def verify(self, *more):
        return self.call("leaderboard", "tiny", "--verify", "--jobs=1", *more)


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    """Where the first test that needs it leaves results/ and work/ for the others."""
    return tmp_path_factory.mktemp("made")


@pytest.fixture
def board(pepbench, made, tmp_path) -> Place:
    """A leaderboard that was run and published, with a hand-written page around it."""
    if not (made / "results").exists():
        folder = tmp_path / "results" / "tiny"
        folder.mkdir(parents=True)
        (folder / "plan.toml").write_text(PLAN)
        ran = pepbench("leaderboard", "tiny", "--work=work", "--jobs=1", "--quiet")
        assert ran.code == 0, ran.err
        shutil.copytree(tmp_path / "work", made / "work")
        shutil.copytree(tmp_path / "results", made / "results")
    else:
        shutil.copytree(made / "work", tmp_path / "work")
        shutil.copytree(made / "results", tmp_path / "results")
    return Place(tmp_path / "results" / "tiny", pepbench)


@pytest.fixture
def undrawn(board, monkeypatch, request) -> Place:
    """The same, on which commands write records, tables and pages, but draw nothing."""
    request.getfixturevalue("nothing_drawn")  # after the board, which may have to be drawn
    monkeypatch.setattr(publish, "front_charts", lambda *_: ())
    return board
