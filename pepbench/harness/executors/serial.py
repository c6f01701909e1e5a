"""``serial``: each trial at once, in the calling process."""

from __future__ import annotations

from concurrent.futures import Future

from pepbench.errors import PlanError
from pepbench.harness.executors.calls import Answer, Call
from pepbench.harness.executors.pool import Pool, Settings
from pepbench.harness.executors.work import work


class SerialPool:
    """Runs trials where they are submitted."""

    workers = 1

    def submit(self, call: Call) -> Future[Answer]:
        """Run the trial now; the future is done when it is returned."""
        future: Future[Answer] = Future()
        try:
            future.set_result(work(call.to_json()))
        except Exception as error:
            future.set_exception(error)
        return future

    def died(self, error: BaseException) -> str | None:  # noqa: ARG002
        """Never: there is no worker."""
        return None

    def close(self) -> None:
        """Nothing to let go."""

    def stop_at_once(self) -> None:
        """Nothing runs while this is called."""


def open_pool(address: str | None, settings: Settings) -> Pool:
    """A pool that needs no worker; it cannot end a trial, so it takes no limits."""
    if address is not None:
        raise PlanError(f"--executor serial takes no address, got {address!r}; write serial")
    if settings.limits:
        raise PlanError(
            "--executor serial cannot end a trial that goes over a limit; "
            "write --executor processes, with --jobs 1 if you like"
        )
    return SerialPool()
