"""The cache folder of encoded tables and splits; each is there complete or not at all.

::

    <root>/tables/<name>-<hash of options and version>/     a table (see pepbench.data.table)
    <root>/tables/<name>-<hash>/splits/seed-<seed>/         a split of it (pepbench.data.splits)

A folder is filled under a temporary name next to it and renamed when complete, under a lock, so
that several processes that need the same folder build it once.
"""

from __future__ import annotations

import math
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from pepbench.data.arrays import json_digest
from pepbench.data.dataset import Dataset

LAYOUT_VERSION = 1
"""Version of the files in the cache. Raise it when they change: older folders are then ignored."""

FOLDS_BYTES = 4 * 2**30
"""The encoded rows of a table's folds may take up this many bytes on disk; two folds always may."""


def cache_root() -> Path:
    """``PEPBENCH_CACHE`` if set, else the user's cache folder."""
    chosen = os.environ.get("PEPBENCH_CACHE")
    if not chosen:
        return Path(platformdirs.user_cache_dir("pepbench"))
    # Dockerfiles leave a tilde in. Unlike pathlib's, this leaves it where there is no home folder.
    return Path(os.path.expanduser(chosen))  # noqa: PTH111


def table_folder(dataset: Dataset) -> Path:
    """Folder of the table of a data set with its options."""
    identity = [LAYOUT_VERSION, dataset.name, dataset.version, dataset.identity()]
    return cache_root() / "tables" / f"{dataset.name}-{json_digest(identity, 12)}"


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a folder that may not exist yet; waits for other processes."""
    if str(folder).startswith("~"):
        raise FileNotFoundError("this user has no home folder")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(folder.parent / f".{folder.name}.lock"):
        yield


@contextmanager
def building(folder: Path) -> Iterator[Path]:
    """A new, empty folder that replaces ``folder`` if the block ends without an exception.

    Hold the lock of ``folder``. Left-overs of killed processes are removed. Finished files are
    read-only.
    """
    for leftover in folder.parent.glob(f".{folder.name}.*.tmp"):
        shutil.rmtree(leftover, ignore_errors=True)
    new = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
    old = folder.parent / f".{folder.name}.old.tmp"
    try:
        new.chmod(0o755)
        yield new
        for path in filter(Path.is_file, new.iterdir()):
            path.chmod(0o444)
        if folder.exists():
            folder.rename(old)
        new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
        shutil.rmtree(old, ignore_errors=True)


@contextmanager
def scratch(parent: Path, name: str) -> Iterator[Path]:
    """A new, empty folder within ``parent`` that is removed when the block ends.

    Those of killed processes are removed first: nobody holds their locks.
    """
    with locked(parent / name):
        for leftover in parent.glob(f".{name}-*"):
            with suppress(Timeout, OSError), FileLock(leftover / "lock", timeout=0):
                shutil.rmtree(leftover)
        place = Path(tempfile.mkdtemp(prefix=f".{name}-", dir=parent))
        lock = FileLock(place / "lock")
        lock.acquire()
    try:
        (place / "files").mkdir()
        yield place / "files"
    finally:
        lock.release()
        shutil.rmtree(place, ignore_errors=True)


def wrong_sizes(folder: Path, sizes: dict[str, int]) -> list[str]:
    """A message for each file that is missing or has another size than recorded."""
    problems = []
    for name, size in sizes.items():
        path = folder / name
        if not path.is_file():
            problems.append(f"{name} is missing")
        elif path.stat().st_size != size:
            problems.append(f"{name} has {path.stat().st_size} bytes instead of {size}")
    return problems


def file_sizes(folder: Path) -> dict[str, int]:
    """Bytes of each file in a folder, without sub-folders."""
    return {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}


def table_bytes(n_rows: int, n_fields: int) -> int:
    """The most that a table and one split of it take up on disk, vocabularies excluded.

    >>> table_bytes(45_840_617, 39)
    14393953738
    """
    return n_rows * (2 * (4 * n_fields + 1))


def mark_used(folder: Path) -> None:
    """Note that a fold's rows are in use now; without effect in a cache that cannot be written."""
    with suppress(OSError):
        os.utime(folder)


def evict_folds(keep: Path) -> None:
    """Delete the rows of folds used longest ago while all together take up too much room.

    ``keep`` is the folder of the fold in use, next to the others'. Two folds stay in any case, and
    so does what describes a fold; its rows are encoded again when they are needed. A process that
    has them open keeps them.
    """
    mark_used(keep)
    rows = {folder: sorted(folder.glob("*-*.npy")) for folder in keep.parent.glob("seed-*-of-*")}
    used = sorted((folder for folder in rows if rows[folder]), key=_last_used, reverse=True)
    room = 0
    for number, folder in enumerate(used):
        with suppress(OSError):  # another process evicts it
            room += sum(path.stat().st_size for path in rows[folder])
            if number > 1 and room > FOLDS_BYTES:
                for path in rows[folder]:
                    path.unlink(missing_ok=True)


def _last_used(folder: Path) -> float:
    """When a fold was used last; infinity while another process replaces its folder."""
    try:
        return folder.stat().st_mtime
    except OSError:
        return math.inf
