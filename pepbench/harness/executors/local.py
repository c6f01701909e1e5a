"""``serial`` and ``processes``: trials in the calling process, or in workers on this machine."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

from pepbench.errors import PlanError
from pepbench.harness.executors.calls import Answer, Call, Pool
from pepbench.harness.executors.supervised_worker import SupervisedWorker, run_call
from pepbench.harness.run_options import RunOptions


class SerialPool(Pool):
    """Runs trials where they are submitted."""

    workers = 1

    def submit(self, call: Call) -> Future[Answer]:
        """Run the trials now; the future is done when it is returned."""
        future: Future[Answer] = Future()
        try:
            future.set_result(run_call(call.to_json()))
        except Exception as error:
            future.set_exception(error)
        return future

    def close(self) -> None:
        """Nothing to release."""

    stop_at_once = close


class ProcessPool(Pool):
    """One supervised worker for each job, each watched by a thread.

    A worker that dies too often answers with failed records itself.
    """

    def __init__(self, options: RunOptions) -> None:
        cuda = options.cuda or (None,)
        self._all = [SupervisedWorker(cuda[n % len(cuda)]) for n in range(options.jobs)]
        self._idle: SimpleQueue[SupervisedWorker] = SimpleQueue()
        for worker in self._all:
            self._idle.put(worker)
        self._threads = ThreadPoolExecutor(options.jobs, thread_name_prefix="supervisor")

    @property
    def workers(self) -> int:
        """One for each job."""
        return len(self._all)

    def submit(self, call: Call) -> Future[Answer]:
        """Run the trials in the next idle process."""
        return self._threads.submit(self._run, call)

    def close(self) -> None:
        """End the processes."""
        self._threads.shutdown()
        for worker in self._all:
            worker.close()

    def stop_at_once(self) -> None:
        """Kill the processes."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for worker in self._all:
            worker.kill()

    def _run(self, call: Call) -> Answer:
        worker = self._idle.get()
        try:
            return worker.run(call)
        finally:
            self._idle.put(worker)


def open_serial(address: str | None, options: RunOptions) -> Pool:
    """A pool without workers; it cannot end a trial, so it takes no limits."""
    if address is not None:
        raise PlanError(f"--executor serial takes no address, got {address!r}; write serial")
    if options.context.limited:
        raise PlanError(
            "--executor serial cannot end a trial that goes over a limit; "
            "write --executor processes, with --jobs 1 if you like"
        )
    return SerialPool()


def open_processes(address: str | None, options: RunOptions) -> Pool:
    """As many processes as jobs."""
    if address is not None:
        raise PlanError(f"--executor processes takes no address, got {address!r}; use --jobs")
    return ProcessPool(options)
