"""Commands where something is missing: a stream, an encoding, a home, a cache."""

import errno
import json
import os
import subprocess
import sys

import pytest

TINY = "synthetic:rows=1000:features=40:fields=3"
COMMANDS = [
    ["--help"],
    ["run", "--help"],
    ["list", "methods"],
    ["show", "method", "pep"],
    ["data", "list"],
    ["data", "info", TINY],
]


def call(arguments, redirection="", **environment):
    program = 'exec "$0" -m pepbench "$@" ' + redirection
    return subprocess.run(
        ["/bin/sh", "-c", program, sys.executable, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        timeout=120,
        check=False,
    )


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_cache")
@pytest.mark.parametrize("encoding", ["ascii", "cp1252"])
@pytest.mark.parametrize("arguments", COMMANDS, ids=" ".join)
def test_characters_that_a_terminal_lacks_are_replaced(arguments, encoding):
    ran = call(arguments, PYTHONIOENCODING=f"{encoding}:strict")
    assert (ran.returncode, ran.stderr) == (0, b"")
    ran.stdout.decode(encoding)


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_cache")
def test_json_loses_no_character():
    arguments = ["list", "methods", "--json"]
    plain = call(arguments, PYTHONIOENCODING="utf-8")
    assert not plain.stdout.isascii()
    for encoding in ("ascii", "cp1252"):
        ran = call(arguments, PYTHONIOENCODING=f"{encoding}:strict")
        assert json.loads(ran.stdout.decode(encoding)) == json.loads(plain.stdout)


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_cache")
@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_closed_streams_are_no_error(closed):
    for arguments in (["list", "methods"], ["data", "info", TINY]):
        assert call(arguments, closed).returncode == 0
    refused = call(["show", "method", "none"], closed)
    assert refused.returncode == 2
    assert b"Traceback" not in refused.stderr


@pytest.mark.slow
@pytest.mark.usefixtures("tiny_cache")
@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")  # noqa: PTH110
def test_full_output_is_one_line():
    ran = call(["list", "methods"], ">/dev/full")
    assert ran.returncode == 2
    assert ran.stderr.decode().strip() == (
        f"pepbench: input or output: {os.strerror(errno.ENOSPC)}"
    )


NO_CACHE = (
    "import numba.core.caching as c; c.CacheImpl._locator_classes = []\n"
    "from pepbench.cli import main; main()"
)


@pytest.mark.slow
def test_a_run_needs_no_home_no_temporary_folder_and_no_cache_of_compiled_code(tmp_path):
    environment = {"PATH": os.environ["PATH"], "HOME": "/proc/none", "TMPDIR": "/nowhere"}
    arguments = [
        "run", f"--datasets={TINY}", "--methods=uniform,full", "--budgets=50%", "--dim=2",
        "--epochs=1", "--trials=1", "--seeds=1", "--jobs=1", "--out=out", "--json",
    ]  # fmt: skip
    command = [sys.executable, "-c", NO_CACHE, *arguments]
    ran = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, timeout=300, check=False
    )
    assert ran.returncode == 2
    assert ran.stderr.startswith(b"pepbench: cannot add data set 'synthetic:rows=1000:")
    assert b"name a writable folder for the cache" in ran.stderr
    assert b"PEPBENCH_CACHE" in ran.stderr
    assert ran.stderr.count(b"\n") == 1
    environment["PEPBENCH_CACHE"] = str(tmp_path / "cache")
    ran = subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, timeout=300, check=False
    )
    assert ran.returncode == 0, ran.stderr
    assert json.loads(ran.stdout)["failed"] == 0


@pytest.mark.parametrize(
    "option",
    ["--dim", "--epochs", "--patience", "--batch-size", "--seeds", "--trials", "--batch", "--jobs",
     "--threads", "--split-seed", "--seed", "--tune-batch-size", "--tuning-time", "--budgets"],
)  # fmt: skip
@pytest.mark.slow
def test_sizes_of_a_run_have_bounds(pepbench, tmp_path, option):
    for size in ("100000000000000000000", "1" + "0" * 400, "1" + "0" * 5000, "-1"):
        ran = pepbench("run", f"--datasets={TINY}", f"{option}={size}", "--dry-run", "--out=out")
        assert ran.code == 2, size[:30]
        assert ran.err.startswith("pepbench: ")
        assert ran.err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
