"""Real processes, interrupted and killed."""

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
from forked import Command, Fate, command
from run_helpers import leaderboard, predictions, results

from pepbench.harness.interrupts import GRACE_SECONDS

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tiny_cache")]

OPTIONS = (
    "--methods=pep:max_steps=50,uniform,full",
    "--datasets=synthetic:rows=4000",
    "--budgets=50%",
    "--dim=8",
    "--epochs=2",
    "--trials=3",
    "--seeds=2",
    "--batch-size=256",
)
PATIENCE = 400.0
TIMELESS_TABLES = ("comparisons.csv", "leaderboard.tex", "widths.csv")
"""Files of a report that tell nothing of the machine."""


def start(folder: Path, *more: str, fate: Fate | None = None) -> Command:
    arguments = ["run", *OPTIONS, f"--out={folder}", *more]
    return command(arguments, folder.parent / "streams", fate=fate)


def wait_until(condition: Callable[[], bool], process: Command) -> None:
    """Wait for a condition that comes true before the process ends."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.01)


def count(folder: Path, name: str) -> int:
    return len(list((folder / name).glob("[!.]*.[jn]*")))


def assert_gone(session: int) -> None:
    """Workers, and their resource tracker, leave within seconds of their coordinator."""
    deadline = time.monotonic() + 20.0
    while processes_of(session):
        assert time.monotonic() < deadline
        time.sleep(0.1)


def processes_of(session: int) -> list[int]:
    """Living processes of a session, by /proc."""
    members = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, _, of_session = path.read_text().rpartition(")")[2].split()[:4]
        except (OSError, ValueError):
            continue
        if int(of_session) == session and state != "Z":
            members.append(int(path.parent.name))
    return members


@pytest.fixture(scope="module")
def uninterrupted(session_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run of the program as it is, drawings included."""
    folder = tmp_path_factory.mktemp("whole") / "out"
    subprocess.run(
        [sys.executable, "-m", "pepbench", "run", *OPTIONS, "--jobs=1", f"--out={folder}"],
        env=os.environ | {"PEPBENCH_CACHE": str(session_cache)},
        stdout=subprocess.DEVNULL,
        timeout=PATIENCE,
        check=True,
    )
    return folder


def assert_same_in_the_end(folder: Path, whole: Path, *more: str) -> str:
    process = start(folder, *more)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    assert leaderboard(folder).equals(leaderboard(whole))
    assert predictions(folder) == predictions(whole)
    assert results(folder) == results(whole)
    for name in TIMELESS_TABLES:
        assert (folder / name).read_bytes() == (whole / name).read_bytes()
    assert not list(folder.rglob(".*.tmp"))
    return err


def after_first_record(folder: Path) -> bool:
    return count(folder, "records") >= 1


def after_first_tuning(folder: Path) -> bool:
    return count(folder, "records") >= 3


def amid_finals(folder: Path) -> bool:
    return count(folder, "predictions") >= 3


@pytest.mark.parametrize(
    ("moment", "jobs"),
    [
        (after_first_record, "--jobs=2"),
        (after_first_tuning, "--jobs=2"),
        (amid_finals, "--jobs=2"),
        (after_first_tuning, "--jobs=1"),
    ],
)
def test_killed_run_goes_on_to_the_same_tables(uninterrupted, tmp_path, moment, jobs):
    folder = tmp_path / "out"
    process = start(folder, jobs)
    wait_until(lambda: moment(folder), process)
    process.kill()
    process.communicate(timeout=PATIENCE)
    finished = count(folder, "records")
    assert finished < 15
    assert_gone(process.pid)
    err = assert_same_in_the_end(folder, uninterrupted, jobs)
    assert f"{15 - finished} trials run, {finished} reused" in err


@pytest.mark.parametrize(
    ("kill", "number", "jobs"),
    [
        (os.killpg, signal.SIGINT, "--jobs=2"),  # Ctrl-C
        (os.kill, signal.SIGINT, "--jobs=2"),
        (os.kill, signal.SIGTERM, "--jobs=2"),
        (os.killpg, signal.SIGTERM, "--jobs=2"),
        (os.killpg, signal.SIGINT, "--jobs=1"),
    ],
)
def test_interrupted_run_keeps_its_trials_and_says_how_to_go_on(tmp_path, kill, number, jobs):
    folder = tmp_path / "out"
    process = start(folder, jobs, "--quiet")
    wait_until(lambda: after_first_record(folder), process)
    kill(process.pid, number)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (130, ""), err
    stopping, interrupted = err.splitlines()
    assert stopping == "Stopping: running trials have 10 s to end. Ctrl-C again stops at once."
    assert interrupted.startswith(
        "Interrupted; finished trials are kept. To go on: pepbench run --methods"
    )
    assert_gone(process.pid)
    assert 1 <= count(folder, "records") < 15


