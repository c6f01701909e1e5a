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
from run_helpers import predictions, results

pytestmark = [pytest.mark.slow, pytest.mark.nightly, pytest.mark.usefixtures("tiny_cache")]

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


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts processes; those left in the end are killed."""
    started = []
    plugin = tmp_path / "slow.py"
    plugin.write_text(PLUGIN)

    def call(*command: object) -> subprocess.Popen[str]:
        started.append(
            subprocess.Popen(
                [sys.executable, "-m", *map(str, command)],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
                cwd=tmp_path,
            )
        )
        return started[-1]

    def run(*more: object) -> subprocess.Popen[str]:
        return call("pepbench", "run", *OPTIONS, f"--plugin={plugin}", *more)

    call.run = run
    yield call
    for process in started:
        process.kill()
        process.communicate()


def ended_well(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return out


@pytest.fixture
def serial(start, tmp_path) -> Path:
    folder = tmp_path / "serial"
    ended_well(start.run("--executor=serial", f"--out={folder}"))
    return folder


def assert_same(folder: Path, other: Path) -> None:
    assert len(results(folder)) == RUNS
    assert results(folder) == results(other)
    assert predictions(folder) == predictions(other)


def wait_for(found: Callable[[], object], process: subprocess.Popen[str]) -> object:
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


def test_dask_workers_may_die_and_join_late(start, serial, tmp_path):
    pytest.importorskip("distributed")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"127.0.0.1:{port}"
    start("distributed.cli.dask_scheduler", "--host=127.0.0.1", f"--port={port}", "--no-dashboard")

    def worker() -> subprocess.Popen[str]:
        return start(
            "distributed.cli.dask_worker",
            f"tcp://{address}",
            "--no-nanny",
            "--nthreads=1",
            "--no-dashboard",
            f"--local-directory={tmp_path}",
        )

    doomed, _ = worker(), worker()
    folder = tmp_path / "dask"
    run = start.run(f"--executor=dask://{address}", f"--out={folder}")
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
    run = start.run("--executor=processes", "--jobs=2", f"--out={folder}")
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
    ended_well(start.run("--executor=ray", "--jobs=2", f"--out={folder}"))
    assert_same(folder, serial)


def test_two_coordinators_share_a_folder(start, serial, tmp_path):
    folder = tmp_path / "joined"
    first = start.run("--jobs=1", "--executor=serial", f"--out={folder}")
    wait_for(lambda: count(folder) >= 1, first)
    second = start.run("--jobs=1", "--executor=serial", f"--out={folder}", "--join")
    made = []
    for process in (first, second):
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, err
        made.append(int(err.split(" trials run")[0].split()[-1]))
    assert min(made) >= 1
    assert sum(made) == RUNS
    assert_same(folder, serial)
    assert not list((folder / "claims").iterdir())


def test_shards_make_the_whole_together(start, serial, tmp_path):
    folder = tmp_path / "shards"
    shards = [start.run("--jobs=1", f"--shard={number}/2", f"--out={folder}") for number in (1, 2)]
    for shard in shards:
        _, err = shard.communicate(timeout=PATIENCE)
        assert shard.returncode == 0, err
        assert f"{RUNS // 2} trials run" in err
    assert_same(folder, serial)
