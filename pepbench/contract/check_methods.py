"""The command ``test-method``: runs all checks on the methods of a file and prints the outcomes."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, cast

import torch
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pepbench.catalog import Catalog
from pepbench.contract.candidate import Candidate, DoesNotTrain, NotApplicable
from pepbench.contract.checks import CHECKS, Check
from pepbench.contract.rules.training import trains
from pepbench.contract.toy import make_toy
from pepbench.errors import EXIT_FAILED, PlanError
from pepbench.harness.trial import describe_failure
from pepbench.method import Method
from pepbench.printing import print_json

Verdict = Literal["passed", "failed", "not applicable"]

_STYLES: dict[Verdict, str] = {"passed": "green", "failed": "bold red", "not applicable": "dim"}
_WORDS: dict[Verdict, str] = {"passed": "passed", "failed": "FAILED", "not applicable": "-"}


@dataclass(frozen=True)
class CheckOutcome:
    """The outcome of one check."""

    check: str
    rule: str
    verdict: Verdict
    reason: str | None
    """The problem and the remedy, or why the check does not apply; None if it passed."""
    seconds: float


def title_of(check: Check) -> str:
    """The name of a check in the output."""
    return check.__name__.replace("_", " ")


def rule_of(check: Check) -> str:
    """The first line of a check's docstring."""
    return (check.__doc__ or "").strip().splitlines()[0]


def examine(candidate: Candidate, checks: Iterable[Check] = CHECKS) -> Iterator[CheckOutcome]:
    """Run checks in order and yield their outcomes.

    If the candidate does not train, the check ``trains`` fails, and later checks that need a fit
    do not apply.
    """
    fits = True
    for check in checks:
        started = time.perf_counter()
        verdict: Verdict = "passed"
        reason: str | None = None
        try:
            check(candidate)
        except NotApplicable as error:
            verdict, reason = "not applicable", str(error)
        except DoesNotTrain as error:
            verdict, reason = "failed", str(error)
            if check is trains:
                fits = False
            elif not fits:
                verdict, reason = "not applicable", "needs a fit, and it does not train"
        except (Exception, SystemExit) as error:
            verdict, reason = "failed", describe_failure(error)
        seconds = time.perf_counter() - started
        yield CheckOutcome(title_of(check), rule_of(check), verdict, reason, seconds)


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
    # As in workers; floating-point sums depend on the number of threads.
    torch.set_num_threads(1)
    candidates = _candidates(file, specs)
    documents = []
    failed = 0
    for name, candidate in candidates.items():
        if as_json:
            outcomes = list(examine(candidate))
        else:
            outcomes = _show_live(Console(), name, examine(candidate))
        documents.append(_as_data(name, outcomes))
        failed += _count(outcomes, "failed")
    if as_json:
        document = {"failed": failed, "methods": documents}
        print_json(document)
    return EXIT_FAILED if failed else 0


def _candidates(file: Path | None, specs: tuple[str, ...]) -> dict[str, Candidate]:
    """The methods to check, by name or spec."""
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


def _show_live(console: Console, name: str, outcomes: Iterable[CheckOutcome]) -> list[CheckOutcome]:
    """Show outcomes as they come, or all at the end if output is not a terminal; return them."""
    seen: list[CheckOutcome] = []
    with Live(_view(name, seen, console.encoding), console=console, auto_refresh=False) as live:
        for outcome in outcomes:
            seen.append(outcome)
            live.update(_view(name, seen, console.encoding), refresh=True)
    return seen


def _view(name: str, outcomes: Sequence[CheckOutcome], encoding: str) -> RenderableType:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for outcome in outcomes:
        word = Text(_WORDS[outcome.verdict], _STYLES[outcome.verdict])
        line = f"{outcome.check}: {outcome.reason}" if outcome.reason else outcome.check
        table.add_row(word, Text(line.encode(encoding, "replace").decode(encoding)))
    return Group(Text(f"method {name}", "bold"), table, Text(_last_line(outcomes)), Text())


def _last_line(outcomes: Sequence[CheckOutcome]) -> str:
    if len(outcomes) < len(CHECKS):
        return f"... {title_of(CHECKS[len(outcomes)])}"
    seconds = sum(outcome.seconds for outcome in outcomes)
    counts = [
        f"{_count(outcomes, verdict)} {verdict}" for verdict in _STYLES if _count(outcomes, verdict)
    ]
    return f"{', '.join(counts)} ({seconds:.0f} s)"


def _count(outcomes: Iterable[CheckOutcome], verdict: Verdict) -> int:
    """Number of outcomes with a verdict."""
    return sum(outcome.verdict == verdict for outcome in outcomes)


def _as_data(name: str, outcomes: Sequence[CheckOutcome]) -> dict[str, Any]:
    """The outcomes of a method as JSON data."""
    return {
        "method": name,
        "passed": _count(outcomes, "passed"),
        "failed": _count(outcomes, "failed"),
        "checks": [{**vars(outcome), "seconds": round(outcome.seconds, 3)} for outcome in outcomes],
    }
