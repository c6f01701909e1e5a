"""State of a run for other terminals: files that its coordinators keep up to date."""

from __future__ import annotations

import socket
import time
from contextlib import suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import psutil
from pydantic import TypeAdapter, ValidationError
from rich.console import Console, Group
from rich.live import Live

from pepbench.errors import RecordError
from pepbench.harness.status.live_files import LIVE_FOLDER, live_progress, write_live
from pepbench.harness.status.run_counts import RunCounts, Snapshot
from pepbench.harness.status.run_display import snapshot_view
from pepbench.plan import PLAN_FILE
from pepbench.units import duration

WRITE_SECONDS = 1.0
"""Between two updates of a file."""

PREFIX = "coordinator-"
_SNAPSHOTS = TypeAdapter(Snapshot)


class StatusFile:
    """Writes a run's snapshot to a file below its folder; a full disk does no harm."""

    def __init__(self, live: Path, counts: RunCounts) -> None:
        snapshot = counts.snapshot()
        self._path = live / f"{PREFIX}{snapshot.host}-{snapshot.pid}.json"
        self._counts = counts
        self._written = -WRITE_SECONDS

    def write(self, at_once: bool = False) -> None:
        """Write the snapshot, unless that was done less than :data:`WRITE_SECONDS` ago."""
        if not at_once and time.monotonic() - self._written < WRITE_SECONDS:
            return
        self._written = time.monotonic()
        write_live(self._path, _SNAPSHOTS.dump_json(self._counts.snapshot()))


def snapshots(folder: Path) -> list[Snapshot]:
    """States of all coordinators that work, or last worked, in a run's folder.

    One that was killed is shown as interrupted.

    Raises
    ------
    RecordError
        If it is no run's folder.
    """
    if not (folder / PLAN_FILE).exists():
        raise RecordError(f"{folder}: holds no run; give the folder of pepbench run --out")
    found = []
    for path in sorted((folder / LIVE_FOLDER).glob(f"{PREFIX}*.json")):
        with suppress(OSError, ValidationError):
            snapshot = _SNAPSHOTS.validate_json(path.read_bytes())
            here = snapshot.host == socket.gethostname()
            if snapshot.state == "running" and here and not psutil.pid_exists(snapshot.pid):
                snapshot = replace(snapshot, state="interrupted", running=[])
            found.append(snapshot)
    return found


def status_document(folder: Path) -> dict[str, Any]:
    """States of a run's coordinators, as ``pepbench status --json`` prints them."""
    coordinators = []
    for snapshot in snapshots(folder):
        document = asdict(snapshot)
        for trial in document["running"]:
            moment = live_progress(folder / LIVE_FOLDER, trial["key"])
            trial["moment"] = None if moment is None else asdict(moment)
        coordinators.append(document)
    return {"folder": str(folder), "coordinators": coordinators}


def status_view(folder: Path, console: Console) -> Group:
    """States of a run's coordinators, for a terminal."""
    parts: list[Any] = []
    for snapshot in snapshots(folder):
        ago = duration(max(0.0, time.time() - snapshot.updated))
        who = f"process {snapshot.pid} on {snapshot.host}"
        parts.append(f"{who}: {snapshot.state}, last sign of life {ago} ago")
        parts.append(snapshot_view(snapshot, folder / LIVE_FOLDER, console))
        parts += [f"  {line}" for line in snapshot.failures]
    return Group(*(parts or [f"no coordinator has worked in {folder} since it was last opened"]))


def watch_status(folder: Path, console: Console) -> None:
    """Show a run's status until no coordinator is working, or Ctrl-C."""
    with Live(console=console, auto_refresh=False) as live:
        while True:
            live.update(status_view(folder, console), refresh=True)
            if all(snapshot.state != "running" for snapshot in snapshots(folder)):
                return
            time.sleep(WRITE_SECONDS)
