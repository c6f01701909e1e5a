"""Workers of a real Dask cluster that are killed and that join late; the same on this machine."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from forked import Command, command
from run_helpers import predictions, results

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("tiny_cache")]

PLUGIN = """
import time
from dataclasses import dataclass

from pepbench.method import Method, PlainTable


@dataclass(frozen=True)
class Slow(Method):
    name = "slow"

    def fit(self, task, budget):
        time.sleep(1.0)
        return super().fit(task, budget)

    def embedding(self, fields, dim, budget):
        return PlainTable(fields.n_features, budget // fields.n_features)
"""
OPTIONS = (
    "--methods=slow,uniform",
    "--datasets=synthetic:rows=2000:features=60:fields=4",
    "--budgets=50%,25%",
    "--dim=4",
    "--epochs=2",
    "--trials=2",
    "--seeds=2",
    "--batch-size=256",
)
RUNS = 16
PATIENCE = 400.0

Start = Callable[..., Command]


@pytest.fixture(scope="module")
def plugin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("plugin") / "slow.py"
    path.write_text(PLUGIN)
    return path


@pytest.fixture(scope="module")
def serial(plugin: Path, session_cache: Path) -> Path:
    """What all executors are held against."""
    folder = plugin.with_name("serial")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEPBENCH_CACHE", str(session_cache))
        run = run_command(plugin, "--executor=serial", f"--out={folder}")
        _, err = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0, err
    return folder


@pytest.fixture
def start(plugin: Path) -> Iterator[Start]:
    """Starts runs; those left in the end are killed."""
    started = []

    def call(*more: object) -> Command:
        started.append(run_command(plugin, *more))
        return started[-1]

    yield call
    for run in started:
        run.kill()


def run_command(plugin: Path, *more: object) -> Command:
    return command(["run", *OPTIONS, f"--plugin={plugin}", *more], plugin.with_name("streams"))


def assert_same(folder: Path, other: Path) -> None:
    assert len(results(folder)) == RUNS
    assert results(folder) == results(other)
    assert predictions(folder) == predictions(other)


def wait_for(found: Callable[[], object], process: Command) -> object:
    deadline = time.monotonic() + PATIENCE
    while not (result := found()):
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return result


def running_trials(folder: Path) -> list[dict]:
    for path in (folder / "live").glob("coordinator-*.json"):
        return json.loads(path.read_text())["running"]
    return []


def count(folder: Path) -> int:
    return len(list((folder / "records").glob("[!.]*.json")))


@pytest.fixture
def dask(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[bytes]]]:
    """Starts Dask's own programs, which are killed in the end."""
    started = []

    def call(program: str, *arguments: object) -> subprocess.Popen[bytes]:
        name = f"distributed.cli.dask_{program}"
        options = [*map(str, arguments), "--no-dashboard"]
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", name, *options],
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                cwd=tmp_path,
            )
        )
        return started[-1]

    yield call
    for process in started:
        process.kill()
        process.wait()


def test_dask_workers_may_die_and_join_late(start, dask, serial, tmp_path):
    pytest.importorskip("distributed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"127.0.0.1:{port}"
    dask("scheduler", "--host=127.0.0.1", f"--port={port}")

    def worker() -> subprocess.Popen[bytes]:
        place = (f"tcp://{address}", f"--local-directory={tmp_path}")
        return dask("worker", *place, "--no-nanny", "--nthreads=1")

    doomed, _ = worker(), worker()
    folder = tmp_path / "dask"
    run = start(f"--executor=dask://{address}", f"--out={folder}")
    wait_for(lambda: count(folder) >= 1 and len(running_trials(folder)) >= 2, run)
    wait_for(lambda: busy(doomed.pid), run)
    trial = busy(doomed.pid)
    doomed.send_signal(signal.SIGKILL)
    doomed.wait()
    worker()
    _, err = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0, err
    assert f"{RUNS} trials run, 0 reused" in err
    assert_same(folder, serial)
    assert not any(psutil.pid_exists(pid) and psutil.Process(pid).ppid() == 1 for pid in trial)


def busy(pid: int) -> list[int]:
    """Processes in which a worker has a trial running."""
    try:
        children = psutil.Process(pid).children(recursive=True)
        return [child.pid for child in children if child.memory_info().rss > 100e6]
    except psutil.Error:
        return []


def test_worker_process_that_is_killed_costs_no_record(start, serial, tmp_path):
    folder = tmp_path / "processes"
    run = start("--executor=processes", "--jobs=2", f"--out={folder}")
    wait_for(lambda: count(folder) >= 2 and len(running_trials(folder)) >= 2, run)
    os.kill(busy(run.pid)[0], signal.SIGKILL)
    _, err = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0, err
    assert f"{RUNS} trials run, 0 reused" in err
    assert_same(folder, serial)


@pytest.mark.ray
def test_local_ray_gives_the_serial_records(start, serial, tmp_path):
    pytest.importorskip("ray")
    folder = tmp_path / "ray"
    run = start("--executor=ray", "--jobs=2", f"--out={folder}")
    _, err = run.communicate(timeout=PATIENCE)
    assert run.returncode == 0, err
    assert_same(folder, serial)


def test_two_coordinators_share_a_folder(start, serial, tmp_path):
    folder = tmp_path / "joined"
    first = start("--jobs=1", "--executor=serial", f"--out={folder}")
    wait_for(lambda: count(folder) >= 1, first)
    second = start("--jobs=1", "--executor=serial", f"--out={folder}", "--join")
    made = []
    for process in (first, second):
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
        made.append(int(err.split(" trials run")[0].split()[-1]))
    assert min(made) >= 1
    assert sum(made) == RUNS
    assert_same(folder, serial)
    assert not list((folder / "locks").iterdir())


def test_shards_make_the_whole_together(start, serial, tmp_path):
    folder = tmp_path / "shards"
    shards = [start("--jobs=1", f"--shard={number}/2", f"--out={folder}") for number in (1, 2)]
    for shard in shards:
        _, err = shard.communicate(timeout=PATIENCE)
        assert shard.returncode == 0, err
        assert f"{RUNS // 2} trials run" in err
    assert_same(folder, serial)
