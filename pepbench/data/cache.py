"""The cache folder: where encoded tables and splits are kept, whole or not at all.

::

    <root>/tables/<name>-<hash of options and version>/     a table (see pepbench.data.table)
    <root>/tables/<name>-<hash>/splits/seed-<seed>/         a split of it (pepbench.data.splits)

A folder is filled under another name beside its place and renamed when complete, under a lock,
so that several processes that want the same folder make it once.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import platformdirs
from filelock import FileLock

from pepbench.data.dataset import Dataset

LAYOUT_VERSION = 1
"""Version of the files in the cache. Raise it when they change: older folders are then ignored."""
FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""What the system answers when there is no room to write."""


def cache_root() -> Path:
    """``PEPBENCH_CACHE`` if set, else the user's cache folder."""
    chosen = os.environ.get("PEPBENCH_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("pepbench"))


def table_folder(dataset: Dataset) -> Path:
    """Where the table of a data set with these very options is kept."""
    identity = [LAYOUT_VERSION, dataset.name, dataset.version, dataset.identity()]
    digest = hashlib.sha256(json.dumps(identity, sort_keys=True).encode()).hexdigest()
    return cache_root() / "tables" / f"{dataset.name}-{digest[:12]}"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder that may not exist yet; waits for other processes."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{folder.name}.lock"):
        yield


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """A new, empty folder that takes the place of ``folder`` if the block ends well.

    Hold the lock of ``folder``. What a killed process left behind is removed. Finished files are
    read-only.
    """
    for leftover in folder.parent.glob(f".{folder.name}.*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
    new = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
    old = folder.parent / f".{folder.name}.old.tmp"
    try:
        new.chmod(0o755)
        yield new
        for path in new.iterdir():
            path.chmod(0o444)
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


def wrong_sizes(folder: Path, sizes: dict[str, int]) -> list[str]:
    """Which of the files are missing or not of the recorded size, in words."""
    problems = []
    for name, size in sizes.items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif path.stat().st_size != size:
            problems.append(f"{name} has {path.stat().st_size} bytes instead of {size}")
    return problems


def file_sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file in a folder, folders below it left out."""
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}


def table_bytes(n_rows: int, n_fields: int) -> int:
    """The most that a table and one split of it take up on disk, vocabularies excluded.

    >>> table_bytes(45_840_617, 39)
    14393953738
    """
    return n_rows * (2 * (4 * n_fields + 1))
