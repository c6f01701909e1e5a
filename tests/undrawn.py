"""Reports without charts and page: these take longer than a tiny run, and have own tests."""

from collections.abc import Callable

from pepbench.report import write


def draw_nothing(replace: Callable[..., object] = setattr) -> None:
    """Let :mod:`pepbench.report.write` draw nothing, here or for as long as ``replace`` says."""
    replace(write, "charts_of", lambda _findings: {})
    replace(write, "pictures", lambda _recovery: {})
    replace(write, "report_html", lambda *_: "")
