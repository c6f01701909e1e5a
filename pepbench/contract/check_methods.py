"""The command ``test-method``: runs all checks on the methods of a file, or on named ones."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from pepbench.catalog import Catalog
from pepbench.contract.candidate import Candidate
from pepbench.contract.checks import CHECKS
from pepbench.contract.examine import examine_and_print, specs_to_check
from pepbench.contract.toy import make_toy
from pepbench.method import Method


def check_methods(file: Path | None, specs: tuple[str, ...], as_json: bool) -> int:
    """Check the methods of a file, or the named ones.

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
    plugins = () if file is None else (file,)
    catalog, toy = Catalog(plugins), make_toy()
    candidates = {
        spec: Candidate(cast(Method, catalog.select("method", spec).default()), toy, plugins)
        for spec in specs_to_check(catalog, "method", file, specs)
    }
    return examine_and_print("method", candidates, CHECKS, as_json)
