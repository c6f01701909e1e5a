"""``processes``: worker processes on this machine, one trial in each."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from queue import SimpleQueue

from pepbench.errors import PlanError
from pepbench.harness.executors.calls import Answer, Call
from pepbench.harness.executors.pool import Pool, Settings
from pepbench.harness.executors.supervised_worker import SupervisedWorker


class ProcessPool:
    """A slot for each job, and a thread that watches it."""

    def __init__(self, settings: Settings) -> None:
        self.workers = settings.jobs
        dealt = settings.cuda
        self._slots = [
            SupervisedWorker(dealt[number % len(dealt)] if dealt else None)
            for number in range(settings.jobs)
        ]
        self._idle: SimpleQueue[SupervisedWorker] = SimpleQueue()
        for slot in self._slots:
            self._idle.put(slot)
        self._threads = ThreadPoolExecutor(settings.jobs, thread_name_prefix="slot")

    def submit(self, call: Call) -> Future[Answer]:
        """Run a trial in the next idle process."""
        return self._threads.submit(self._run, call)

    def died(self, error: BaseException) -> str | None:  # noqa: ARG002
        """Never: slots make failed records of it themselves."""
        return None

    def close(self) -> None:
        """End the processes."""
        self._threads.shutdown()
        for slot in self._slots:
            slot.close()

    def stop_at_once(self) -> None:
        """Kill the processes."""
        self._threads.shutdown(wait=False, cancel_futures=True)
        for slot in self._slots:
            slot.kill()

    def _run(self, call: Call) -> Answer:
        slot = self._idle.get()
        try:
            return slot.run(call)
        finally:
            self._idle.put(slot)


def open_pool(address: str | None, settings: Settings) -> Pool:
    """As many processes as jobs."""
    if address is not None:
        raise PlanError(f"--executor processes takes no address, got {address!r}; use --jobs")
    return ProcessPool(settings)
