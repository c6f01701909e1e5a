"""Methods against a reference, and all pairs of methods: one family for each budget."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

from pepbench.analysis.blocks import Block
from pepbench.analysis.power import seeds_to_decide
from pepbench.analysis.significance import (
    Comparison,
    direction,
    holm,
    verdict,
)
from pepbench.errors import PepbenchError


@dataclass(frozen=True)
class CellComparison:
    """Two cells of a block, compared, with conclusions adjusted for their family.

    A family is all pairs tested for one data set, backbone and budget.

    Attributes
    ----------
    cell, other
        Positions in the block; the difference is ``cell`` minus ``other``. ``other`` is None where
        there is no reference.
    main, log_loss
        In the block's metric and in log loss; None where one of the two is not ``ok`` or cannot be
        used; ``log_loss`` also where a prediction is not a probability.
    note
        Why they were not compared, where both have runs; else empty.
    p_holm, p_noninferior_holm, p_equivalent_holm, p_log_loss_holm
        Adjusted for the family, each kind of statement by itself; NaN without comparison.
    verdict
        As :func:`~pepbench.analysis.significance.verdict`; ``reference`` where a cell of the
        reference is paired with itself; or empty.
    direction
        As :func:`~pepbench.analysis.significance.direction`.
    seeds_to_decide
        As :func:`~pepbench.analysis.power.seeds_to_decide`, where the verdict is ``undecided``.
    """

    cell: int
    other: int | None
    main: Comparison | None = None
    log_loss: Comparison | None = None
    note: str = ""
    p_holm: float = math.nan
    p_noninferior_holm: float = math.nan
    p_equivalent_holm: float = math.nan
    p_log_loss_holm: float = math.nan
    verdict: str = ""
    direction: str = ""
    seeds_to_decide: float = math.nan


def against_reference(block: Block, reference: str, margin: float) -> list[CellComparison]:
    """Compare each cell of a block with its reference; in the order of the cells.

    Parameters
    ----------
    block
        Measured cells.
    reference
        Name or spec of the method that the others are compared with. Its cell of the same budget
        is taken, or else its largest (``full`` has one cell, at 100%). A cell of the reference
        itself is paired with itself and not compared.
    margin
        Of equivalence and non-inferiority, in the metric.
    """
    references = [
        position
        for position, cell in enumerate(block.cells)
        if reference in (cell.spec.method.name, cell.spec.method.spec)
    ]
    pairs = []
    for position, cell in enumerate(block.cells):
        if position in references:
            itself = "reference" if cell.status == "ok" else ""
            pairs.append(CellComparison(position, position, verdict=itself))
        else:
            other = _reference_for(block, position, references)
            pairs.append(compared(block, position, other, margin))
    return _adjusted_by_family(block, pairs, margin)


def all_pairs(
    block: Block, margin: float, without: Container[frozenset[object]] = ()
) -> list[CellComparison]:
    """Compare every two cells of the same budget that are ``ok`` and usable, but some."""
    usable = [
        position
        for position, cell in enumerate(block.cells)
        if cell.status == "ok" and block.usable(position)
    ]
    pairs = [
        compared(block, a, b, margin)
        for a, b in combinations(usable, 2)
        if block.cells[a].budget == block.cells[b].budget and frozenset((a, b)) not in without
    ]
    return _adjusted_by_family(block, pairs, margin)


def _reference_for(block: Block, position: int, references: Sequence[int]) -> int | None:
    budget = block.cells[position].budget
    same = (other for other in references if block.cells[other].budget == budget)
    largest = max(
        references, key=lambda other: block.cells[other].spec.budget_parameters, default=None
    )
    return next(same, largest)


def compared(block: Block, a: int, b: int | None, margin: float) -> CellComparison:
    """Compare two cells of a block, not adjusted yet; with a note where that is not possible."""
    if b is None or block.cells[a].status != "ok":
        return CellComparison(a, b, note=block.problem(a))
    note = block.problem(a) or block.cells[b].trouble or _problem_of(block, b)
    if note or not block.usable(a):
        return CellComparison(a, b, note=note)
    try:
        return CellComparison(a, b, *block.compare(a, b, margin))
    except PepbenchError as error:
        return CellComparison(a, b, note=str(error))


def _problem_of(block: Block, cell: int) -> str:
    problem = block.problem(cell)
    return f"{block.cells[cell].method}: {problem}" if problem else ""


def _adjusted_by_family(
    block: Block, pairs: Sequence[CellComparison], margin: float
) -> list[CellComparison]:
    """Adjust p-values family by family; the order of the pairs stays."""
    families: dict[str, list[int]] = {}
    for position, pair in enumerate(pairs):
        families.setdefault(block.cells[pair.cell].budget, []).append(position)
    result = list(pairs)
    for members in families.values():
        family = adjusted([pairs[position] for position in members], margin)
        for position, pair in zip(members, family, strict=True):
            result[position] = pair
    return result


def adjusted(family: Sequence[CellComparison], margin: float) -> Iterator[CellComparison]:
    """The comparisons of one family with adjusted p-values and verdicts."""
    tested = [pair.main for pair in family if pair.main is not None]
    losses = [pair.log_loss for pair in family if pair.log_loss is not None]
    p_holm, p_noninferior, p_equivalent, p_log_loss = (
        iter(holm(values).tolist())
        for values in (
            [one.p for one in tested],
            [one.p_noninferior for one in tested],
            [one.p_equivalent for one in tested],
            [one.p for one in losses],
        )
    )
    for pair in family:
        if pair.main is None:
            yield pair
            continue
        found = pair.main
        p, noninferior, equivalent = next(p_holm), next(p_noninferior), next(p_equivalent)
        words = verdict(found.difference, p, equivalent, noninferior)
        yield replace(
            pair,
            p_holm=p,
            p_noninferior_holm=noninferior,
            p_equivalent_holm=equivalent,
            p_log_loss_holm=math.nan if pair.log_loss is None else next(p_log_loss),
            verdict=words,
            direction=direction(found.difference, p),
            seeds_to_decide=seeds_to_decide(found.estimate, margin, len(tested))
            if words == "undecided" and found.estimate is not None
            else math.nan,
        )
