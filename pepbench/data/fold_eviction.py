"""Keep the encoded rows of folds within a limit of disk space, those used last."""

from __future__ import annotations

import math
import os
from contextlib import suppress
from pathlib import Path

FOLDS_BYTES = 4 * 2**30
"""The encoded rows of a table's folds may take up this many bytes on disk; two folds always may."""


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
