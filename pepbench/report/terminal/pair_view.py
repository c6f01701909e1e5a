"""One pair of methods in full, on a terminal and as data."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import numpy as np
from rich.console import Console, ConsoleOptions, RenderResult
from rich.table import Table
from rich.text import Text

from pepbench.analysis.blocks import fold_means
from pepbench.analysis.cells import Cell
from pepbench.analysis.folds import FoldFigures
from pepbench.analysis.metrics import METRICS, Figure
from pepbench.analysis.pair import MethodPair, seed_figures
from pepbench.analysis.significance import ALPHA
from pepbench.records import MARGIN
from pepbench.report.phrases import LEVEL, verdict_note
from pepbench.report.terminal.leaderboard_view import STYLES, Symbols, symbols_for

_HALF = 15
"""Columns on either side of zero in the picture of folds."""


@dataclass(frozen=True)
class PairView:
    """What ``pepbench compare`` prints for a pair.

    Parameters
    ----------
    pair
        Of :mod:`pepbench.analysis.pair`.
    margin
        That it was compared with.
    """

    pair: MethodPair
    margin: float = MARGIN

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """A heading, the figures fold by fold or seed by seed, verdict and tests."""
        symbols = symbols_for(options)
        pair = self.pair
        heading = (
            f"{symbols.title((pair.a.dataset, pair.a.backbone))}: "
            f"{_cell(pair.a.method, pair.a.budget)} against {_cell(pair.b.method, pair.b.budget)}"
        )
        yield Text(symbols.text(heading), "bold")
        yield _folds(pair, symbols) if pair.a.folds > 1 else _seeds(pair, symbols)
        if pair.comparison is None:
            yield Text(symbols.text(f"no comparison: {pair.note}"), "magenta")
        else:
            note = verdict_note(
                pair.verdict, pair.direction, pair.seeds_to_decide, pair.comparison.basis
            )
            yield Text.assemble(
                (f"{'verdict':<22}", "dim"),
                (pair.verdict, STYLES.get(pair.verdict, "")),
                f" ({note})" if note else "",
            )
            for name, value in _facts(pair, symbols, self.margin):
                yield Text.assemble((f"{name:<22}", "dim"), symbols.text(value))
        yield Text()


def pair_json(pair: MethodPair, margin: float = MARGIN) -> dict[str, Any]:
    """The pair as data, with the margin that it was compared with; missing figures are None."""
    found, figure = pair.comparison, METRICS[pair.metric].figure
    return {
        "dataset": pair.a.dataset,
        "backbone": pair.a.backbone,
        "metric": pair.metric,
        "a": _side(pair.a, figure),
        "b": _side(pair.b, figure),
        "folds": None
        if found is None or found.folds is None
        else {
            "differences": found.folds.values.tolist(),
            "won": found.folds.won,
            "chance_of_improvement": found.folds.chance_of_improvement,
        },
        "rows": pair.rows,
        "positives": pair.positives,
        "comparison": None
        if found is None
        else {
            name: value if not isinstance(value, float) or math.isfinite(value) else None
            for name, value in vars(found).items()
            if isinstance(value, bool | int | float | str)
        },
        "margin": margin,
        "verdict": pair.verdict,
        "direction": pair.direction,
        "seeds_to_decide": pair.seeds_to_decide if math.isfinite(pair.seeds_to_decide) else None,
        "note": pair.note,
    }


def _side(cell: Cell, figure: Figure) -> dict[str, Any]:
    return {"method": cell.method, "budget": cell.budget, figure: seed_figures(cell, figure)}


def _cell(method: str, budget: str) -> str:
    return f"{method} at {budget}"


def _seeds(pair: MethodPair, symbols: Symbols) -> Table:
    table = _empty_table("seed", pair, symbols)
    same = pair.a.seeds == pair.b.seeds
    card = METRICS[pair.metric]
    sides = (seed_figures(cell, card.figure) for cell in (pair.a, pair.b))
    for place, values in enumerate(zip_longest(*sides, fillvalue=math.nan)):
        delta = card.sign * (values[0] - values[1]) if same else math.nan
        seed = str(pair.a.seeds[place]) if same else str(place + 1)
        table.add_row(
            seed,
            *(symbols.none if math.isnan(value) else f"{value:.5f}" for value in values),
            symbols.none if math.isnan(delta) else f"{delta:+.5f}",
        )
    return table


def _folds(pair: MethodPair, symbols: Symbols) -> Table:
    """Mean and difference of each fold and of all, and a picture around zero.

    A fold's difference is a point; the mean has its interval in brackets.
    """
    card = METRICS[pair.metric]
    ones, others = fold_means(pair.a, card.figure), fold_means(pair.b, card.figure)
    found = pair.comparison
    ends = (math.nan, math.nan) if found is None else (found.low, found.high)
    largest = max(1e-9, float(np.nanmax(np.abs([*(ones - others), *ends]), initial=0.0)))
    table = _empty_table("fold", pair, symbols)
    edges = f"{-largest:+.4f}", f"{largest:+.4f}"
    table.add_column(f"{edges[0]:<{_HALF}}0{edges[1]:>{_HALF}}", no_wrap=True)
    folds = pair.a.spec.data.reported_folds
    for fold, one, other in zip(folds, ones.tolist(), others.tolist(), strict=True):
        delta = card.sign * (one - other)
        table.add_row(
            str(fold + 1), *_figures(one, other, delta, symbols), Text(_picture(delta, largest))
        )
    if found is not None:
        table.add_section()
        means = float(np.nanmean(ones)), float(np.nanmean(others))
        picture = Text(_picture(found.difference, largest, ends))
        table.add_row("all", *_figures(*means, found.difference, symbols), picture)
    return table


def _empty_table(first: str, pair: MethodPair, symbols: Symbols) -> Table:
    table = Table(box=symbols.rule, padding=(0, 2, 0, 0), pad_edge=False)
    for column in (first, pair.a.method, pair.b.method, symbols.delta):
        table.add_column(symbols.text(column), justify="right")
    return table


def _figures(one: float, other: float, delta: float, symbols: Symbols) -> list[str]:
    forms = ((one, ".5f"), (other, ".5f"), (delta, "+.5f"))
    return [symbols.none if math.isnan(value) else format(value, form) for value, form in forms]


def _picture(value: float, largest: float, ends: tuple[float, float] | None = None) -> str:
    """A line with zero in its middle and ``o`` at the value; brackets at the ends of an interval.

    >>> _picture(0.5, 1.0, (-0.2, 1.0))
    '            [--|-------o------]'
    """
    if math.isnan(value):
        return ""
    line = [" "] * (2 * _HALF + 1)

    def column(figure: float) -> int:
        return _HALF + round(figure / largest * _HALF)

    if ends is not None:
        low, high = map(column, ends)
        line[low : high + 1] = ["-"] * (high + 1 - low)
        line[low], line[high] = "[", "]"
    line[_HALF] = "|"
    line[column(value)] = "o"
    return "".join(line)


def _facts(pair: MethodPair, symbols: Symbols, margin: float) -> Iterator[tuple[str, str]]:
    found = pair.comparison
    assert found is not None
    yield symbols.difference(METRICS[pair.metric]), f"{found.difference:+.5f}"
    yield f"{LEVEL} interval", f"{found.low:+.5f} to {found.high:+.5f}, over {found.basis}"
    yield "standard error", f"{found.standard_error:.5f}"
    yield "degrees of freedom", f"{found.degrees_of_freedom:.1f}"
    if found.folds is not None:
        yield from _fold_facts(found.folds)
    yield "p of no difference", f"{found.p:.3g} (not adjusted for other pairs)"
    yield "p of non-inferiority", f"{found.p_noninferior:.3g} (margin {margin:g})"
    yield "p of equivalence", f"{found.p_equivalent:.3g} (margin {margin:g})"
    yield "test rows", f"{pair.rows:,}, {pair.positives:,} of them positive"
    how = "same seeds, differences taken seed by seed" if found.paired else "different seeds"
    if found.folds is not None:
        how = f"differences taken fold by fold, {len(found.folds.values)} folds"
    yield "final runs", f"{found.seeds_a} and {found.seeds_b}: {how}"
    if found.folds is None and found.seeds_a == found.seeds_b == 1:
        yield "note", "one seed each: about these two trained models, not about the methods"
    counts = (cell.size(lambda run: run.n_parameters) for cell in (pair.a, pair.b))
    yield "parameters", " and ".join(f"{count or 0:,}" for count in counts)


def _fold_facts(figures: FoldFigures) -> Iterator[tuple[str, str]]:
    low, high = figures.won_interval(ALPHA)
    n_folds = len(figures.values)
    yield "folds won", f"{figures.won:g} of {n_folds} ({low:.0%} to {high:.0%} of all folds)"
    yield "chance of improvement", f"{figures.chance_of_improvement:.0%} in a further fold"
    names = ("test rows", "seeds", "tuning and split")
    known = [
        f"{share:.0%} {name}"
        for name, share in zip(names, figures.shares, strict=True)
        if not math.isnan(share)
    ]
    yield "variance due to", ", ".join(known) or "unknown"
