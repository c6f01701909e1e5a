"""Run the checks of a contract on components, and print the outcomes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pepbench.catalog import Catalog, Kind
from pepbench.contract.backbone_candidate import BackboneCandidate
from pepbench.contract.candidate import Candidate, DoesNotTrain, NotApplicable
from pepbench.contract.checks import BACKBONE_CHECKS, CHECKS
from pepbench.errors import EXIT_FAILED, PlanError
from pepbench.harness.trial import describe_failure
from pepbench.printing import print_json, prints_to_stderr

C = TypeVar("C")
"""What is checked: a component with what the checks need besides."""

Verdict = Literal["passed", "failed", "not applicable"]

_STYLES: dict[Verdict, str] = {"passed": "green", "failed": "bold red", "not applicable": "dim"}
_WORDS: dict[Verdict, str] = {"passed": "passed", "failed": "FAILED", "not applicable": "-"}
_CONTRACTS: dict[Kind, tuple[Callable[..., Any], Sequence[Callable[[Any], None]]]] = {
    "method": (Candidate, CHECKS),
    "backbone": (BackboneCandidate, BACKBONE_CHECKS),
}
"""For each kind: what makes a candidate of a component, and the checks of candidates."""
_TRAINS = "trains"
"""Name of the check that fits the candidate for the first time."""


@dataclass(frozen=True)
class CheckOutcome:
    """The outcome of one check."""

    check: str
    rule: str
    verdict: Verdict
    reason: str | None
    """The problem and the remedy, or why the check does not apply; None if it passed."""
    seconds: float


def title_of(check: Callable[..., None]) -> str:
    """The name of a check in the output."""
    return check.__name__.replace("_", " ")


def rule_of(check: Callable[..., None]) -> str:
    """The first line of a check's docstring."""
    return (check.__doc__ or "").strip().splitlines()[0]


def examine(candidate: C, checks: Iterable[Callable[[C], None]]) -> Iterator[CheckOutcome]:
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
            if check.__name__ == _TRAINS:
                fits = False
            elif not fits:
                verdict, reason = "not applicable", "needs a fit, and it does not train"
        except (Exception, SystemExit) as error:
            verdict, reason = "failed", describe_failure(error)
        seconds = time.perf_counter() - started
        yield CheckOutcome(title_of(check), rule_of(check), verdict, reason, seconds)


def specs_to_check(
    catalog: Catalog, kind: Kind, file: Path | None, specs: tuple[str, ...]
) -> tuple[str, ...]:
    """The components to check: those named, or all of a kind that a file defines.

    Raises
    ------
    PlanError
        If there is nothing to check.
    """
    if specs:
        return specs
    if file is None:
        example = {"method": "uniform", "backbone": "fm"}[kind]
        raise PlanError(f"name a file, or a {kind}: pepbench test-{kind} --{kind} {example}")
    entries = catalog.entries(kind).values()
    found = tuple(entry.name for entry in entries if entry.module == str(file))
    if not found:
        raise PlanError(
            f"plug-in {file}: defines no {kind}; a {kind} is a subclass of {kind.title()} with a "
            "name"
        )
    return found


def check_components(kind: Kind, file: Path | None, specs: tuple[str, ...], as_json: bool) -> int:
    """Check methods or backbones, and print the outcomes: ``test-method``, ``test-backbone``.

    Parameters
    ----------
    kind
        ``"method"`` or ``"backbone"``.
    file
        A plug-in; all components of the kind that it defines are checked unless ``specs`` name
        some.
    specs
        Components, with options that are fixed (``mde:alpha=0.2``).
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
    make_candidate, checks = _CONTRACTS[kind]
    candidates = {
        spec: make_candidate(catalog.select(kind, spec).default(), plugins=plugins)
        for spec in specs_to_check(catalog, kind, file, specs)
    }
    # As in workers; floating-point sums depend on the number of threads.
    torch.set_num_threads(1)
    documents = []
    failed = 0
    for name, candidate in candidates.items():
        outcomes = examine(candidate, checks)
        if as_json:
            with prints_to_stderr():
                seen = list(outcomes)
        else:
            seen = _show_live(Console(), f"{kind} {name}", outcomes, [*map(title_of, checks)])
        documents.append({kind: name, **_as_data(seen)})
        failed += _count(seen, "failed")
    if as_json:
        print_json({"failed": failed, f"{kind}s": documents})
    return EXIT_FAILED if failed else 0


def _show_live(
    console: Console, heading: str, outcomes: Iterable[CheckOutcome], titles: Sequence[str]
) -> list[CheckOutcome]:
    """Show outcomes as they come, or all at the end if output is not a terminal; return them."""
    seen: list[CheckOutcome] = []

    def view() -> RenderableType:
        return _view(heading, seen, titles, console.encoding)

    with Live(view(), console=console, auto_refresh=False) as live:
        for outcome in outcomes:
            seen.append(outcome)
            live.update(view(), refresh=True)
    return seen


def _view(
    heading: str, outcomes: Sequence[CheckOutcome], titles: Sequence[str], encoding: str
) -> RenderableType:
    table = Table(box=None, pad_edge=False, show_header=False, padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for outcome in outcomes:
        word = Text(_WORDS[outcome.verdict], _STYLES[outcome.verdict])
        line = f"{outcome.check}: {outcome.reason}" if outcome.reason else outcome.check
        table.add_row(word, Text(line.encode(encoding, "replace").decode(encoding)))
    return Group(Text(heading, "bold"), table, Text(_last_line(outcomes, titles)), Text())


def _last_line(outcomes: Sequence[CheckOutcome], titles: Sequence[str]) -> str:
    if len(outcomes) < len(titles):
        return f"... {titles[len(outcomes)]}"
    seconds = sum(outcome.seconds for outcome in outcomes)
    counts = [
        f"{_count(outcomes, verdict)} {verdict}" for verdict in _STYLES if _count(outcomes, verdict)
    ]
    return f"{', '.join(counts)} ({seconds:.0f} s)"


def _count(outcomes: Iterable[CheckOutcome], verdict: Verdict) -> int:
    """Number of outcomes with a verdict."""
    return sum(outcome.verdict == verdict for outcome in outcomes)


def _as_data(outcomes: Sequence[CheckOutcome]) -> dict[str, Any]:
    """The outcomes as JSON data."""
    return {
        "passed": _count(outcomes, "passed"),
        "failed": _count(outcomes, "failed"),
        "checks": [{**vars(outcome), "seconds": round(outcome.seconds, 3)} for outcome in outcomes],
    }
