"""Methods against a reference, and all pairs of methods: one family for each budget."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

from pepbench.analysis.blocks import Block
from pepbench.analysis.power import seeds_to_decide
from pepbench.analysis.significance import (
    ALPHA,
    MARGIN,
    Comparison,
    compare_runs,
    direction,
    holm,
    verdict,
)


@dataclass(frozen=True)
class Rules:
    """What decides: level, and margin of equivalence and non-inferiority in AUC."""

    alpha: float = ALPHA
    margin: float = MARGIN


@dataclass(frozen=True)
class Pair:
    """Two cells of a block, compared or not.

    Attributes
    ----------
    cell, other
        Positions in the block; the difference is ``cell`` minus ``other``. ``other`` is None where
        there is no reference.
    auc, log_loss
        None where one of the two is not ``ok`` or cannot be used; ``log_loss`` also where a
        prediction is not a probability.
    note
        Why not, where both have runs; else empty.
    """

    cell: int
    other: int | None
    auc: Comparison | None
    log_loss: Comparison | None
    note: str


@dataclass(frozen=True)
class Judged:
    """A pair with what is concluded within its family (data set × backbone × budget).

    Attributes
    ----------
    pair
        The pair.
    p_holm, p_noninferior_holm, p_equivalent_holm, p_log_loss_holm
        Adjusted for the family, each kind of statement by itself; NaN without comparison.
    verdict
        As :func:`~pepbench.analysis.significance.verdict`, or empty.
    direction
        As :func:`~pepbench.analysis.significance.direction`.
    seeds_to_decide
        As :func:`~pepbench.analysis.power.seeds_to_decide`, where the verdict is ``undecided``.
    """

    pair: Pair
    p_holm: float = math.nan
    p_noninferior_holm: float = math.nan
    p_equivalent_holm: float = math.nan
    p_log_loss_holm: float = math.nan
    verdict: str = ""
    direction: str = ""
    seeds_to_decide: float = math.nan


def against_reference(block: Block, reference: str, rules: Rules) -> list[Judged]:
    """A pair for each cell of a block, in its order: the cell and its reference.

    Parameters
    ----------
    block
        Measured cells.
    reference
        Name or spec of the method that the others are compared with. Its cell of the same budget
        is taken, or else its largest (``full`` has one cell, at 100%). A cell that is itself one
        of the reference's is paired with itself and not compared.
    rules
        Level and margin.
    """
    bases = [
        position
        for position, cell in enumerate(block.cells)
        if reference in (cell.spec.method.name, cell.spec.method.spec)
    ]
    pairs = [
        Pair(position, position, None, None, "")
        if position in bases
        else _pair(block, position, _base_for(block, position, bases), rules)
        for position in range(len(block.cells))
    ]
    return _by_family(block, pairs, rules)


def all_pairs(block: Block, rules: Rules) -> list[Judged]:
    """Every two cells of the same budget that are ``ok`` and usable."""
    usable = [
        position
        for position, cell in enumerate(block.cells)
        if cell.status == "ok" and block.usable(position)
    ]
    pairs = [
        _pair(block, a, b, rules)
        for a, b in combinations(usable, 2)
        if block.cells[a].budget == block.cells[b].budget
    ]
    return _by_family(block, pairs, rules)


def _base_for(block: Block, position: int, bases: Sequence[int]) -> int | None:
    budget = block.cells[position].budget
    same_budget = [base for base in bases if block.cells[base].budget == budget]
    by_size = sorted(bases, key=lambda base: -block.cells[base].spec.budget_parameters)
    return next(iter(same_budget or by_size), None)


def _pair(block: Block, a: int, b: int | None, rules: Rules) -> Pair:
    if b is None or block.cells[a].status != "ok":
        return Pair(a, b, None, None, block.problem(a))
    note = block.problem(a) or _why_not(block, b)
    if note or block.measured is None or not block.runs[a]:
        return Pair(a, b, None, None, note)
    mine, theirs = block.runs[a], block.runs[b]
    paired = block.cells[a].seeds == block.cells[b].seeds
    auc = compare_runs(block.measured.auc, mine, theirs, rules.alpha, rules.margin, paired)
    losses = block.measured.log_loss
    known = not any(math.isnan(losses.means[run]) for run in (*mine, *theirs))
    log_loss = compare_runs(losses, mine, theirs, rules.alpha, paired=paired) if known else None
    return Pair(a, b, auc, log_loss, "")


def _why_not(block: Block, base: int) -> str:
    cell = block.cells[base]
    if cell.status != "ok":
        return f"the reference {cell.method} is {cell.status}"
    problem = block.problem(base)
    return f"the reference {cell.method}: {problem}" if problem else ""


def _by_family(block: Block, pairs: Sequence[Pair], rules: Rules) -> list[Judged]:
    """Judge family by family; the order of the pairs is kept."""
    families: dict[str, list[int]] = {}
    for position, pair in enumerate(pairs):
        families.setdefault(block.cells[pair.cell].budget, []).append(position)
    judged: dict[int, Judged] = {}
    for members in families.values():
        verdicts = _judge([pairs[position] for position in members], rules)
        judged |= dict(zip(members, verdicts, strict=True))
    return [_with_reference(block, judged[position]) for position in range(len(pairs))]


def _judge(family: Sequence[Pair], rules: Rules) -> Iterator[Judged]:
    compared = [pair.auc for pair in family if pair.auc is not None]
    adjusted = zip(
        compared,
        holm([one.p for one in compared]).tolist(),
        holm([one.p_noninferior for one in compared]).tolist(),
        holm([one.p_equivalent for one in compared]).tolist(),
        strict=True,
    )
    losses = iter(holm([pair.log_loss.p for pair in family if pair.log_loss is not None]).tolist())
    for pair in family:
        p_loss = next(losses) if pair.log_loss is not None else math.nan
        if pair.auc is None:
            yield Judged(pair)
            continue
        one, p, p_noninferior, p_equivalent = next(adjusted)
        words = verdict(one.difference, p, p_equivalent, p_noninferior, rules.alpha)
        yield Judged(
            pair,
            p_holm=p,
            p_noninferior_holm=p_noninferior,
            p_equivalent_holm=p_equivalent,
            p_log_loss_holm=p_loss,
            verdict=words,
            direction=direction(one.difference, p, rules.alpha),
            seeds_to_decide=seeds_to_decide(one.estimate, rules.margin, rules.alpha, len(compared))
            if words == "undecided"
            else math.nan,
        )


def _with_reference(block: Block, judged: Judged) -> Judged:
    pair = judged.pair
    if pair.other == pair.cell and block.cells[pair.cell].status == "ok":
        return Judged(pair, verdict="reference")
    return judged
