"""Numbers too small for the processor's fast path."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import torch


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
