"""Notice a plug-in whose code has changed while the version in its records has not."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from pepbench.catalog import Catalog, Kind
from pepbench.data.readers.raw_files import file_digest
from pepbench.plan import Plan
from pepbench.records import write_atomically

PLUGINS_FILE = "plugins.json"
"""In a run's folder: the SHA-256 of the file that first ran a component of a version."""


def changed_plugins(folder: Path, plan: Plan, catalog: Catalog) -> Iterator[str]:
    """A warning for each component of a plan whose file is not the one of its first trials.

    Finished trials are reused as long as a component's version is the same, so that a change that
    is not in the version would mix results of two methods.
    """
    path = folder / PLUGINS_FILE
    known: dict[str, str] = {}
    with suppress(OSError, ValueError):
        known = json.loads(path.read_bytes())
    seen = dict(known)
    named: dict[Kind, tuple[str, ...]] = {
        "method": plan.methods,
        "backbone": plan.backbones,
        "dataset": plan.datasets,
    }
    for kind, specs in named.items():
        entries = catalog.entries(kind)
        components = {catalog.select(kind, spec).component for spec in specs}
        for component in sorted(components, key=lambda component: component.name):
            name = component.name.partition("+")[0]  # Rounding is not the plug-in's.
            if not entries[name].module.endswith(".py"):
                continue
            file = Path(entries[name].module)
            digest = file_digest(file)
            if seen.setdefault(f"{kind} {name} {component.version}", digest) != digest:
                yield (
                    f"{file.name} has changed since {kind} {name!r}, version {component.version}, "
                    f"first ran here, and its finished trials are reused; set version = "
                    f"{component.version + 1} in the class if results change"
                )
    if seen != known:
        write_atomically(path, json.dumps(seen, indent=1).encode() + b"\n")
