"""Where trials run: in this process, in processes beside it, on a Dask or a Ray cluster."""

from __future__ import annotations

from collections.abc import Callable

from pepbench.errors import PlanError, unknown_name
from pepbench.harness.executors import dask_cluster, processes, ray_cluster, serial
from pepbench.harness.executors.calls import Call, Limits
from pepbench.harness.executors.pool import Pool, Settings

OPENERS: dict[str, Callable[[str | None, Settings], Pool]] = {
    "serial": serial.open_pool,
    "processes": processes.open_pool,
    "dask": dask_cluster.open_pool,
    "ray": ray_cluster.open_pool,
}
"""Takes an address (None: a local one) and settings, by the executor's name."""


def open_pool(name: str | None, settings: Settings) -> Pool:
    """The workers that ``--executor`` names.

    Parameters
    ----------
    name
        A key of :data:`OPENERS`, with ``://`` and an address if it is elsewhere. None: worker
        processes, or none where a single job without limits needs no other process.
    settings
        What the workers are given.

    Raises
    ------
    PlanError
        If there is no such executor, its library is missing, or nobody answers at the address.
    """
    if name is None:
        name = "serial" if settings.jobs == 1 and not settings.limits else "processes"
    kind, separator, address = name.partition("://")
    if kind not in OPENERS:
        raise PlanError(f"--executor: {unknown_name('executor', kind, OPENERS)}")
    if separator and not address:
        raise PlanError(f"--executor {name}: the address is missing; write {kind}://HOST:PORT")
    return OPENERS[kind](address or None, settings)


__all__ = ["OPENERS", "Call", "Limits", "Pool", "Settings", "open_pool"]
