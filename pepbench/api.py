"""Run plans and read their results from Python.

>>> import pepbench
>>> results = pepbench.run(methods=["full", "mde"], budgets=["10%"])  # doctest: +SKIP
>>> results.leaderboard  # doctest: +SKIP

``pepbench run`` calls :func:`run`, too, and adds a progress display and a report.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, cast

import optuna
import pandas as pd
import torch
from rich.console import Console

from pepbench.catalog import Catalog, forget_changed
from pepbench.data.dataset import Dataset
from pepbench.errors import PlanError, unknown_name
from pepbench.harness.cell_scheduler import Tally
from pepbench.harness.cells import expand
from pepbench.harness.coordinator import run_cells
from pepbench.harness.environment import check_device, cuda_devices
from pepbench.harness.planted_facts import facts_are_stored, store_facts
from pepbench.harness.plugin_changes import changed_plugins
from pepbench.harness.run_folder import locked_folder
from pepbench.harness.run_options import RunOptions, run_options
from pepbench.harness.status.live_files import LIVE_FOLDER
from pepbench.harness.status.reporter import Reporter
from pepbench.plan import EXAMPLE, Plan
from pepbench.records import FEWEST_FOLDS, RecordStore
from pepbench.report.findings import Findings, load_runs

RUNS = Path("runs")
"""Default parent of runs' folders, below the working directory."""

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class Results:
    """What is known about a run, read from its folder.

    Its records are analysed once, when a table is first asked for.

    Attributes
    ----------
    folder
        Of the run: plan, records, predictions. ``pepbench report FOLDER`` draws its report.
    warnings
        What went wrong without ending the run, a line each: failed trials, damaged files.
    trials_run, trials_reused
        Trials that :func:`run` made, and those that had a record already.
    """

    folder: Path
    warnings: list[str] = field(default_factory=list, repr=False)
    trials_run: int = 0
    trials_reused: int = 0

    @cached_property
    def findings(self) -> Findings:
        """The whole analysis, of which the tables below are parts."""
        return load_runs([self.folder], self.warnings.append)

    @property
    def leaderboard(self) -> pd.DataFrame:
        """A row for each cell, best AUC first within a budget; columns as in leaderboard.csv."""
        return self.findings.frame

    @property
    def comparisons(self) -> pd.DataFrame:
        """A row for each comparison with the full table; columns as in comparisons.csv."""
        return self.findings.comparisons

    @property
    def contrasts(self) -> pd.DataFrame:
        """A row for each primary contrast and other pair; columns as in contrasts.csv."""
        return self.findings.contrasts

    @property
    def fronts(self) -> pd.DataFrame:
        """A row for each cell, with the fronts that it is on; columns as in fronts.csv."""
        return self.findings.analysis.fronts.points


def load(folder: PathLike) -> Results:
    """Read the results of an earlier run.

    Raises
    ------
    RecordError
        If the folder holds no records, or they cannot be read.
    """
    results = Results(Path(folder))
    _ = results.findings  # raises here what is wrong with the folder
    return results


def run(
    plan: Plan | Mapping[str, Any] | PathLike | None = None,
    *,
    out: PathLike | None = None,
    jobs: int = 1,
    progress: bool | Literal["warnings", "verbose"] = False,
    plugins: Sequence[PathLike] = (),
    threads: int = 1,
    executor: str | None = None,
    trial_timeout: float | str | None = None,
    memory_limit: int | str | None = None,
    raw: Mapping[str, PathLike] | None = None,
    join: bool = False,
    shard: str | None = None,
    retry_failed: bool = True,
    **keys: Any,
) -> Results:
    """Run every trial of a plan that has no record yet; nothing is printed.

    Ctrl-C raises KeyboardInterrupt after running trials have ended, or after 10 seconds. Finished
    trials are kept, and the same call continues from them. Torch's threads and random state are
    left as they were.

    Parameters
    ----------
    plan
        A :class:`~pepbench.plan.Plan`, a dictionary of its keys, or a path to a ``plan.toml``.
        None: the defaults, or the built-in example if ``keys`` name no methods, data sets or
        budgets.
    out
        Folder of the results. None: a folder for each plan, below ``runs`` in the working
        directory.
    jobs
        Worker processes. With one, trials run in this process.
    progress
        Report on standard error: True shows a display on terminals, lines elsewhere; ``"verbose"``
        prints a line for each trial there, too; ``"warnings"`` prints nothing else.
    plugins
        Python files that define further methods, data sets or backbones.
    threads
        Torch threads of each worker.
    executor
        ``"serial"``, ``"processes"``, ``"dask"``, ``"dask://HOST:PORT"``, ``"ray"`` or
        ``"ray://HOST:PORT"``. None: processes, or serial for one job without limits.
    trial_timeout
        Seconds, or text such as ``"10m"``, after which a trial fails.
    memory_limit
        Bytes, or text such as ``"4GB"``, that a trial's process may hold.
    raw
        Folders of raw files by data set, for workers whose cache lacks the data set.
    join
        Share the work of a run that uses the folder already.
    shard
        Work on a part of the cells: ``"2/8"`` is the second eighth.
    retry_failed
        Run trials again that failed in an earlier run.
    keys
        Keys of the plan that replace those of ``plan``, such as ``methods=["pep", "full"]``.

    Raises
    ------
    PepbenchError
        If the plan cannot be run. Trials that fail do not raise: the leaderboard has their status,
        :attr:`Results.warnings` the reasons.
    KeyboardInterrupt
        After Ctrl-C or, in the main thread, SIGTERM.

    Examples
    --------
    >>> results = run("plan.toml", jobs=2, seeds=5)  # doctest: +SKIP
    """
    files = tuple(Path(path).resolve() for path in plugins)
    forget_changed(files)
    resolved, cuda = resolve_plan(plan, files, keys)
    folder = default_folder(resolved) if out is None else Path(out)
    options = run_options(
        folder,
        files,
        cuda,
        jobs=jobs,
        threads=threads,
        executor=executor,
        trial_timeout=trial_timeout,
        memory_limit=memory_limit,
        raw=raw,
        join=join,
        shard=shard,
        retry_failed=retry_failed,
    )
    reporter = Reporter(
        folder / LIVE_FOLDER,
        Console(stderr=True) if progress else None,
        quiet=progress == "warnings",
        verbose=progress == "verbose",
    )
    with _torch_and_optuna_restored():
        tally = _run_missing(resolved, folder, options, reporter)
    return Results(folder, reporter.warnings, tally.made, tally.reused)


