"""Progress of running trials, as small files in the run's folder."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path

from pepbench.training.progress import Progress, ProgressCallback, ignore_progress

LIVE_FOLDER = "live"
"""Below the run's folder: a JSON file for each running trial, removed when the trial ends."""

SECONDS_BETWEEN = 0.5
"""Between two reports of a trial, as often as displays are drawn; short trials make none."""


@contextmanager
def live_file(folder: Path | None, key: str) -> Iterator[ProgressCallback]:
    """A callback that writes the trial's latest progress to ``folder``, if one is given.

    A folder that cannot be written does not fail the trial; its progress is then unknown.
    """
    if folder is None:
        yield ignore_progress
        return
    path = _path(folder, key)
    try:
        yield lambda moment: write_live(path, json.dumps(asdict(moment)).encode())
    finally:
        for left in (_unfinished(path), path):
            with suppress(OSError):
                left.unlink()


def spaced(callback: ProgressCallback) -> ProgressCallback:
    """A callback that passes reports on every :data:`SECONDS_BETWEEN`, counted from now."""
    passed = time.monotonic()

    def pass_on(progress: Progress) -> None:
        nonlocal passed
        if time.monotonic() - passed >= SECONDS_BETWEEN:
            passed = time.monotonic()
            callback(progress)

    return pass_on


def write_live(path: Path, content: bytes) -> None:
    """Replace a file without waiting for the disk; skip one that cannot be written."""
    with suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        _unfinished(path).write_bytes(content)
        _unfinished(path).replace(path)


def live_progress(folder: Path, key: str) -> Progress | None:
    """A trial's latest progress; None if it has not reported any, or has ended."""
    try:
        return Progress(**json.loads(_path(folder, key).read_text("utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def _unfinished(path: Path) -> Path:
    return path.with_name(f".{path.stem}.tmp")


def _path(folder: Path, key: str) -> Path:
    return folder / f"{key}.json"
