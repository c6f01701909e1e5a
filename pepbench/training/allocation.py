"""How the C library hands out the memory of tensors."""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Options of glibc's ``mallopt``."""

_LARGEST = 1 << 30


def keep_freed_memory() -> bool:
    """Let this process keep up to 1 GiB of freed memory for its next tensors; True if it will.

    By default glibc may give each gradient of some megabytes back to the system and ask for it
    again in the next step, page by page, which can take as long as the step itself. Other systems
    are left as they are.
    """
    if not sys.platform.startswith("linux"):
        return False
    try:
        set_option = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all(set_option(option, _LARGEST) for option in (_MMAP_THRESHOLD, _TRIM_THRESHOLD))
