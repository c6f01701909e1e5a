"""Where trials run: in this process, in local processes, on a Dask or a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable

from pepbench.errors import PlanError, unknown_name
from pepbench.harness.executors import dask_cluster, local, ray_cluster
from pepbench.harness.executors.calls import Call, Pool
from pepbench.harness.run_options import RunOptions

OPENERS: dict[str, Callable[[str | None, RunOptions], Pool]] = {
    "serial": local.open_serial,
    "processes": local.open_processes,
    "dask": dask_cluster.open_pool,
    "ray": ray_cluster.open_pool,
}
"""By the executor's name: takes an address (None: a local one) and options."""


def open_pool(options: RunOptions) -> Pool:
    """The workers that ``options.executor`` names.

    It is a key of :data:`OPENERS`, with ``://`` and an address if it is elsewhere.

    Raises
    ------
    PlanError
        If there is no such executor, its library is missing, or nobody answers at the address.
    """
    kind, address = executor_of(options)
    return OPENERS[kind](address, options)


def executor_of(options: RunOptions) -> tuple[str, str | None]:
    """The name of an executor, and the address of its cluster if there is one.

    Raises
    ------
    PlanError
        If there is no such executor.
    """
    name = options.executor
    if name is None:
        name = "serial" if options.jobs == 1 and not options.context.limited else "processes"
    kind, separator, address = name.partition("://")
    if kind not in OPENERS:
        raise PlanError(f"--executor: {unknown_name('executor', kind, OPENERS)}")
    if separator and not address:
        raise PlanError(f"--executor {name}: the address is missing; write {kind}://HOST:PORT")
    return kind, address or None


__all__ = ["OPENERS", "Call", "Pool", "executor_of", "open_pool"]