def default_folder(plan: Plan) -> Path:
    """One folder for each plan, so that the same plan finds its records again."""
    first = plan.datasets[0].removeprefix("own:data=").replace(":", "-").replace("=", "-")
    return RUNS / f"{first}-{plan.digest()}"


def resolve_plan(
    plan: Plan | Mapping[str, Any] | PathLike | None,
    plugins: Sequence[Path],
    keys: Mapping[str, Any],
) -> tuple[Plan, tuple[str, ...]]:
    """A validated plan with families of methods expanded, and the CUDA devices of its workers.

    The parameters are as in :func:`run`.
    """
    path, values = None, dict[str, Any]()
    if isinstance(plan, Plan):
        values = plan.model_dump(by_alias=True, exclude_unset=True)
    elif isinstance(plan, Mapping):
        values = dict(plan)
    elif plan is not None:
        path = Path(plan)
    elif not {"methods", "datasets", "budgets"} & keys.keys():
        path = EXAMPLE
    for bound, other in (("trials", "tuning_time"), ("tuning_time", "trials")):
        if bound in keys:
            values.pop(other, None)
    values |= keys
    if "exceptions" in values:  # "except" is no name in Python
        values["except"] = values.pop("exceptions")
    for key in values:
        if key not in Plan.keys():  # noqa: SIM118
            raise PlanError(unknown_name("key", key, Plan.keys()))
    device = values.get("device")
    if isinstance(device, str) and "," in device:
        values["device"] = device.partition(":")[0]
    catalog = Catalog(tuple(plugins))
    if path is not None and isinstance(methods := values.get("methods"), list | tuple):
        # A plan file's contrasts between members of a family stay.
        values["methods"] = catalog.ungrouped("method", methods)
    resolved = Plan.load(path, values).with_families_expanded(catalog)
    return resolved, cuda_devices(device or resolved.device)


@contextmanager
def _torch_and_optuna_restored() -> Iterator[None]:
    """Undo what trials in this process change for others: threads, random state, log level."""
    threads, verbosity = torch.get_num_threads(), optuna.logging.get_verbosity()
    try:
        with torch.random.fork_rng(devices=[]):
            yield
    finally:
        torch.set_num_threads(threads)
        optuna.logging.set_verbosity(verbosity)


def _run_missing(plan: Plan, folder: Path, options: RunOptions, progress: Reporter) -> Tally:
    """Make the records that are missing, and store with them what reports need."""
    check_device(plan.device, plan.optimizer, plan.precision)
    catalog = Catalog(options.context.plugins)
    cells = expand(plan, catalog)
    if plan.contrasts and len(plan.folds_to_run) < FEWEST_FOLDS:
        progress.warn(
            f"contrasts with fewer than {FEWEST_FOLDS} folds: their verdicts hold for this split "
            "and tuning draw, not for others; folds = 5 or more would tell"
        )
    if options.shard is not None:
        cells = options.shard.cells(cells)
    with locked_folder(folder, plan, options.join, options.shard) as locks:
        for line in changed_plugins(folder, plan, catalog):
            progress.warn(line)
        store = RecordStore(folder, progress.warn)
        tally = run_cells(cells, store, progress, options, locks)
        # After the last fit, since these are facts about test rows.
        for cell in {cell.splits.fingerprint: cell for cell in cells}.values():
            dataset = cast(Dataset, catalog.select("dataset", cell.data.spec).default())
            if not facts_are_stored(store, dataset, cell.splits):
                store_facts(store, dataset, cell.splits)
        if not options.shared:
            store.pack()
    return tally
