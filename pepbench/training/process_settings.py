"""Settings of the process that training needs: precision, denormal numbers and freed memory."""

from __future__ import annotations

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""Options of glibc's ``mallopt``."""

_LARGEST = 1 << 30


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Let results below the least normal number (1.2e-38 of float32) be zero, in this thread.

    Threads that torch starts meanwhile do the same, and go on with it afterwards.

    Under an L2 penalty alone, as for the weights of a dead unit, Adam never reaches zero: once the
    gradient is far below its epsilon, a step takes a fixed share of the value. After some thousand
    steps such values and their moments are denormal, and many processors need a hundred times as
    long to multiply them. Where the processor has no such mode, nothing changes.
    """
    before = sys.float_info.min / 2 == 0
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(before)


@contextmanager
def single_precision() -> Iterator[None]:
    """Let new tensors be float32, whatever the program that runs a trial has set."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


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
