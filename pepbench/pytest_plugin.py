"""The pytest fixture ``pepbench_check``: a method's own regression test in three lines.

::

    def test_my_method_has_not_got_worse(pepbench_check):
        pepbench_check("baseline.json", plugins=["my_method.py"])

``pytest --pepbench-record`` records the baselines instead of comparing with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

import pytest

if TYPE_CHECKING:
    from pepbench.check.output import Checked

__all__ = ["PepbenchCheck", "pepbench_check"]


class PepbenchCheck(Protocol):
    """What the fixture gives."""

    def __call__(
        self,
        baseline: str | Path,
        *,
        plan: str | Path | None = None,
        plugins: Sequence[str | Path] = (),
        margin: float = 0.001,
        strict: bool = False,
        time: Literal["auto", "always", "never"] = "never",
        time_margin: float = 0.10,
    ) -> Checked | None:
        """Compare with a baseline, or record it under ``--pepbench-record``.

        Parameters
        ----------
        baseline, plan, plugins
            Paths, relative to the folder of the test's file. ``plan`` counts when recording.
        margin
            Largest loss of AUC that passes.
        strict
            Whether a cell fails of which such a loss is neither shown nor excluded.
        time, time_margin
            Whether slowness fails the test, and the share that passes. Off by default: tests run
            beside others.

        Returns
        -------
        pepbench.check.output.Checked
            The findings; None when recording.
        """


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add ``--pepbench-record``."""
    parser.getgroup("pepbench").addoption(
        "--pepbench-record",
        action="store_true",
        help="record the baselines of pepbench_check instead of comparing with them",
    )


@pytest.fixture
def pepbench_check(request: pytest.FixtureRequest) -> PepbenchCheck:
    """Compare a plan's accuracy, sizes and, if asked, speed with a baseline file."""
    folder = request.path.parent

    def run(
        baseline: str | Path,
        *,
        plan: str | Path | None = None,
        plugins: Sequence[str | Path] = (),
        margin: float = 0.001,
        strict: bool = False,
        time: Literal["auto", "always", "never"] = "never",
        time_margin: float = 0.10,
    ) -> Checked | None:
        from pepbench.check.findings import Tolerance
        from pepbench.check.output import as_markdown
        from pepbench.check.run_check import How, check, record
        from pepbench.errors import PepbenchError

        path = folder / baseline
        how = How(tuple(folder / plugin for plugin in plugins), time=time, quiet=True)
        try:
            if request.config.getoption("--pepbench-record"):
                record(path, None if plan is None else folder / plan, how)
                return None
            if not path.exists():
                pytest.fail(f"{path}: no baseline; record it: pytest --pepbench-record", False)
            checked = check(path, Tolerance(margin, time_margin, strict), how)
        except PepbenchError as error:
            pytest.fail(str(error), pytrace=False)
        if checked.failed:
            pytest.fail(as_markdown(checked), pytrace=False)
        return checked

    return run
