"""Every block of shell commands in the documentation runs, or says why not."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import typer.main
from doc_blocks import PAGES, ROOT, blocks
from typer.testing import CliRunner

from pepbench.cli import app

SHORT = "--dim 4 --epochs 2 --trials 1 --seeds 2 --batch-size 1024 --jobs 1"
"""Options added to every ``pepbench run``; they override those on the page."""


def name(page):
    return page.relative_to(ROOT).as_posix()


HEAVY = {"README.md", "docs/planted-truth.md"}
"""Pages that take minutes: PEP on real data, and sixteen methods."""

RUNNABLE = [
    pytest.param(page, marks=pytest.mark.nightly if name(page) in HEAVY else (), id=name(page))
    for page in PAGES
    if any(block.runs for block in blocks(page))
]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_block_of_commands_says_how_it_is_run(page):
    for block in blocks(page):
        if block.language == "sh":
            assert block.is_marked, f"write <!-- run --> or <!-- not run: why --> before {block}"


def commands(group, path=()):
    for word, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, (*path, word))
        else:
            yield pytest.param((*path, word), command.epilog, id=" ".join((*path, word)))


@pytest.mark.parametrize(("path", "examples"), list(commands(typer.main.get_command(app))))
def test_examples_of_help_can_be_copied_from_a_terminal_of_80_columns(path, examples):
    shown = CliRunner().invoke(app, [*path, "--help"], env={"COLUMNS": "80"}).output
    on_the_page = {line.strip() for line in shown.splitlines()}
    for example in (examples or "").split("\n\n"):
        assert " ".join(example.split()) in on_the_page | {""}


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", RUNNABLE)
def test_commands_run(page, place):
    left_out, ran = [], 0
    for block in blocks(page):
        if block.file is not None:
            (place / block.file).parent.mkdir(parents=True, exist_ok=True)
            (place / block.file).write_text(block.body)
        if not block.runs:
            continue
        if reason := block.lacking():
            left_out.append(reason)
            continue
        run(block, place)
        ran += 1
    if not ran:
        pytest.skip("; ".join(left_out))


def run(block, place):
    home = place.parent / "home"
    program = {"sh": ["bash", "-euo", "pipefail", "-c"], "python": [sys.executable, "-c"]}
    environment = os.environ | {
        "PATH": f"{place.parent / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "HOME": str(home),
        "DOC_OPTIONS": f"{SHORT} {block.parts.get('with', '')}",
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [*program[block.language], block.body],
        cwd=place,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, f"{block.body}\n{done.stdout}\n{done.stderr}"


@pytest.fixture
def place(tiny_cache, tmp_path):  # noqa: ARG001
    """A folder like a reader's, with click logs, and data sets in ~/data."""
    (tmp_path / "bin").mkdir()
    program = tmp_path / "bin/pepbench"
    script = ROOT / "tests/doc_program.py"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{script}" "$@"\n')
    program.chmod(0o755)
    (tmp_path / "home").mkdir()
    if given := os.environ.get("PEPBENCH_DATA_DIR"):
        (tmp_path / "home/data").symlink_to(Path(given).resolve())
    folder = tmp_path / "here"
    folder.mkdir()
    write_clicks(folder / "clicks.parquet")
    write_criteo(folder / "train.txt")
    return folder


def write_clicks(path, n_rows=3000):
    rng = np.random.default_rng(0)
    user, item = rng.zipf(1.3, (2, n_rows)) % 200
    pd.DataFrame(
        {
            "user": [f"u{number}" for number in user],
            "item": [f"i{number}" for number in item],
            "city": rng.choice(["Ulm", "Linz", "Chur"], n_rows),
            "price": rng.gamma(2.0, 10.0, n_rows),
            "time": np.arange(n_rows),
            "clicked": (rng.random(n_rows) < 0.2 + 0.6 * ((user + item) % 2)).astype(np.int8),
        }
    ).to_parquet(path)


def write_criteo(path, n_rows=500):
    rng = np.random.default_rng(0)
    counts = rng.integers(0, 50, (n_rows, 13)).astype(str)
    hashes = rng.integers(0, 20, (n_rows, 26))
    with path.open("w") as file:
        for row in range(n_rows):
            categories = (f"{value:08x}" for value in hashes[row])
            print(int(row % 3 == 0), *counts[row], *categories, sep="\t", file=file)
