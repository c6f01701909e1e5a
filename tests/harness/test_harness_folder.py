"""TrialLocks, locks and what disks and clocks do to a run."""

import errno
import json
import os
import signal
import socket
import time
from datetime import UTC, datetime
from pathlib import Path

import pytest
from run_helpers import leaderboard, predictions, results

from pepbench.errors import PlanError
from pepbench.harness import trial_locks as locks_module
from pepbench.harness.interrupts import stop_on_interrupt
from pepbench.harness.run_folder import locked_folder
from pepbench.harness.run_options import Shard
from pepbench.harness.trial_locks import STALE_SECONDS, TORN_SECONDS, TrialLocks
from pepbench.plan import Plan
from pepbench.records import RecordStore

KEY = "a" * 64


@pytest.fixture
def moved_clock(monkeypatch):
    """Lets this process's monotonic clock run ahead."""
    ahead = [0.0]
    real = time.monotonic
    monkeypatch.setattr(locks_module.time, "monotonic", lambda: real() + ahead[0])

    def move(seconds: float) -> None:
        ahead[0] += seconds

    return move


def foreign(folder: Path, pid: int = 1, host: str = "elsewhere") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{KEY}.lock"
    path.write_text(json.dumps({"pid": pid, "host": host}))
    return path


def test_lock_belongs_to_the_first_until_it_is_released(tmp_path):
    with TrialLocks(tmp_path) as one, TrialLocks(tmp_path) as two:
        assert one.take(KEY)
        assert not two.take(KEY)
        assert not two.is_free(KEY)
        assert two.others()
        assert not one.others()
        two.release(KEY)
        assert not two.take(KEY)
        one.release(KEY)
        assert two.is_free(KEY)
        assert two.take(KEY)
    assert not list(tmp_path.iterdir())


def test_lock_of_a_dead_process_on_this_machine_is_taken_over_at_once(tmp_path):
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    foreign(tmp_path, child, socket.gethostname())
    with TrialLocks(tmp_path) as locks:
        assert not locks.others()
        assert locks.take(KEY)


def test_lock_from_elsewhere_is_taken_over_when_nobody_touches_it(tmp_path, moved_clock):
    path = foreign(tmp_path)
    with TrialLocks(tmp_path) as locks:
        assert not locks.take(KEY)
        moved_clock(STALE_SECONDS - 1)
        os.utime(path)
        assert not locks.take(KEY)
        moved_clock(STALE_SECONDS - 1)
        assert not locks.take(KEY)
        moved_clock(2)
        assert locks.take(KEY)


@pytest.mark.parametrize("content", ["", "{", "[]"])
def test_lock_cut_short_is_soon_taken_over(tmp_path, moved_clock, content):
    foreign(tmp_path).write_text(content)
    with TrialLocks(tmp_path) as locks:
        assert not locks.take(KEY)  # it may be being written
        moved_clock(TORN_SECONDS + 0.1)
        assert locks.take(KEY)


def test_lock_cut_short_is_no_sign_of_another_coordinator(tmp_path, monkeypatch):
    monkeypatch.setattr(locks_module, "TORN_SECONDS", 0.01)
    torn = foreign(tmp_path)
    torn.write_text('{"pid": 1, "ho')
    with TrialLocks(tmp_path) as locks:
        assert not locks.others()
        whole = foreign(tmp_path / "b")
        whole.rename(torn)
        assert locks.others()


@pytest.mark.parametrize("wrong", [-1e9, 1e9])
def test_wrong_time_of_a_lock_does_no_harm(tmp_path, wrong):
    path = foreign(tmp_path)
    os.utime(path, times=(time.time() + wrong, time.time() + wrong))
    with TrialLocks(tmp_path) as locks:
        assert not locks.take(KEY)


def test_folder_is_held_by_one_unless_work_is_shared(tmp_path):
    plan, shard = Plan(), Shard(1, 2)
    with locked_folder(tmp_path, plan):
        with pytest.raises(PlanError, match=f"process {os.getpid()} on .* --join"):
            locked_folder(tmp_path, plan).__enter__()
        with locked_folder(tmp_path, plan, join=True), locked_folder(tmp_path, plan, shard=shard):
            with pytest.raises(PlanError, match="in use"):
                locked_folder(tmp_path, plan, shard=shard).__enter__()
            with locked_folder(tmp_path, plan, shard=Shard(2, 2)):
                pass
    with locked_folder(tmp_path, plan):
        pass


def test_first_signal_asks_and_the_second_forces():
    told = []
    with stop_on_interrupt(lambda: told.append(1), grace=60) as stop:
        assert not stop.requested
        signal.raise_signal(signal.SIGTERM)
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert told == [1]
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_end_is_forced_when_the_grace_is_over():
    def sleep_on() -> None:
        with stop_on_interrupt(lambda: None, grace=0.01):
            signal.raise_signal(signal.SIGINT)
            time.sleep(30)

    with pytest.raises(KeyboardInterrupt):
        sleep_on()


METHODS = ("--methods=uniform,full", "--budgets=50%")


@pytest.fixture
def whole(tiny_run, tmp_path) -> Path:
    assert tiny_run(*METHODS, "--out=whole").code == 0
    return tmp_path / "whole"


def assert_same(folder: Path, whole: Path) -> None:
    assert leaderboard(folder).equals(leaderboard(whole))
    assert results(folder) == results(whole)
    assert predictions(folder) == predictions(whole)


