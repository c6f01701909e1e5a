import os
import signal
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from undrawn import draw_nothing

from pepbench.cli import main

TINY = (
    "--datasets=synthetic:rows=2000:features=60:fields=4",
    "--dim=4",
    "--epochs=2",
    "--trials=2",
    "--finalists=1",
    "--seeds=2",
    "--batch-size=256",
)
"""Options of a run of a second or so."""


@dataclass(frozen=True)
class Ran:
    """What a command came to."""

    code: int
    out: str
    err: str


Command = Callable[..., Ran]


LONGEST = ("tests/test_docs_commands.py", "tests/test_packaging.py", "tests/test_docs_site.py")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest tests first, so that no worker ends with them while the others wait."""
    items.sort(key=lambda item: not item.nodeid.startswith(LONGEST))


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """As in a worker: small tensors gain nothing from more, and waiting threads cost much."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def session_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def tiny_cache(session_cache: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One data cache for all tests that only read tiny synthetic rows."""
    monkeypatch.setenv("PEPBENCH_CACHE", str(session_cache))
    return session_cache


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data cache of this test's own."""
    folder = tmp_path / "cache"
    monkeypatch.setenv("PEPBENCH_CACHE", str(folder))
    return folder


@pytest.fixture
def raw() -> Callable[[str], Path]:
    """The folder of the raw files of a data set; the test is skipped where it is not here."""

    def folder_of(name: str) -> Path:
        default = Path(__file__).resolve().parents[2] / "shared" / "data"
        folder = Path(os.environ.get("PEPBENCH_DATA_DIR", default)) / name
        if not folder.is_dir():
            pytest.skip(f"no raw data in {folder}; set PEPBENCH_DATA_DIR")
        return folder

    return folder_of


@pytest.fixture
def pepbench(
    tiny_cache: Path,  # noqa: ARG001
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Command]:
    """Call the command line in this process, in an empty working directory."""
    monkeypatch.chdir(tmp_path)
    handler = signal.getsignal(signal.SIGTERM)

    def call(*arguments: object) -> Ran:
        monkeypatch.setattr(sys, "argv", ["pepbench", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        return Ran(int(left.value.code or 0), *capsys.readouterr())

    yield call
    signal.signal(signal.SIGTERM, handler)


@pytest.fixture
def nothing_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Charts and the page take longer than a tiny run, and have tests of their own."""
    draw_nothing(monkeypatch.setattr)


@pytest.fixture
def tiny_run(pepbench: Command, nothing_drawn: None) -> Command:  # noqa: ARG001
    """``pepbench run`` on tiny synthetic rows, in this process alone; nothing is drawn."""
    return lambda *arguments: pepbench("run", *TINY, "--jobs=1", *arguments)
