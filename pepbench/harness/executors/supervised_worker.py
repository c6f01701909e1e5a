"""One worker process under watch: what it may use is bounded, its death is no harm.

Every executor but ``serial`` runs trials in such a slot: here, in a Dask worker, in a Ray worker.
So time and memory limits and retries are the same everywhere, and the worker of a cluster itself
stays idle and answers its scheduler.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, wait
from contextlib import suppress

import loky
import psutil

from pepbench.harness.executors.calls import Answer, Answered, Call
from pepbench.harness.executors.work import work
from pepbench.harness.trial import Outcome, failed_record
from pepbench.units import byte_size

ATTEMPTS = 3
"""How often a trial is started that kills its worker process."""

WATCH_SECONDS = 1.0
"""How often a worker looks whether its parent is still there."""

POLL_SECONDS = 0.1
"""How often a slot looks at its worker's age and memory."""


class GivenUp(Exception):
    """Nobody waits for this trial any more."""


class SupervisedWorker:
    """Runs one trial at a time, in a process of its own that lives on for the next.

    Parameters
    ----------
    cuda
        What ``CUDA_VISIBLE_DEVICES`` is in the process; None leaves it as it is.
    """

    def __init__(self, cuda: str | None = None) -> None:
        self._environment = {} if cuda is None else {"CUDA_VISIBLE_DEVICES": cuda}
        self._pool: loky.ProcessPoolExecutor | None = None
        self._closed = False

    def run(self, call: Call, given_up: Callable[[], bool] = lambda: False) -> Answer:
        """Run a trial within its limits; at most :data:`ATTEMPTS` times if its process dies.

        Parameters
        ----------
        call
            The trial.
        given_up
            Asked now and then whether the answer is still wanted.

        Raises
        ------
        GivenUp
            If the answer is not wanted any more, or the slot was killed.
        """
        text = call.to_json()
        for _ in range(ATTEMPTS):
            try:
                pool = self._ready()
                over = self._watch(pool, future := pool.submit(work, text), call, given_up)
                if over is not None:
                    self._end()
                    return _failed(call, over)
                answer: Answer = future.result()
                return answer
            except BrokenExecutor:
                self._end()
                if self._closed or given_up():
                    raise GivenUp from None
        return _failed(
            call, f"the worker process died {ATTEMPTS} times, perhaps for lack of memory"
        )

    def kill(self) -> None:
        """End the process at once, whatever it does; the slot is of no use afterwards."""
        self._closed = True
        self._end()

    def close(self) -> None:
        """End the process, which is idle."""
        self._closed = True
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()

    def _ready(self) -> loky.ProcessPoolExecutor:
        """A process that has all it needs in memory: a trial's time begins when it begins."""
        if self._closed:
            raise GivenUp
        if self._pool is None:
            self._pool = loky.ProcessPoolExecutor(
                max_workers=1,
                initializer=_become_worker,
                initargs=(os.getpid(),),
                env=self._environment,
            )
        pool = self._pool
        pool.submit(os.getpid).result()
        return pool

    def _watch(
        self,
        pool: loky.ProcessPoolExecutor,
        future: Future[Answer],
        call: Call,
        given_up: Callable[[], bool],
    ) -> str | None:
        """Wait for the end; the reason if a limit was passed."""
        limits, began = call.limits, time.monotonic()
        # Trials that share a search may take as long together as each by itself.
        seconds = None if limits.seconds is None else limits.seconds * len(call.specs)
        while not wait([future], timeout=POLL_SECONDS).done:
            if given_up():
                self._end()
                raise GivenUp
            if seconds is not None and time.monotonic() - began > seconds:
                return f"ran longer than the --trial-timeout of {limits.seconds:g} s"
            if limits.memory is not None and (used := _resident(pool)) > limits.memory:
                return (
                    f"its process held {byte_size(used)}, more than the --memory-limit of "
                    f"{byte_size(limits.memory)}"
                )
        return None

    def _end(self) -> None:
        pool, self._pool = self._pool, None
        if pool is None:
            return
        for pid in list(pool._processes or {}):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # A pool that is just ending by itself has closed the pipe by which it would be told.
        with suppress(OSError, RuntimeError):
            pool.shutdown(wait=False)


def _resident(pool: loky.ProcessPoolExecutor) -> int:
    total = 0
    for pid in list(pool._processes or {}):
        with suppress(psutil.Error):
            total += psutil.Process(pid).memory_info().rss
    return total


def _failed(call: Call, reason: str) -> Answer:
    threads = call.surroundings.threads
    return [Answered.of(Outcome(failed_record(spec, reason, threads))) for spec in call.specs]


def _become_worker(parent: int) -> None:
    # Ctrl-C and a batch system's SIGTERM reach the whole group; the coordinator alone decides
    # what they mean.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=_leave_with, args=(parent,), daemon=True).start()


def _leave_with(parent: int) -> None:
    # A parent that is killed outright cannot stop its workers.
    while os.getppid() == parent:
        time.sleep(WATCH_SECONDS)
    os._exit(1)
