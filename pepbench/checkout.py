"""Makes a checkout work as the installed package does, without being installed.

In the repository, ``baselines/`` and ``datasets/`` are beside ``pepbench/``; pyproject.toml maps
them into the package when it is built.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType

_PACKAGE = Path(__file__).parent
_MAPPED = ("pepbench.baselines", "pepbench.datasets")


class CheckoutFinder:
    """Finds the two packages next to ``pepbench/``, and no other modules there."""

    def find_spec(
        self, name: str, _path: Sequence[str] | None, target: ModuleType | None = None, /
    ) -> ModuleSpec | None:
        """The package's spec; None for all other modules."""
        if name not in _MAPPED:
            return None
        return PathFinder.find_spec(name, [str(_PACKAGE.parent)], target)


def find_packages_of_checkout() -> None:
    """Register the finder, unless the packages are installed inside ``pepbench/``."""
    if not (_PACKAGE / "baselines/__init__.py").is_file():
        # Last, so that an editable installation's own finder comes first.
        sys.meta_path.append(CheckoutFinder())
