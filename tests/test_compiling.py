"""Compiled functions work whether or not their code can be cached, and compute the same bits."""

import errno
import os
import pickle
import subprocess
import sys

import numba.core.caching as caching
import pytest
from numba.core.dispatcher import Dispatcher

from pepbench.backbones import attention, dropout
from pepbench.compiling import called_kernels, compiled
from pepbench.data import kernels as data_kernels
from pepbench.tables import kernels as table_kernels
from pepbench.training import fm_kernels, optimizer_kernels

MODULES = (attention, dropout, data_kernels, table_kernels, fm_kernels, optimizer_kernels)


def double(x):
    return 2 * x


def test_without_a_folder_to_cache_in_the_function_is_compiled_all_the_same(monkeypatch):
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    function = compiled()(double)
    assert function(3) == 6
    assert function.stats.cache_path is None


@pytest.mark.parametrize("method", ["_save_overload", "_load_overload"])
@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), PermissionError("no"), EOFError(),
              pickle.UnpicklingError()],
    ids=repr,
)  # fmt: skip
def test_a_cache_that_fails_later_is_done_without(monkeypatch, tmp_path, method, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(caching.Cache, method, fail)
    assert compiled(fastmath=True)(double)(3) == 6


def test_a_function_is_compiled_once_where_the_cache_can_be_written(monkeypatch, tmp_path):
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path))
    assert compiled()(double)(3) == 6
    again = compiled()(double)
    assert again(3) == 6
    assert sum(again.stats.cache_hits.values()) == 1


def test_kernels_that_others_call_are_inlined_and_so_defined_once():
    kernels = [k for module in MODULES for k in vars(module).values() if isinstance(k, Dispatcher)]
    called = {inner for outer in kernels for inner in called_kernels(outer.py_func)}
    assert fm_kernels.cross_entropy in called
    assert all(kernel.targetoptions.get("forceinline") for kernel in called)


def written(path, source, **names):
    """The names of a module with this source, whose file is as old whenever it is written."""
    path.write_text(source)
    os.utime(path, ns=(0, sum(source.encode())))
    names |= {"__name__": path.stem, "compiled": compiled}
    exec(compile(source, str(path), "exec"), names)
    return names


def test_a_caller_is_compiled_again_when_what_it_takes_from_other_files_changes(
    monkeypatch, tmp_path
):
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path / "cache"))

    def result(factor, constant):
        inner = written(tmp_path / "g.py", f"@compiled()\ndef g(x):\n    return {factor} * x\n")
        source = "@compiled()\ndef f(x):\n    return g(x) + N\n"
        caller = written(tmp_path / "f.py", source, g=inner["g"], N=constant)
        return caller["f"](3), sum(caller["f"].stats.cache_hits.values())

    assert result(2, 0) == (6, 0)
    assert result(2, 0) == (6, 1)
    assert result(5, 0) == (15, 0)
    assert result(5, 1) == (16, 0)


def test_a_file_that_changes_before_the_first_call_is_not_taken_for_what_was_imported(
    monkeypatch, tmp_path
):
    monkeypatch.setattr("numba.core.config.CACHE_DIR", str(tmp_path / "cache"))

    def imported(factor):
        inner = written(tmp_path / "g.py", f"@compiled()\ndef g(x):\n    return {factor} * x\n")
        source = "@compiled()\ndef f(x):\n    return g(x)\n"
        return written(tmp_path / "f.py", source, g=inner["g"])["f"]

    changed = imported(2)
    new = (tmp_path / "g.py").read_text().replace("2", "5")
    (tmp_path / "g.py").write_text(new)
    os.utime(tmp_path / "g.py", ns=(0, sum(new.encode())))
    assert changed(3) == 6
    assert imported(5)(3) == 15


FIT = """
from pepbench.catalog import Catalog
from pepbench.contract.candidate import Candidate
from pepbench.contract.toy import make_toy
print(Candidate(Catalog(()).load("method", "full")(), make_toy()).usual.digest())
"""


@pytest.mark.slow
def test_code_from_the_cache_computes_the_same_bits_as_newly_compiled_code(tmp_path):
    environment = os.environ | {"NUMBA_CACHE_DIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    digests = [
        subprocess.check_output([sys.executable, "-c", FIT], env=environment) for _ in range(2)
    ]
    assert digests[0] == digests[1]
