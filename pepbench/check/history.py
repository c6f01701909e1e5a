"""The history of checks: one JSON line for each."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path

import pandas as pd
from filelock import FileLock

from pepbench.check.findings import Finding
from pepbench.errors import RecordError
from pepbench.records import Environment

_OF_CHECK = ("created", "git", "failed")
_OF_FINDING = ("kind", "subject", "verdict", "baseline", "current", "unit", "change")
COLUMNS = (*_OF_CHECK, *_OF_FINDING, "alarm")
"""Of the frame that :func:`read_history` gives; ``failed`` is of the check, ``alarm`` of the
finding."""

BAD = ("worse", "slower", "larger")
"""Verdicts that are marked even where they only told of slowness on another machine."""


def append_history(
    path: Path, created: datetime, environment: Environment, findings: Sequence[Finding]
) -> None:
    """Append one check as one line, whole or not at all, also with others who append."""
    line = {
        "created": created.isoformat(),
        "git": environment.git,
        "pepbench": environment.pepbench,
        "cpu": environment.cpu,
        "failed": any(finding.failed for finding in findings),
        "findings": [vars(finding) for finding in findings],
    }
    content = json.dumps(line, ensure_ascii=False, allow_nan=False).encode() + b"\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")), path.open("ab+") as file:
        end = file.seek(0, os.SEEK_END)
        if end:
            file.seek(end - 1)
            # A line that a crash cut short must not swallow the next.
            content = content if file.read(1) == b"\n" else b"\n" + content
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def read_history(path: Path, warn: Callable[[str], None] = lambda _: None) -> pd.DataFrame:
    """A row for each finding of each check, oldest first: the columns :data:`COLUMNS`.

    Parameters
    ----------
    warn
        Called with one line for each line of the file that cannot be read; it is left out.

    Raises
    ------
    RecordError
        If the file cannot be read at all, or holds no check.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8"
        raise RecordError(f"{path}: {reason}; append to it with: --history {path}") from None
    rows = []
    for number, text in enumerate(lines, 1):
        if not text.strip():
            continue
        try:
            check = json.loads(text)
            common = {name: check[name] for name in _OF_CHECK}
            common["created"] = datetime.fromisoformat(common["created"])
            found = [
                {name: finding[name] for name in _OF_FINDING}
                | {"alarm": bool(finding["failed"]) or finding["verdict"] in BAD}
                for finding in check["findings"]
            ]
        except (ValueError, KeyError, TypeError):
            warn(f"{path}: line {number} is no whole check; left out")
            continue
        rows += [common | finding for finding in found]
    if not rows:
        raise RecordError(f"{path}: holds no check; append one with: --history {path}")
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    return frame.sort_values("created", kind="stable", ignore_index=True)
