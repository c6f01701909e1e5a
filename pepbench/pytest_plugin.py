"""The pytest fixture ``pepbench_check``: a method's own regression test in three lines.

::

    def test_my_method_has_not_got_worse(pepbench_check):
        pepbench_check("baseline.json", plugins=["my_method.py"])

``pytest --pepbench-record`` records the baselines instead of comparing with them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest

from pepbench.check import LOSS_MARGIN, TIME_MARGIN

if TYPE_CHECKING:
    from pepbench.check.output import Checked

__all__ = ["PepbenchCheck", "pepbench_check"]


@dataclass(frozen=True)
class PepbenchCheck:
    """The function of the fixture: compares with a baseline file, or records it.

    Parameters
    ----------
    folder
        The folder of the test's file.
    recording
        Whether ``--pepbench-record`` was given.
    """

    folder: Path
    recording: bool

    def __call__(
        self,
        baseline: str | Path,
        *,
        plan: str | Path | None = None,
        plugins: Sequence[str | Path] = (),
        margin: float = LOSS_MARGIN,
        strict: bool = False,
        time: Literal["auto", "always", "never"] = "never",
        time_margin: float = TIME_MARGIN,
    ) -> Checked | None:
        """Compare with a baseline, or record it with ``--pepbench-record``.

        Parameters
        ----------
        baseline, plan, plugins
            Paths, relative to the folder of the test's file. ``plan`` is used when recording.
        margin
            Tolerated loss of AUC.
        strict
            Also fail if a larger loss cannot be excluded.
        time, time_margin
            When a slowdown fails the test, and the tolerated growth. By default nothing is timed,
            since other tests may run at the same time.

        Returns
        -------
        pepbench.check.output.Checked
            The findings; None when recording.
        """
        from pepbench.check.findings import Tolerance
        from pepbench.check.output import as_markdown
        from pepbench.check.run_check import CheckOptions, check, record
        from pepbench.errors import PepbenchError

        path = self.folder / baseline
        options = CheckOptions(tuple(self.folder / p for p in plugins), time=time, quiet=True)
        try:
            if self.recording:
                record(path, None if plan is None else self.folder / plan, options)
                return None
            if not path.exists():
                pytest.fail(f"{path}: no baseline; record it: pytest --pepbench-record", False)
            checked = check(path, Tolerance(margin, time_margin, strict), options)
        except PepbenchError as error:
            pytest.fail(str(error), pytrace=False)
        if checked.failed:
            pytest.fail(as_markdown(checked), pytrace=False)
        return checked


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
    return PepbenchCheck(request.path.parent, request.config.getoption("--pepbench-record"))
