"""Where trials run: in this process, or in worker processes on this machine."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import Executor, Future
from contextlib import suppress
from typing import Any

import loky

WATCH_SECONDS = 1.0
"""How often a worker looks whether its coordinator is still there."""


class SerialExecutor(Executor):
    """Runs each task at once, in the calling process."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        """Run ``fn`` now; the future is done when it is returned."""
        future: Future[Any] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


def local_executor(jobs: int) -> Executor:
    """One worker process for each job; none for a single job."""
    if jobs == 1:
        return SerialExecutor()
    executor: Executor = loky.ProcessPoolExecutor(
        max_workers=jobs, initializer=_become_worker, initargs=(os.getpid(),)
    )
    return executor


def stop_at_once(executor: Executor) -> None:
    """Give up running tasks: their worker processes are killed."""
    if isinstance(executor, SerialExecutor):
        return
    # A pool that is just ending by itself has closed the pipe by which it would be told.
    with suppress(OSError):
        executor.shutdown(kill_workers=True)  # type: ignore[call-arg]


def _become_worker(coordinator: int) -> None:
    # Ctrl-C reaches the whole process group; the coordinator alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_leave_with, args=(coordinator,), daemon=True).start()


def _leave_with(coordinator: int) -> None:
    # A coordinator that is killed outright cannot stop its workers.
    while os.getppid() == coordinator:
        time.sleep(WATCH_SECONDS)
    os._exit(1)