SLEEPER = """
import time
from dataclasses import dataclass
from pepbench.method import Method

@dataclass(frozen=True)
class Sleeps(Method):
    name = "sleeps"

    def fit(self, task, budget):
        time.sleep(3600)
"""


@pytest.mark.parametrize("jobs", ["--jobs=1", "--jobs=2"])
def test_second_interrupt_stops_at_once(tmp_path, jobs):
    plugin = tmp_path / "sleeper.py"
    plugin.write_text(SLEEPER)
    folder = tmp_path / "out"
    process = start(folder, jobs, "--methods=sleeps", f"--plugin={plugin}")
    wait_until(lambda: len(list((folder / "locks").glob("*"))) >= 1, process)
    time.sleep(1.0)
    process.send_signal(signal.SIGINT)
    time.sleep(1.0)
    assert process.poll() is None
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130, err
    assert time.monotonic() - began < GRACE_SECONDS
    assert_gone(process.pid)
    assert not count(folder, "records")


FOLDS = ("--methods=uniform,full", "--trials=2", "--folds=5", "--seeds=1")


def test_a_run_in_folds_killed_again_and_again_makes_the_same_tables(tmp_path):
    whole, folder = tmp_path / "whole", tmp_path / "out"
    process = start(whole, *FOLDS, "--jobs=1")
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    moments, ended = random.Random(0), []
    for kill, number, jobs in (
        (os.kill, signal.SIGKILL, 2),
        (os.killpg, signal.SIGINT, 1),
        (os.kill, signal.SIGKILL, 1),
        (os.killpg, signal.SIGINT, 2),
    ):
        enough = count(folder, "records") + moments.randint(1, 5)
        process = start(folder, *FOLDS, f"--jobs={jobs}")
        while process.poll() is None and count(folder, "records") < enough:
            time.sleep(0.001)
        with suppress(ProcessLookupError):
            kill(process.pid, number)
        process.communicate(timeout=PATIENCE)
        assert_gone(process.pid)
        ended.append(process.returncode)
    assert ended[:2] == [-signal.SIGKILL, 130]
    assert_same_in_the_end(folder, whole, *FOLDS, "--jobs=1")


MOMENTS = 12
SMALL = ("--methods=uniform,full", "--trials=2", "--jobs=1")


@pytest.fixture(scope="module")
def small_plan(session_cache: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, int]:
    """The uninterrupted folder of a small plan, and the number of changes that made it."""
    folder = tmp_path_factory.mktemp("small") / "out"
    fate = Fate(folder, folder.with_name("changes"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEPBENCH_CACHE", str(session_cache))
        process = start(folder, *SMALL, fate=fate)
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    return folder, int(fate.tally.read_text())


@pytest.mark.parametrize("part", range(MOMENTS))
def test_killed_at_any_moment_the_same_command_makes_the_same_tables(small_plan, tmp_path, part):
    whole, changes = small_plan
    folder = tmp_path / "out"
    # One moment, at random, of each twelfth of the run.
    killed_at = 1 + int((part + random.Random(part).random()) * changes / MOMENTS)
    process = start(folder, *SMALL, fate=Fate(folder, tmp_path / "changes", killed_at))
    process.communicate(timeout=PATIENCE)
    assert process.returncode == -signal.SIGKILL
    if part % 2:
        cut_newest_files(folder)
    assert_same_in_the_end(folder, whole, *SMALL)


def cut_newest_files(folder: Path) -> None:
    """What a power failure may leave of files that were not on the disk yet."""
    files = [path for path in folder.rglob("*") if path.is_file() and path.stat().st_size > 1]
    kept = (".lock", "plan.toml")
    for path in sorted(files, key=lambda path: path.stat().st_mtime_ns)[-3:]:
        if path.name not in kept:
            os.truncate(path, path.stat().st_size // 2)


def test_second_run_in_a_folder_is_refused_while_the_first_goes_on(uninterrupted, tmp_path):
    folder = tmp_path / "out"
    first = start(folder, "--jobs=1")
    wait_until(lambda: count(folder, "records") >= 1, first)
    # It would be done before the second one has imported what it needs.
    first.send_signal(signal.SIGSTOP)
    second = start(folder, "--jobs=1")
    out, err = second.communicate(timeout=PATIENCE)
    first.send_signal(signal.SIGCONT)
    assert (second.returncode, out, err.count("\n")) == (2, "", 1)
    assert f"process {first.pid} on" in err
    first.communicate(timeout=PATIENCE)
    assert first.returncode == 0
    assert leaderboard(folder).equals(leaderboard(uninterrupted))
