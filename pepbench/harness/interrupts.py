"""What Ctrl-C and SIGTERM mean while trials run."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

GRACE_SECONDS = 10.0
"""How long running trials may go on after the first interruption. Batch systems wait for 30 s."""


@dataclass(eq=False)
class Stop:
    """Whether somebody asked for an end."""

    requested: bool = False


@contextmanager
def stoppable(tell: Callable[[], None], grace: float = GRACE_SECONDS) -> Iterator[Stop]:
    """Let the first Ctrl-C or SIGTERM ask for an end, and only a second Ctrl-C force it.

    Parameters
    ----------
    tell
        Called once, when an end is asked for.
    grace
        Seconds after which an end that was asked for is forced.

    Yields
    ------
    Stop
        To look at between trials. What runs when an end is forced gets a KeyboardInterrupt.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop  # only the main thread hears of signals
        return

    def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if stop.requested:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        stop.requested = True
        # The alarm is borrowed only now: tests, for one, have theirs.
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, force)
        signal.setitimer(signal.ITIMER_REAL, grace)
        tell()

    def force(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        raise KeyboardInterrupt

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        if stop.requested:
            signal.setitimer(signal.ITIMER_REAL, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
