"""``ray`` and ``ray://host:10001``: workers of a Ray cluster."""

from __future__ import annotations

import math
import time
from concurrent.futures import Future
from typing import Any

from pepbench.errors import PlanError
from pepbench.harness.executors.calls import (
    SIZE_CHECK_SECONDS,
    Answer,
    Call,
    Pool,
    refuse_other_versions,
    versions,
)
from pepbench.harness.executors.supervised_worker import MAX_ATTEMPTS, run_supervised
from pepbench.harness.run_options import RunOptions

MISSING = "--executor ray needs Ray, which is not installed; run: pip install 'pepbench[ray]'"


class RayPool(Pool):
    """Hands trials to Ray, which starts them again elsewhere if a worker dies."""

    def __init__(self, ray: Any, options: RunOptions) -> None:
        self._ray = ray
        self._cores = options.context.threads
        self._gpus = 1 if options.cuda else 0
        self._running: dict[Future[Answer], Any] = {}
        self._workers, self._checked = 1, -SIZE_CHECK_SECONDS
        remote = ray.remote(num_cpus=self._cores, num_gpus=self._gpus, max_retries=MAX_ATTEMPTS - 1)
        self._run = remote(run_supervised)
        node = ray.get(ray.remote(num_cpus=self._cores)(versions).remote())
        refuse_other_versions({"Ray worker": node})

    @property
    def workers(self) -> int:
        """How many trials fit the cluster's cores, and GPUs if they need them."""
        if time.monotonic() - self._checked > SIZE_CHECK_SECONDS:
            has = self._ray.cluster_resources()
            room = has.get("CPU", 0) / self._cores
            if self._gpus:
                room = min(room, has.get("GPU", 0))
            self._workers, self._checked = max(1, math.floor(room)), time.monotonic()
        return self._workers

    def submit(self, call: Call) -> Future[Answer]:
        """Hand a trial to Ray."""
        object_ref = self._run.remote(call.to_json())
        future: Future[Answer] = Future()
        self._running[future] = object_ref
        future.add_done_callback(self._running.pop)
        object_ref.future().add_done_callback(lambda ended: _pass_on(ended, future))
        return future

    def died(self, error: BaseException) -> str | None:
        """The reason, if Ray gave a trial up."""
        lost = (self._ray.exceptions.WorkerCrashedError, self._ray.exceptions.NodeDiedError)
        if not isinstance(error, lost):
            return None
        return f"its Ray worker died {MAX_ATTEMPTS} times, perhaps for lack of memory"

    def close(self) -> None:
        """Leave the cluster; end it if it is our own."""
        self._ray.shutdown()

    def stop_at_once(self) -> None:
        """Kill the workers of unfinished trials and leave."""
        for object_ref in list(self._running.values()):
            self._ray.cancel(object_ref, force=True)
        self._ray.shutdown()


def _pass_on(ended: Future[Answer], future: Future[Answer]) -> None:
    error = ended.exception()
    if error is None:
        future.set_result(ended.result())
    else:
        # Ray wraps what a task raised, with its traceback in the message.
        future.set_exception(getattr(error, "cause", None) or error)


def open_pool(address: str | None, options: RunOptions) -> Pool:
    """Connect to a Ray cluster, or start one with as many workers as jobs."""
    try:
        import ray
    except ImportError:
        raise PlanError(MISSING) from None
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    try:
        if address is None:
            cores = options.jobs * options.context.threads
            ray.init(address="local", num_cpus=cores, include_dashboard=False, **quiet)
        else:
            ray.init(address=f"ray://{address}", **quiet)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())[:200]
        raise PlanError(
            f"cannot join Ray: {reason}; write ray, or ray://HOST:10001 of a running cluster"
        ) from None
    return RayPool(ray, options)
