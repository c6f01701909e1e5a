"""The command ``test-backbone``: runs all checks on the backbones of a file, or on named ones."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from pepbench.backbones.backbone import Backbone
from pepbench.catalog import Catalog
from pepbench.contract.backbone_candidate import BackboneCandidate
from pepbench.contract.backbone_checks import BACKBONE_CHECKS
from pepbench.contract.examine import examine_and_print, specs_to_check


def check_backbones(file: Path | None, specs: tuple[str, ...], as_json: bool) -> int:
    """Check the backbones of a file, or the named ones.

    Parameters
    ----------
    file
        A plug-in; all backbones that it defines are checked unless ``specs`` name some.
    specs
        Backbones, with options that are fixed (``deepfm:layers=1``).
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
    catalog = Catalog(plugins)
    candidates = {
        spec: BackboneCandidate(cast(Backbone, catalog.select("backbone", spec).default()), plugins)
        for spec in specs_to_check(catalog, "backbone", file, specs)
    }
    return examine_and_print("backbone", candidates, BACKBONE_CHECKS, as_json)