@pytest.mark.parametrize("good", [2, 9])
@pytest.mark.slow
def test_full_disk_ends_the_run_and_the_same_command_goes_on(
    tiny_run, whole, tmp_path, monkeypatch, good
):
    calls = [0]
    real = os.fsync

    def fsync(descriptor: int) -> None:
        calls[0] += 1
        if calls[0] > good:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fsync)
        ran = tiny_run(*METHODS, "--out=out")
    assert ran.code == 2
    said = ran.err.splitlines()[-1]
    assert said.startswith("pepbench: out/")
    assert said.endswith(": No space left on device; make room, then give the same command again")
    again = tiny_run(*METHODS, "--out=out")
    assert again.code == 0
    assert " 0 reused" not in again.err or good == 2
    assert_same(tmp_path / "out", whole)


@pytest.mark.slow
def test_clock_that_jumps_changes_nothing(tiny_run, whole, tmp_path, monkeypatch):
    past = datetime(1999, 1, 1, tzinfo=UTC)
    assert tiny_run("--methods=full", "--out=out").code == 0
    monkeypatch.setattr("pepbench.harness.trial.now", lambda: past)
    monkeypatch.setattr("pepbench.harness.coordinator.now", lambda: past)
    monkeypatch.setattr(time, "time", lambda: 1e9)
    folder = tmp_path / "jumped"
    assert tiny_run(*METHODS, "--out=jumped").code == 0
    again = tiny_run(*METHODS, "--out=jumped")
    assert "0 trials run, 8 reused" in again.err
    assert_same(folder, whole)


FLAKY = """
from dataclasses import dataclass
from pathlib import Path
from pepbench.method import Method, PlainTable

@dataclass(frozen=True)
class Flaky(Method):
    name = "flaky"

    def embedding(self, fields, dim, budget):
        if not Path("mended").exists():
            raise RuntimeError("not yet")
        return PlainTable(fields.n_features, budget // fields.n_features)
"""


@pytest.mark.slow
def test_only_missing_leaves_failed_trials_as_they_are(tiny_run):
    Path("flaky.py").write_text(FLAKY)
    arguments = ("--methods=flaky,full", "--budgets=50%", "--plugin=flaky.py", "--out=out")
    assert tiny_run(*arguments).code == 1
    Path("mended").touch()
    again = tiny_run(*arguments, "--only-missing")
    assert (again.code, "0 trials run" in again.err) == (1, True)
    again = tiny_run(*arguments)
    assert again.code == 0
    assert "4 reused" in again.err


SOMETIMES = """
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated
from pepbench.method import Between, Method, PlainTable

@dataclass(frozen=True)
class Sometimes(Method):
    name = "sometimes"
    share: Annotated[float, Between(0.0, 1.0)] = 0.0

    def embedding(self, fields, dim, budget):
        if self.share > 0.5 and not Path("mended").exists():
            raise RuntimeError("not yet")
        return PlainTable(fields.n_features, 1 + int(2 * self.share))
"""


@pytest.mark.slow
@pytest.mark.parametrize("packed", [False, True])
def test_trials_that_followed_a_failed_one_are_set_aside_once_it_ends_well(
    tiny_run, tmp_path, monkeypatch, packed
):
    """Tuning learns from each trial, and finalists depend on all of them."""
    Path("sometimes.py").write_text(SOMETIMES)
    arguments = (
        *("--methods=sometimes,full", "--budgets=50%", "--plugin=sometimes.py", "--dim=4"),
        *("--trials=14", "--sampler=tpe", "--finalists=2", "--seeds=1"),
    )
    with monkeypatch.context() as patch:
        if packed:
            patch.setattr("pepbench.records.RecordStore.pack.__defaults__", (1,))
        tiny_run(*arguments, "--out=retried")
    Path("mended").touch()
    again = tiny_run(*arguments, "--out=retried")
    assert again.code == 0
    assert "set aside (*.json.stale)" in again.err
    assert tiny_run(*arguments, "--out=clean").code == 0
    clean, retried = tmp_path / "clean", tmp_path / "retried"
    assert RecordStore(retried).keys() == RecordStore(clean).keys()
    assert leaderboard(retried).equals(leaderboard(clean))
    assert list((retried / "records").glob("*.json.stale"))
    assert "set aside" not in tiny_run(*arguments, "--out=retried").err


@pytest.mark.slow
def test_finished_run_is_packed_when_there_are_many_records(tiny_run, whole, tmp_path, monkeypatch):
    monkeypatch.setattr("pepbench.records.RecordStore.pack.__defaults__", (1,))
    assert tiny_run(*METHODS, "--out=packed").code == 0
    folder = tmp_path / "packed"
    assert not list((folder / "records").glob("*.json"))
    assert_same(folder, whole)
    again = tiny_run(*METHODS, "--out=packed")
    assert "0 trials run, 8 reused" in again.err
    assert_same(folder, whole)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--trial-timeout=soon",), "--trial-timeout: 'soon' is no time"),
        (("--memory-limit=big",), "--memory-limit: 'big' is no size"),
        (("--memory-limit=4",), "--memory-limit: '4' is less than torch alone takes"),
        (("--shard=9/8",), "--shard: '9/8' is no part"),
        (("--raw=here",), "--raw: 'here' is not NAME=FOLDER"),
        (("--executor=slurm",), "--executor: unknown executor 'slurm'"),
        (("--executor=serial", "--trial-timeout=1m"), "write --executor processes"),
    ],
)
def test_illegal_option_is_refused_in_one_line(tiny_run, options, said):
    ran = tiny_run(*METHODS, *options, "--out=out")
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert said in ran.err
