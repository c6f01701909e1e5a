import os
from collections.abc import Callable
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "cache"
    monkeypatch.setenv("PEPBENCH_CACHE", str(folder))
    return folder


@pytest.fixture
def raw() -> Callable[[str], Path]:
    def folder_of(name: str) -> Path:
        default = REPOSITORY.parent / "shared" / "data"
        folder = Path(os.environ.get("PEPBENCH_DATA_DIR", default)) / name
        if not folder.is_dir():
            pytest.skip(f"no raw data in {folder}; set PEPBENCH_DATA_DIR")
        return folder

    return folder_of
