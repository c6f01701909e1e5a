"""How many rows files are likely to hold, and how much room their tables take."""

from __future__ import annotations

import errno

FULL_DISK = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def table_bytes(n_rows: int, n_fields: int) -> int:
    """What a table and one split of it take up at most, vocabularies left out.

    >>> table_bytes(45_840_617, 39)
    14393953738
    """
    return n_rows * (2 * (4 * n_fields + 1))


def in_words(n_bytes: float) -> str:
    """Bytes for people.

    >>> in_words(14_393_953_738), in_words(2_500)
    ('14.4 GB', '2.5 kB')
    """
    for unit in ("bytes", "kB", "MB"):
        if n_bytes < 1000:
            return f"{n_bytes:.1f} {unit}" if unit != "bytes" else f"{n_bytes:.0f} bytes"
        n_bytes /= 1000
    return f"{n_bytes:.1f} GB"
