"""Works off the cells of a plan, trial by trial, reusing what is finished."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import optuna

from pepbench.harness.cell_scheduler import CellScheduler, Tally
from pepbench.harness.cells import Cell
from pepbench.harness.coordinator import Coordinator
from pepbench.harness.executors import Pool, Settings
from pepbench.harness.interrupts import stoppable
from pepbench.harness.status.events import Progress
from pepbench.harness.trial import TrialContext
from pepbench.harness.trial_locks import TrialLocks
from pepbench.harness.tuning.journal import Journal
from pepbench.records import RecordStore

JOURNAL_FILE = "optuna-journal.log"

STOPPING = "Stopping: running trials have 10 s to end. Ctrl-C again stops at once."


def run_cells(
    cells: Sequence[Cell],
    store: RecordStore,
    progress: Progress,
    surroundings: TrialContext,
    settings: Settings,
    open_pool: Callable[[], Pool],
    claims: TrialLocks,
    *,
    retry_failed: bool = True,
    journal: bool = True,
) -> Tally:
    """Work off all cells; on return the store holds every record of them.

    Cells are taken in order, as many side by side as keep all workers busy. Records are written as
    trials end; an interruption loses no finished trial.

    Parameters
    ----------
    cells
        What is asked.
    store, claims
        Where records are kept, and whose trial is whose.
    progress
        Told of all that happens.
    surroundings, settings
        What trials and workers are given.
    open_pool
        Gets the workers, when the first trial has to run.
    retry_failed
        Whether trials that failed in an earlier run are run again.
    journal
        Whether studies are copied to a journal for ``optuna-dashboard``.

    Raises
    ------
    KeyboardInterrupt
        After an orderly end that was asked for by Ctrl-C or SIGTERM.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    progress.start(cells)
    copy = None
    try:
        with stoppable(lambda: progress.warn(STOPPING)) as stop:
            copy = Journal(store.folder / JOURNAL_FILE) if journal else None
            programs = CellScheduler(
                store, progress, threads=settings.threads, retry_failed=retry_failed, journal=copy
            )
            Coordinator(
                store=store,
                progress=progress,
                programs=programs,
                surroundings=surroundings,
                settings=settings,
                open_pool=open_pool,
                claims=claims,
                stop=stop,
            ).run(cells)
            return programs.tally()
    finally:
        if copy is not None:
            copy.close()
        progress.stop()
