"""What the command ``test-method`` does, from a file to printed outcomes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import cast

import torch
from rich.console import Console

from pepbench.catalog import Catalog
from pepbench.contract.candidate import Candidate
from pepbench.contract.examination import examine
from pepbench.contract.outcome_table import as_data, count, shown_live
from pepbench.contract.toy import make_toy
from pepbench.errors import EXIT_FAILED, PlanError
from pepbench.method import Method


def check_methods(file: Path | None, specs: tuple[str, ...], as_json: bool) -> int:
    """Put the methods of a file, or those named, through every check.

    Parameters
    ----------
    file
        A plug-in; all methods that it defines are checked unless ``specs`` name some.
    specs
        Methods, with options that are fixed (``mde:alpha=0.2``).
    as_json
        Print one JSON document.

    Returns
    -------
    int
        0 if no check failed, else 1.

    Raises
    ------
    PlanError
        If there is nothing to check, or it cannot be loaded.
    """
    # As in a worker; also, the bits of a sum depend on it.
    torch.set_num_threads(1)
    candidates = candidates_of(file, specs)
    documents = []
    failed = 0
    for name, candidate in candidates.items():
        if as_json:
            outcomes = list(examine(candidate))
        else:
            outcomes = shown_live(Console(), name, examine(candidate))
        documents.append(as_data(name, outcomes))
        failed += count(outcomes, "failed")
    if as_json:
        document = {"failed": failed, "methods": documents}
        print(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
    return EXIT_FAILED if failed else 0


def candidates_of(file: Path | None, specs: tuple[str, ...]) -> dict[str, Candidate]:
    """What is to be checked, by the name or spec that the user gave."""
    plugins = () if file is None else (file,)
    catalog = Catalog(plugins)
    if not specs:
        if file is None:
            raise PlanError("name a file, or a method: pepbench test-method --method uniform")
        entries = catalog.entries("method").values()
        specs = tuple(entry.name for entry in entries if entry.module == str(file))
        if not specs:
            raise PlanError(
                f"plug-in {file}: defines no method; a method is a subclass of Method with a name"
            )
    toy = make_toy()
    return {
        spec: Candidate(cast(Method, catalog.select("method", spec).default()), toy, plugins)
        for spec in specs
    }
