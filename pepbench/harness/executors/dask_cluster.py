"""``dask`` and ``dask://host:8786``: workers of a Dask cluster."""

from __future__ import annotations

import time
from concurrent.futures import Future
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from distributed import Client, LocalCluster

MISSING = "--executor dask needs Dask, which is not installed; run: pip install 'pepbench[dask]'"
CONNECT_SECONDS = 20.0


def run_in_dask(text: str) -> Answer:
    """Run a call in a Dask worker, until its future is cancelled."""
    from distributed import get_worker
    from distributed.worker import thread_state

    tasks, key = get_worker().state.tasks, thread_state.key

    def abandoned() -> bool:
        task = tasks.get(key)
        return task is None or task.state == "cancelled"

    return run_supervised(text, abandoned)


class DaskPool(Pool):
    """Hands trials to a Dask scheduler, which starts them again elsewhere if a worker dies."""

    def __init__(self, client: Client, cluster: LocalCluster | None) -> None:
        self._client = client
        self._cluster = cluster
        self._executor = client.get_executor(pure=False)
        self._workers, self._checked = 1, -SIZE_CHECK_SECONDS
        try:
            refuse_other_versions(client.run(versions))
        except ModuleNotFoundError as error:
            raise PlanError(
                f"workers of {client.scheduler.address} have no module {error.name!r}; "
                "install pepbench there"
            ) from None

    @property
    def workers(self) -> int:
        """Threads of all workers that the cluster has now; they may come and go."""
        if time.monotonic() - self._checked > SIZE_CHECK_SECONDS:
            self._workers = max(1, sum(self._client.nthreads().values()))
            self._checked = time.monotonic()
        return self._workers

    def submit(self, call: Call) -> Future[Answer]:
        """Hand a trial to the scheduler."""
        future: Future[Answer] = self._executor.submit(run_in_dask, call.to_json())
        return future

    def died(self, error: BaseException) -> str | None:
        """The reason, if the scheduler gave a trial up."""
        from distributed import KilledWorker

        if not isinstance(error, KilledWorker):
            return None
        times = (error.allowed_failures or 0) + 1
        return f"its Dask worker died {times} times, perhaps for lack of memory"

    def close(self) -> None:
        """Leave the cluster; end it if it is our own."""
        self._executor.shutdown()
        self._leave()

    def stop_at_once(self) -> None:
        """Take unfinished trials back and leave."""
        self._executor.shutdown(wait=False)
        self._leave()

    def _leave(self) -> None:
        self._client.close()
        if self._cluster is not None:
            self._cluster.close()


def open_pool(address: str | None, options: RunOptions) -> Pool:
    """Connect to a scheduler, or start a cluster of as many worker processes as jobs."""
    try:
        import dask
        from distributed import Client, LocalCluster
    except ImportError:
        raise PlanError(MISSING) from None
    if address is not None:
        try:
            client = Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
        except (TimeoutError, OSError, ValueError):
            raise PlanError(
                f"no Dask scheduler answers at {address!r}; write dask://HOST:PORT of a "
                "running one, such as dask://localhost:8786"
            ) from None
        return _joined(client, None)
    dask.config.set({"distributed.scheduler.allowed-failures": MAX_ATTEMPTS - 1})
    cluster = LocalCluster(
        n_workers=options.jobs,
        threads_per_worker=1,
        processes=True,
        memory_limit=0,
        dashboard_address=None,
        silence_logs=50,
    )
    return _joined(Client(cluster, set_as_default=False), cluster)


def _joined(client: Client, cluster: LocalCluster | None) -> DaskPool:
    try:
        return DaskPool(client, cluster)
    except BaseException:
        client.close()
        if cluster is not None:
            cluster.close()
        raise
