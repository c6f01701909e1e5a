"""One worker process under supervision: limits of time and memory, and retries if it dies.

Every executor but ``serial`` runs trials in a supervised worker: on this machine, or in a process
beside the worker of a Dask or Ray cluster. Limits and retries are therefore the same everywhere,
and a cluster's worker stays idle and answers its scheduler.
"""

from __future__ import annotations

import functools
import multiprocessing
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Future, wait
from contextlib import suppress
from pathlib import Path
from typing import cast

import loky
import psutil

from pepbench.catalog import Catalog
from pepbench.data.dataset import Dataset
from pepbench.data.manage import add, is_added, open_table
from pepbench.errors import DataError
from pepbench.harness.executors.calls import (
    Answer,
    Call,
    PackedOutcome,
    refuse_other_versions,
    versions,
)
from pepbench.harness.trial import Outcome, failed_record, run_trials
from pepbench.records import DataSpec
from pepbench.units import byte_size

MAX_ATTEMPTS = 3
"""How often a trial is started that kills its worker process."""

PARENT_CHECK_SECONDS = 1.0
"""How often a worker checks that its parent is still there."""

MOST_GROWTH = 4e9
"""Bytes by which a worker may grow between trials before loky replaces it. Its default, 300 MB,
is less than the rows and tables of one trial on a large data set."""

POLL_SECONDS = 0.1
"""How often a worker's running time and memory are checked."""


class Abandoned(Exception):
    """Nobody waits for this trial any more."""


def run_call(text: str) -> Answer:
    """Run the trials of a call, in a worker that has the coordinator's versions and rows.

    Raises
    ------
    PepbenchError
        If this worker's versions or rows differ. A trial that merely fails is an answer.
    """
    call = Call.from_json(text)
    refuse_other_versions({socket.gethostname(): versions()}, call.versions)
    _check_once(call.specs[0].data, call.context.plugins, tuple(call.context.raw.items()))
    return [PackedOutcome.pack(outcome) for outcome in run_trials(call.specs, call.context)]


@functools.lru_cache(64)
def _check_once(
    data: DataSpec, plugins: tuple[Path, ...], raw: tuple[tuple[str, str], ...]
) -> None:
    """:func:`check_rows`, unless it has found nothing wrong in this process before."""
    check_rows(data, Catalog(plugins), dict(raw))


def check_rows(data: DataSpec, catalog: Catalog, raw: dict[str, str]) -> None:
    """Check that this machine's cache has a data set's rows; add them from raw files if it can.

    Raises
    ------
    DataError
        If they are missing and cannot be added, or differ from the coordinator's.
    """
    dataset = cast(Dataset, catalog.select("dataset", data.spec).default())
    if not dataset.generated and not is_added(dataset):
        source = Path(raw[dataset.name]) if dataset.name in raw else None
        if source is None or not source.exists():
            where = "no --raw folder was given" if source is None else f"{source} is not here"
            raise DataError(
                f"worker on {socket.gethostname()}: data set {data.spec!r} is not in its cache and "
                f"{where}; let PEPBENCH_CACHE be a shared folder, or give "
                f"--raw {dataset.name}=FOLDER that workers can read"
            )
        add(dataset, source)
    found = open_table(dataset).fingerprint
    if found != data.table_fingerprint:
        raise DataError(
            f"worker on {socket.gethostname()}: data set {data.spec!r} differs from the "
            f"coordinator's: table fingerprint {found}, expected {data.table_fingerprint}; "
            "add it there from the same raw files"
        )


