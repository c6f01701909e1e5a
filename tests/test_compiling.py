"""Compiled functions work whether or not their code can be cached."""

import errno
import pickle

import numba.core.caching as caching
import pytest

from pepbench.compiling import compiled


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
