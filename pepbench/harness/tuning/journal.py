"""An Optuna journal of a run, for ``optuna-dashboard``.

It is a copy for people to look at, written again by each run as it replays its records. Nothing is
ever read back from it: studies are built from the records.
"""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
from optuna.storages.journal import JournalFileBackend, JournalFileOpenLock

from pepbench.harness.cells import Cell

JOURNAL_FILE = "optuna-journal.log"
"""In a run's folder."""

MOST_TRIALS = 20_000
"""Later trials are left out: Optuna keeps a whole journal in memory, about 4 kB a trial."""


class Journal:
    """Copies finished trials of all cells into one journal file, in a thread of its own.

    Every entry is flushed to the disk, which may take longer than a short trial.
    """

    def __init__(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        Path(f"{path}.lock").unlink(missing_ok=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            backend = JournalFileBackend(str(path), lock_obj=JournalFileOpenLock(str(path)))
            self._storage = optuna.storages.JournalStorage(backend)
        self._studies: dict[Cell, optuna.Study] = {}
        self._thread = ThreadPoolExecutor(1)
        self._room = MOST_TRIALS

    def copy(self, cell: Cell, trials: list[optuna.trial.FrozenTrial]) -> None:
        """Add finished trials to the cell's study, in the background."""
        if trials and self._room > 0:
            self._room -= len(trials)
            self._thread.submit(self._copy, cell, trials)

    def close(self) -> None:
        """Wait until everything is copied."""
        self._thread.shutdown()

    def _copy(self, cell: Cell, trials: list[optuna.trial.FrozenTrial]) -> None:
        if cell not in self._studies:
            self._studies[cell] = optuna.create_study(
                storage=self._storage, study_name=str(cell), direction="maximize"
            )
        self._studies[cell].add_trials(trials)
