"""``pepbench.run_against``: a method beside a published board, from Python."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pepbench.api import PathLike, Results, default_folder, run
from pepbench.catalog import forget_changed
from pepbench.leaderboards.against import against


def run_against(
    board: PathLike,
    methods: str | Sequence[str] | None = None,
    *,
    plugins: Sequence[PathLike] = (),
    name: str | None = None,
    datasets: Sequence[str] | None = None,
    backbones: Sequence[str] | None = None,
    budgets: Sequence[str] | None = None,
    only_folds: Sequence[int] | None = None,
    out: PathLike | None = None,
    **options: Any,
) -> Results:
    """Compare methods with a board without running the board again; nothing is printed.

    Plan and settings are the board's. The results have the board's methods, too;
    :attr:`~pepbench.Results.contrasts` compares each of them with the methods that were run.

    Parameters
    ----------
    board
        Name of a published board, or folder of one or of a run.
    methods
        What to run; by default all methods that the plugins define.
    plugins
        Python files that define the methods.
    name
        What tables call the method; only with a single one.
    datasets, backbones, budgets
        A part of the board's; by default all.
    only_folds
        Some of the board's folds, numbered from 1. Intervals are wider then.
    out
        Folder of the results. None: a folder for each plan, below ``runs``.
    options
        Further arguments of :func:`pepbench.run` that are no keys of a plan, such as ``jobs=4``.

    Raises
    ------
    PlanError
        If there is no such board, or a method's name or the version of the protocol is not the
        board's.
    DataError
        If the data are not the board's.
    PepbenchError
        As :func:`pepbench.run`.

    Examples
    --------
    >>> run_against("ml-1m-ids", plugins=["popular.py"], jobs=2).contrasts  # doctest: +SKIP
    """
    wanted = {
        "methods": (methods,) if isinstance(methods, str) else methods,
        "datasets": datasets,
        "backbones": backbones,
        "budgets": budgets,
        "only_folds": only_folds,
    }
    keys = {key: tuple(values) for key, values in wanted.items() if values is not None}
    files = tuple(Path(path).resolve() for path in plugins)
    forget_changed(files)
    compared = against(str(board), None, files, keys, name)
    folder = default_folder(compared.plan) if out is None else Path(out)
    compared.refuse_folder(folder)
    results = run(compared.plan, out=folder, plugins=files, **options)
    compared.write_beside(folder)
    return results
