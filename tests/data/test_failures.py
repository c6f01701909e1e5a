"""What happens when a table cannot be finished, or is wanted twice at once."""

import errno
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from pepbench.datasets.criteo import Criteo
from small_dataset import random_rows, small

from pepbench.data import arrays, splits
from pepbench.data.manage import add, is_added
from pepbench.data.splits import open_splits
from pepbench.errors import DataError


def left_in(cache: Path) -> list[str]:
    return [p.name for p in cache.rglob("*") if p.is_file() and not p.name.endswith(".lock")]


@pytest.fixture
def full_disk(monkeypatch):
    """Writing fails after a few thousand bytes, as on a full disk."""
    written = 0
    append = arrays.ArrayWriter.append

    def limited(self, block):
        nonlocal written
        written += block.nbytes
        if written > 5_000:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        append(self, block)

    monkeypatch.setattr(arrays.ArrayWriter, "append", limited)


@pytest.mark.usefixtures("full_disk")
def test_full_disk_says_how_much_is_needed_and_cleans_up(raw, cache):
    with pytest.raises(DataError, match=r"no room in .*; about \d+\.\d kB are needed") as caught:
        add(Criteo(), raw("criteo"))
    assert "\n" not in str(caught.value)
    assert left_in(cache) == []


def test_full_disk_while_splitting_leaves_the_table(cache, request):
    table = add(small(*random_rows(3_000)), None)
    request.getfixturevalue("full_disk")
    with pytest.raises(DataError, match=r"no room in .*; about \d+\.\d kB are needed"):
        open_splits(table, 0)
    assert not list(cache.rglob("train-ids.npy"))
    assert is_added(small(*random_rows(3_000)))


def test_real_full_disk_where_one_can_be_mounted(tmp_path, raw, monkeypatch):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=200k", "tmpfs", disk], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("may not mount a small disk here")
    try:
        monkeypatch.setenv("PEPBENCH_CACHE", str(disk))
        with pytest.raises(DataError, match="no room in"):
            add(Criteo(), raw("criteo"))
        assert left_in(disk) == []
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_interrupted_build_leaves_nothing_and_starts_again(cache):
    columns, labels = random_rows()

    class Interrupted(type(small(columns, labels))):
        def blocks(self, source):
            yield from super().blocks(source)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add(Interrupted(), None)
    assert left_in(cache) == []
    assert add(small(columns, labels), None).meta.n_rows == 200


@pytest.mark.slow
def test_command_that_is_ended_leaves_nothing(cache):
    command = [sys.executable, "-m", "pepbench", "data", "add", "synthetic:rows=20000000"]
    environment = {**os.environ, "PEPBENCH_CACHE": str(cache)}
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE)
    patience = time.monotonic() + 60
    while not list(cache.glob("tables/.*.tmp/codes.npy")):
        assert time.monotonic() < patience
        time.sleep(0.05)
    process.terminate()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert b"Traceback" not in errors
    assert left_in(cache) == []


def test_more_features_than_32_bits_can_name_is_an_error(monkeypatch):
    class Limit:
        max = 40

    monkeypatch.setattr(splits.np, "iinfo", lambda _: Limit)
    table = add(small(*random_rows()), None)
    with pytest.raises(DataError, match=r"\d+ features are more than 2\^31 - 1; raise the minimum"):
        open_splits(table, 0)


@pytest.mark.slow
def test_two_commands_at_once_both_succeed_and_agree(raw, cache):
    command = [sys.executable, "-m", "pepbench", "data", "add", "criteo", "--json"]
    environment = {**os.environ, "PEPBENCH_CACHE": str(cache)}
    both = [
        subprocess.Popen(
            [*command, "--from", raw("criteo")], env=environment, stdout=subprocess.PIPE
        )
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert outputs[0] == outputs[1]
    assert len(list(cache.glob("tables/*/meta.json"))) == 1


def test_labels_are_checked_before_anything_is_kept(cache):
    with pytest.raises(DataError, match="all 30 labels are 1"):
        add(small({"a": ["x", "y", "z"] * 10}, np.ones(30)), None)
    assert left_in(cache) == []
