"""Outcomes of checks on a terminal, as they come, and as data."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pepbench.contract.checks import CHECKS
from pepbench.contract.examination import Outcome, Verdict, title_of

_STYLES: dict[Verdict, str] = {"passed": "green", "failed": "bold red", "not applicable": "dim"}
_WORDS: dict[Verdict, str] = {"passed": "passed", "failed": "FAILED", "not applicable": "-"}


def shown_live(console: Console, name: str, outcomes: Iterable[Outcome]) -> list[Outcome]:
    """Consume outcomes, showing each as soon as it is known; on a file, all at the end."""
    seen: list[Outcome] = []
    with Live(_view(name, seen, console.encoding), console=console, auto_refresh=False) as live:
        for outcome in outcomes:
            seen.append(outcome)
            live.update(_view(name, seen, console.encoding), refresh=True)
    return seen


def _view(name: str, outcomes: Sequence[Outcome], encoding: str) -> RenderableType:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for outcome in outcomes:
        word = Text(_WORDS[outcome.verdict], _STYLES[outcome.verdict])
        line = f"{outcome.check}: {outcome.reason}" if outcome.reason else outcome.check
        table.add_row(word, Text(line.encode(encoding, "replace").decode(encoding)))
    return Group(Text(f"method {name}", "bold"), table, Text(_last_line(outcomes)), Text())


def _last_line(outcomes: Sequence[Outcome]) -> str:
    if len(outcomes) < len(CHECKS):
        return f"... {title_of(CHECKS[len(outcomes)])}"
    seconds = sum(outcome.seconds for outcome in outcomes)
    counts = [
        f"{count(outcomes, verdict)} {verdict}" for verdict in _STYLES if count(outcomes, verdict)
    ]
    return f"{', '.join(counts)} ({seconds:.0f} s)"


def count(outcomes: Iterable[Outcome], verdict: Verdict) -> int:
    """How many outcomes have a verdict."""
    return sum(outcome.verdict == verdict for outcome in outcomes)


def as_data(name: str, outcomes: Sequence[Outcome]) -> dict[str, Any]:
    """The outcomes of a method for ``--json``."""
    return {
        "method": name,
        "passed": count(outcomes, "passed"),
        "failed": count(outcomes, "failed"),
        "checks": [{**vars(outcome), "seconds": round(outcome.seconds, 3)} for outcome in outcomes],
    }