class SupervisedWorker:
    """Runs one call at a time, in a process of its own that is kept for the next.

    Parameters
    ----------
    cuda
        Value of ``CUDA_VISIBLE_DEVICES`` in the process; None leaves it as it is.
    """

    def __init__(self, cuda: str | None = None) -> None:
        self._environment = {"LOKY_MAX_MEMORY_LEAK_SIZE": str(MOST_GROWTH)}
        if cuda is not None:
            self._environment["CUDA_VISIBLE_DEVICES"] = cuda
        self._pool: loky.ProcessPoolExecutor | None = None
        self._warm: list[int] = []
        """Process ids of those that have imported everything."""
        self._closed = False

    def run(self, call: Call, abandoned: Callable[[], bool] = lambda: False) -> Answer:
        """Run trials within their limits; retry them if their process dies.

        After :data:`MAX_ATTEMPTS` deaths they come back as failed.

        Parameters
        ----------
        call
            The trials.
        abandoned
            Called now and then: whether nobody waits for the answer any more.

        Raises
        ------
        Abandoned
            If nobody waits for the answer any more, or the worker was killed.
        """
        text = call.to_json()
        for _ in range(MAX_ATTEMPTS):
            try:
                pool = self._ready()
                over = self._watch(pool, future := pool.submit(run_call, text), call, abandoned)
                if over is not None:
                    self._end()
                    return _failed(call, over)
                answer: Answer = future.result()
                return answer
            except BrokenExecutor:
                self._end()
                if self._closed or abandoned():
                    raise Abandoned from None
        return _failed(
            call, f"the worker process died {MAX_ATTEMPTS} times, perhaps for lack of memory"
        )

    def kill(self) -> None:
        """End the process at once, whatever it does; nothing can be run afterwards."""
        self._closed = True
        self._end()

    def close(self) -> None:
        """End the process, which is idle."""
        self._closed = True
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()

    def _ready(self) -> loky.ProcessPoolExecutor:
        """A process that has imported everything, so that only the trial itself is timed."""
        if self._closed:
            raise Abandoned
        if self._pool is None:
            self._pool = loky.ProcessPoolExecutor(
                max_workers=1,
                initializer=_become_worker,
                initargs=(os.getpid(),),
                env=self._environment,
            )
        pool = self._pool
        # loky starts a process at the first call, and replaces one whose memory grows.
        processes = list(pool._processes or {})
        if not processes or processes != self._warm:
            pool.submit(os.getpid).result()
            self._warm = list(pool._processes or {})
        return pool

    def _watch(
        self,
        pool: loky.ProcessPoolExecutor,
        future: Future[Answer],
        call: Call,
        abandoned: Callable[[], bool],
    ) -> str | None:
        """Wait for the answer; the reason if a limit was passed."""
        limit, memory, began = call.context.max_seconds, call.context.max_bytes, time.monotonic()
        # Trials that share a search may take as long together as each by itself.
        seconds = None if limit is None else limit * len(call.specs)
        while not wait([future], timeout=POLL_SECONDS).done:
            if abandoned():
                self._end()
                raise Abandoned
            if seconds is not None and time.monotonic() - began > seconds:
                return f"ran longer than the --trial-timeout of {limit:g} s"
            if memory is not None and (used := _resident(pool)) > memory:
                return (
                    f"its process held {byte_size(used)}, more than the --memory-limit of "
                    f"{byte_size(memory)}"
                )
        return None

    def _end(self) -> None:
        pool, self._pool = self._pool, None
        if pool is None:
            return
        for pid in list(pool._processes or {}):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        # A pool that is just ending by itself has closed the pipe that this writes to.
        with suppress(OSError, RuntimeError):
            pool.shutdown(wait=False)


def _resident(pool: loky.ProcessPoolExecutor) -> int:
    total = 0
    for pid in list(pool._processes or {}):
        with suppress(psutil.Error):
            total += psutil.Process(pid).memory_info().rss
    return total


def _failed(call: Call, reason: str) -> Answer:
    threads = call.context.threads
    return [PackedOutcome.pack(Outcome(failed_record(s, reason, threads))) for s in call.specs]


def _become_worker(parent: int) -> None:
    # Ctrl-C and a batch system's SIGTERM reach the whole group; the coordinator alone decides
    # what they mean.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    # Standard output is the coordinator's, for tables or JSON.
    sys.stdout = sys.stderr
    threading.Thread(target=_exit_with_parent, args=(parent,), daemon=True).start()


def _exit_with_parent(parent: int) -> None:
    # A parent that is killed outright cannot stop its workers.
    while os.getppid() == parent:
        time.sleep(PARENT_CHECK_SECONDS)
    os._exit(1)


_OF_THREAD = threading.local()


def run_supervised(text: str, abandoned: Callable[[], bool] = lambda: False) -> Answer:
    """Run a call in a cluster's worker, by a supervised process that each of its threads keeps."""
    # Dask's nanny marks its workers as daemons, which may not have children. Ours leave when
    # their parent does.
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    if not hasattr(_OF_THREAD, "worker"):
        _OF_THREAD.worker = SupervisedWorker()
    worker: SupervisedWorker = _OF_THREAD.worker
    return worker.run(Call.from_json(text), abandoned)
