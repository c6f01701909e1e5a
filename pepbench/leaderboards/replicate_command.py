"""The command ``pepbench leaderboard --replicate``: run primary contrasts again, and compare."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from pepbench import run_command
from pepbench.catalog import Catalog
from pepbench.errors import EXIT_INTERRUPTED
from pepbench.harness.cells import expand
from pepbench.harness.run_options import run_options
from pepbench.leaderboards.board_results import load_results
from pepbench.leaderboards.boards import (
    REPLICATION,
    REPLICATION_MD,
    Board,
    find_boards,
    results_folder,
)
from pepbench.leaderboards.publish import publish, write_pages
from pepbench.leaderboards.record_reuse import reuse_records
from pepbench.leaderboards.replication import (
    published_run,
    replication_command,
    replication_markdown,
    replication_page,
    replication_plan,
    run_of_folder,
)
from pepbench.plan import PLAN_FILE, Plan
from pepbench.records import write_atomically


@dataclass(frozen=True)
class ReplicationOptions:
    """How contrasts are run again; influences no result.

    Attributes
    ----------
    results
        Folder of the leaderboards; None: as :func:`pepbench.leaderboards.boards.results_folder`.
    work
        Folder of the working folders of leaderboards.
    jobs, threads
        Worker processes, and torch threads of each.
    quiet
        Report no progress.
    dry_run
        Print the cells and an estimate of the time only.
    shard
        Run this part of the cells only, and compare nothing.
    plugins
        Files that define further components.
    n_folds
        Run so many folds only; None: as many as the first run.
    backbones
        Run these only; empty: all.
    """

    results: Path | None
    work: Path
    jobs: int
    threads: int
    quiet: bool = False
    dry_run: bool = False
    shard: str | None = None
    plugins: tuple[Path, ...] = ()
    n_folds: int | None = None
    backbones: tuple[str, ...] = ()

    def plan(self, plan: Plan, name: str) -> Plan:
        """As of :func:`~pepbench.leaderboards.replication.replication_plan`."""
        return replication_plan(plan, name, self.n_folds, self.backbones)


def replicate(name: str, options: ReplicationOptions) -> int:
    """Run the primary contrasts of a leaderboard, or of a run, a second time, and compare.

    Parameters
    ----------
    name
        A leaderboard's name, or the folder of a run.
    options
        How.

    Returns
    -------
    int
        The exit code of a run: 0; 1 if cells failed; 130 after an interruption.

    Raises
    ------
    PepbenchError
        If the name is unknown, its plan has no contrasts or too few folds, or nothing is published.
    """
    folder = Path(name)
    if any((folder / records).is_dir() for records in ("records", "segments")):
        return _replicate_run(folder, options)
    return _replicate_board(find_boards(results_folder(options.results), [name])[0], options)


def _replicate_run(folder: Path, options: ReplicationOptions) -> int:
    of_first = Plan.load(folder / PLAN_FILE, {})
    plan = options.plan(of_first, str(folder))
    again, page = folder / REPLICATION, folder / REPLICATION_MD

    def compare() -> None:
        first, second = run_of_folder(folder), run_of_folder(again)
        text = replication_markdown(str(folder), first, second)
        write_atomically(page, text.encode())

    command = replication_command(str(folder), of_first, plan)
    return _run_again(command, plan, again, page, compare, options)


def _replicate_board(board: Board, options: ReplicationOptions) -> int:
    catalog = Catalog(options.plugins)
    results, second = load_results(board.folder), board.replication
    published_run(board, results, catalog)  # raises here what the first run lacks
    of_first = board.plan(catalog)
    plan = options.plan(of_first, board.name)
    again, page = second.work_folder(options.work, plan), board.folder / REPLICATION_MD
    if not options.dry_run:
        write_atomically(second.plan_path, plan.to_toml().encode())
        reuse_records(second, options.work, plan, expand(plan, catalog))

    def compare() -> None:
        publish(second, again)
        write_atomically(page, replication_page(board, results, catalog))
        write_pages(board, results)

    command = replication_command(board.name, of_first, plan)
    return _run_again(command, plan, again, page, compare, options)


def _run_again(
    command: str,
    plan: Plan,
    folder: Path,
    page: Path,
    compare: Callable[[], None],
    options: ReplicationOptions,
) -> int:
    """Run a replication's plan in a folder; once all of it is run, write its page.

    ``command`` is what a user types to go on.
    """
    if options.dry_run:
        how = run_options(folder, options.plugins, jobs=options.jobs, shard=options.shard)
        return run_command.dry_run(plan, folder, how, as_json=False)
    code = run_command.run_and_report(
        plan,
        folder,
        command=command,
        quiet=options.quiet,
        jobs=options.jobs,
        threads=options.threads,
        plugins=options.plugins,
        shard=options.shard,
    )
    if code == EXIT_INTERRUPTED:
        return code
    if options.shard is not None:
        print(f"part {options.shard} is run; after all parts: {command}", file=sys.stderr)
    else:
        compare()
        print(f"{page}: written")
    return code
