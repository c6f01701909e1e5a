"""What is shown of a run, on terminals, in files and to other terminals."""

import io
import json
import os
import re
import time

import pytest
from rich.console import Console
from run_helpers import results

from pepbench.harness.status.live_files import live_file
from pepbench.harness.status.run_counts import RunningTrial, Snapshot
from pepbench.harness.status.run_display import snapshot_view
from pepbench.training.progress import Progress

METHODS = ("--methods=uniform,full", "--budgets=50%")


def snapshot(**more) -> Snapshot:
    fields = {
        "pid": 1,
        "host": "h",
        "state": "running",
        "began": 0.0,
        "updated": 0.0,
        "cells": 7,
        "cells_done": 2,
        "trials": 40,
        "done": 14,
        "reused": 5,
        "failed": 1,
        "seconds_left": 125.0,
    }
    return Snapshot(**(fields | more))


def shown(view, width: int, height: int = 24) -> list[str]:
    console = Console(file=io.StringIO(), width=width, height=height)
    console.print(view(console))
    return console.file.getvalue().splitlines()


DATA = "synthetic:rows=100000 fm"
METHOD = "pep:granularity=feature,search_epochs=3"


@pytest.mark.parametrize("width", [80, 160])
def test_figures_are_never_cut(tmp_path, width):
    trial = RunningTrial("a" * 64, f"{DATA} {METHOD} 12.5%", "tuning 12/20", time.time() - 3599.0)
    with live_file(tmp_path, trial.key) as watch:
        watch(Progress("retrain", 1200, 123, 1_234_567.0, 0.81234))
        lines = shown(lambda c: snapshot_view(snapshot(running=[trial]), tmp_path, c), width)
    assert max(map(len, lines)) <= width
    assert "35% · 2m05s left" in lines[0]
    assert lines[1] == "14/40 runs, 5 reused, 1 failed, 2/7 cells"
    for figure in ("12.5%", "tuning 12/20", "retrain", "123", "0.8123", "1,235k"):
        assert figure in lines[-1]
    assert lines[-1].startswith("pep:granularity=")
    assert (f"{METHOD} {DATA}" in lines[-1]) == (width == 160)


def test_more_trials_than_lines_are_counted(tmp_path):
    running = [RunningTrial(str(n), "d fm m 50%", "final 1/5", 0.0) for n in range(200)]
    lines = shown(lambda c: snapshot_view(snapshot(running=running), tmp_path, c), 80, 24)
    assert len(lines) <= 24
    assert re.fullmatch(r"… and \d+ more", lines[-1])


@pytest.mark.slow
def test_every_finished_trial_has_a_line_with_a_time_where_there_is_no_terminal(tiny_run):
    ran = tiny_run(*METHODS, "--out=out")
    lines = [line for line in ran.err.splitlines() if re.match(r"\d\d:\d\d:\d\d ", line)]
    assert sum("validation AUC" in line and "runs," in line for line in lines) == 8
    assert sum(line[9:].startswith("[") for line in lines) == 2
    again = tiny_run(*METHODS, "--out=out")
    assert len(again.err.splitlines()) == 3
    assert "all reused" in again.err
    assert tiny_run(*METHODS, "--out=out", "--quiet").err == ""


def test_status_tells_where_a_run_stands(tiny_run, pepbench, tmp_path):
    assert tiny_run(*METHODS, "--out=out").code == 0
    (told,) = json.loads(pepbench("status", "out", "--json").out)["coordinators"]
    assert told["pid"] == os.getpid()
    expected = {"state": "finished", "cells": 2, "cells_done": 2, "trials": 8, "done": 8}
    assert expected.items() <= told.items()
    ran = pepbench("status", "out")
    assert "finished, last sign of life" in ran.out
    assert "8/8 runs" in ran.out
    assert pepbench("status", "out", "--watch").code == 0
    # One whose process is gone without a word was killed.
    path = next((tmp_path / "out" / "live").glob("coordinator-*.json"))
    child = os.fork()
    if not child:
        os._exit(0)
    os.waitpid(child, 0)
    path.write_text(json.dumps(told | {"state": "running", "pid": child}))
    assert "interrupted" in pepbench("status", "out").out
    path.write_text("{")
    assert "no coordinator has worked" in pepbench("status", "out").out
    assert len(results(tmp_path / "out")) == 8


def test_status_of_what_is_no_run_is_refused(pepbench, tmp_path):
    ran = pepbench("status", tmp_path)
    assert (ran.code, ran.err.count("\n")) == (2, 1)
    assert "holds no run" in ran.err
