from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("data", deadline=None)  # first calls compile
settings.load_profile("data")


@pytest.fixture(autouse=True)
def _own_cache(cache: Path) -> None:
    pass


@pytest.fixture
def command(pepbench: Callable[..., Any], cache: Path, monkeypatch: pytest.MonkeyPatch):
    """The command line, in an empty working directory, with a cache of this test's own."""
    monkeypatch.setenv("PEPBENCH_CACHE", str(cache))
    return pepbench


@pytest.fixture
def refused(command, cache: Path):
    """Call a command that must end with one line, exit code 2, and nothing in the cache."""

    def call(*arguments: object) -> str:
        ran = command(*arguments)
        last = ran.err.strip().splitlines()[-1]
        assert ran.code == 2, ran
        assert ran.out == ""
        assert last.startswith("pepbench: ")
        assert not list(cache.glob("tables/*/meta.json"))
        assert not list(cache.glob("tables/.*.tmp"))
        assert not list(cache.glob("own/*"))
        return last

    return call
