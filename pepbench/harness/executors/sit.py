"""What a worker of a cluster does: it sits beside a slot that runs the trial."""

from __future__ import annotations

import multiprocessing
import threading
from collections.abc import Callable

from pepbench.harness.executors.calls import Answer, Call
from pepbench.harness.executors.supervised_worker import SupervisedWorker

_OWN = threading.local()


def sit(text: str, given_up: Callable[[], bool] = lambda: False) -> Answer:
    """Run the trial of a call in this thread's slot, which is kept for the next."""
    # Dask's nanny marks its workers as daemons, which are not allowed children. Ours leave when
    # their parent does.
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    if not hasattr(_OWN, "slot"):
        _OWN.slot = SupervisedWorker()
    slot: SupervisedWorker = _OWN.slot
    return slot.run(Call.from_json(text), given_up)
