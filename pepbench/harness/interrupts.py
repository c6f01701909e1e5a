"""Ctrl-C and SIGTERM while trials run: an orderly end first, a forced one second."""

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
class StopRequest:
    """Whether the user has asked the run to stop."""

    requested: bool = False


@contextmanager
def stop_on_interrupt(
    on_request: Callable[[], None], grace: float = GRACE_SECONDS
) -> Iterator[StopRequest]:
    """Stop in an orderly way at the first Ctrl-C or SIGTERM, and at once at a second Ctrl-C.

    Outside the main thread, where Python delivers no signals, nothing is changed.

    Parameters
    ----------
    on_request
        Called once, when an end is asked for.
    grace
        Seconds after which an end that was asked for is forced.

    Yields
    ------
    StopRequest
        To check between trials. Code that runs when an end is forced gets a KeyboardInterrupt.
    """
    stop = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def ask(number: int, frame: FrameType | None) -> None:  # noqa: ARG001
        if stop.requested:
            if number == signal.SIGINT:
                raise KeyboardInterrupt
            return
        stop.requested = True
        # The alarm is taken only now, since others may use it, as a test runner's timeout does.
        before[signal.SIGALRM] = signal.signal(signal.SIGALRM, force)
        signal.setitimer(signal.ITIMER_REAL, grace)
        on_request()

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
