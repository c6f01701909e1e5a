"""How many processors this process may use."""

import os


def usable_cores() -> int:
    """Number of cores that this process may run on; all of the machine where that is unknown.

    Batch systems and containers often allow fewer than the machine has. macOS cannot say.
    """
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
