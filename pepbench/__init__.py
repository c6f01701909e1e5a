"""pepbench: how few parameters can a recommender's embedding table have?

:func:`pepbench.run` runs a plan, :func:`pepbench.load` reads the results of one, and
:func:`pepbench.run_against` puts methods beside a published board.

The folders are the rooms that data walk through: ``data`` → ``training`` and ``backbones``
→ ``harness`` → ``records`` → ``analysis`` → ``report``. Methods live in ``baselines``
(and PEP in ``pepbench.pep``), data sets in ``datasets``.
"""

from __future__ import annotations

import warnings
from importlib import import_module
from typing import TYPE_CHECKING, Any

from pepbench.checkout import find_packages_of_checkout

if TYPE_CHECKING:
    from pepbench.api import Results, load, run
    from pepbench.errors import PepbenchError
    from pepbench.leaderboards.run_against import run_against
    from pepbench.plan import Plan

find_packages_of_checkout()

__version__ = "0.1.0"

__all__ = ["PepbenchError", "Plan", "Results", "__version__", "load", "run", "run_against"]

_MODULE_OF = {
    "Plan": "pepbench.plan",
    "PepbenchError": "pepbench.errors",
    "Results": "pepbench.api",
    "load": "pepbench.api",
    "run": "pepbench.api",
    "run_against": "pepbench.leaderboards.run_against",
}


def __getattr__(name: str) -> Any:
    """Import the Python interface when it is first used: torch alone takes seconds."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    with warnings.catch_warnings():
        # Of Optuna's progress bar, which is not used, in notebooks without ipywidgets.
        warnings.filterwarnings("ignore", "IProgress not found")
        return getattr(import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
