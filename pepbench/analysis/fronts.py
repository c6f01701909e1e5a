"""Fronts with their uncertainty: membership, hypervolume, attainment, AUC at given sizes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import moocore
import numpy as np
import pandas as pd

from pepbench.analysis.blocks import Block, fold_means
from pepbench.analysis.bootstrap import DRAWS, drawn_aucs
from pepbench.analysis.cells import Cell
from pepbench.analysis.comparisons import CellComparison
from pepbench.analysis.delong import Floats
from pepbench.analysis.pareto import CHANCE_AUC, hypervolume, on_front
from pepbench.analysis.significance import ALPHA
from pepbench.records import CELL_COLUMNS

POINT_COLUMNS = (
    *CELL_COLUMNS,
    "parameters",
    "bytes",
    "fit_seconds",
    "auc",
    "on_front",
    "front_probability",
    "on_bytes_front",
    "bytes_front_probability",
    "on_time_front",
    "time_front_probability",
)
"""Columns of the points' frame: a row for each cell that is ok and has its
predictions. ``fit_seconds``: CPU seconds of search and training, mean over runs. ``on_front``: not
dominated in (parameters, AUC); ``on_bytes_front``: in (bytes, AUC); ``on_time_front``: in
(parameters, AUC, fit_seconds). ``…_probability``: share of the draws in which it is on
that front."""

SUMMARY_COLUMNS = (
    "dataset",
    "backbone",
    "hypervolume",
    "low",
    "high",
    "reference_parameters",
    "reference_auc",
    "draws",
)
"""Columns of the frame of hypervolumes: a row for each data set and backbone, with its
interval and the reference point."""

ATTAINMENT_COLUMNS = ("dataset", "backbone", "percentile", "parameters", "auc")
"""Columns of the attainment bands: corners of step functions, by parameters. A size and AUC
are attained in a draw if some cell has no more parameters and at least the AUC; at a corner of
``percentile`` p, that is so in p % of the draws."""

AT_SIZE_COLUMNS = ("dataset", "backbone", "method", "share", "parameters", "auc", "low", "high")
"""Columns of the frame of interpolated AUCs: a row for each method and each of ``SHARES``
within its range. AUC is linear in the logarithm of parameters between the method's cells."""

CROSSING_COLUMNS = (
    "dataset",
    "backbone",
    "method",
    "compression_estimate",
    "compression_low",
    "compression_high",
    "at_smallest",
)
"""Columns of the frame of crossings: a row for each method that was compared with one
reference. ``compression_estimate``: N·D by the parameters at which the interpolated AUC first falls
the margin below the reference's, coming from it; ``at_smallest``: it does not down to the method's
smallest cell, so the true factor may be larger."""

SHARES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
PERCENTILES = (2.5, 50.0, 97.5)
_ATTAINMENT_DRAWS = 400
_ENDS = (ALPHA / 2, 1 - ALPHA / 2)


@dataclass(frozen=True)
class FrontTables:
    """Frames with the columns of this module's constants of the same names."""

    points: pd.DataFrame
    summary: pd.DataFrame
    attainment: pd.DataFrame
    at_sizes: pd.DataFrame
    crossings: pd.DataFrame


@dataclass(frozen=True)
class Points:
    """Usable cells of a block with their figures and draws.

    Attributes
    ----------
    cells
        Positions in the block, C of them.
    parameters, n_bytes, seconds, aucs
        (C,) each.
    draws
        (B, C).
    full
        N·D.
    """

    block: Block
    cells: tuple[int, ...]
    parameters: Floats
    n_bytes: Floats
    seconds: Floats
    aucs: Floats
    draws: Floats
    full: int

    def cell(self, column: int) -> Cell:
        """The cell of a column."""
        return self.block.cells[self.cells[column]]

    @property
    def sizes(self) -> Floats:
        """log₁₀ of parameters, none counting as one: (C,)."""
        return np.log10(np.maximum(self.parameters, 1.0))


def points_of(block: Block, draws: int = DRAWS) -> Points | None:
    """The usable cells of a block that are ok; None if there is none."""
    cells = tuple(
        position
        for position, cell in enumerate(block.cells)
        if cell.status == "ok"
        and block.usable(position)
        and all(run.n_parameters is not None for run in cell.runs)
    )
    if not cells:
        return None
    members = [block.cells[cell] for cell in cells]
    seconds = [np.mean([run.cpu_seconds() for run in cell.runs]) for cell in members]
    return Points(
        block=block,
        cells=cells,
        parameters=np.array(
            [cell.size(lambda run: run.n_parameters) or 0 for cell in members], float
        ),
        n_bytes=np.array([cell.size(lambda run: run.n_bytes) or 0 for cell in members], float),
        seconds=np.array(seconds),
        aucs=np.array([fold_means(cell).mean() for cell in members]),
        draws=drawn_aucs(block, cells, draws),
        full=members[0].full_parameters,
    )


def front_tables(
    blocks: Sequence[tuple[Block, Sequence[CellComparison]]], margin: float, draws: int = DRAWS
) -> FrontTables:
    """Points, hypervolumes, attainment bands, AUCs at given sizes and crossings of all blocks.

    Parameters
    ----------
    blocks
        Measured blocks, each with the comparisons of its cells with their reference.
    margin
        Of parity.
    draws
        Of the bootstrap.
    """
    columns = {
        "points": POINT_COLUMNS,
        "summary": SUMMARY_COLUMNS,
        "attainment": ATTAINMENT_COLUMNS,
        "at_sizes": AT_SIZE_COLUMNS,
        "crossings": CROSSING_COLUMNS,
    }
    tables: dict[str, list[dict[str, Any]]] = {name: [] for name in columns}
    for block, compared in blocks:
        points = points_of(block, draws)
        if points is None:
            continue
        name = {"dataset": points.cell(0).dataset, "backbone": points.cell(0).backbone}
        parts = {
            "points": _point_rows(points),
            "summary": [_summary_row(points)],
            "attainment": _attainment_rows(points),
            "at_sizes": _at_size_rows(points),
            "crossings": _crossing_rows(points, compared, margin),
        }
        for table, rows in parts.items():
            tables[table] += [name | row for row in rows]
    return FrontTables(
        **{name: pd.DataFrame(tables[name], columns=list(columns[name])) for name in columns}
    )


def _point_rows(points: Points) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = [
        {
            "method": points.cell(column).method,
            "budget": points.cell(column).budget,
            "parameters": int(points.parameters[column]),
            "bytes": int(points.n_bytes[column]),
            "fit_seconds": float(points.seconds[column]),
            "auc": float(points.aucs[column]),
        }
        for column in range(len(points.cells))
    ]
    for name, costs in (
        ("front", points.parameters),
        ("bytes_front", points.n_bytes),
        ("time_front", np.column_stack([points.parameters, points.seconds])),
    ):
        on = on_front(costs, points.aucs).tolist()
        share = np.mean([on_front(costs, aucs) for aucs in points.draws], axis=0).tolist()
        for row, member, probability in zip(rows, on, share, strict=True):
            row |= {f"on_{name}": member, f"{name}_probability": probability}
    return rows


def _summary_row(points: Points) -> dict[str, Any]:
    """The basic bootstrap interval: best-of-many figures are drawn too high, and it turns that.

    A front takes the best of what noise offers, in the data and once more in each draw. What the
    draws add to the estimate is what the estimate has added to the truth.
    """
    value = hypervolume(points.parameters, points.aucs, points.full)
    drawn = [hypervolume(points.parameters, aucs, points.full) for aucs in points.draws]
    low, high = np.quantile(drawn, _ENDS)
    return {
        "hypervolume": value,
        "low": max(0.0, 2 * value - float(high)),
        "high": max(0.0, 2 * value - float(low)),
        "reference_parameters": points.full,
        "reference_auc": CHANCE_AUC,
        "draws": len(points.draws),
    }


def _attainment_rows(points: Points) -> list[dict[str, Any]]:
    drawn = points.draws[:_ATTAINMENT_DRAWS]
    cloud = np.column_stack([np.tile(points.parameters, len(drawn)), -drawn.ravel()])
    sets = np.repeat(np.arange(1, len(drawn) + 1), len(points.cells))
    corners = moocore.eaf(cloud, sets, percentiles=list(PERCENTILES))
    ordered = corners[np.lexsort((corners[:, 0], corners[:, 2]))]
    return [
        {"percentile": float(percentile), "parameters": int(parameters), "auc": -float(negative)}
        for parameters, negative, percentile in ordered
    ]


def _methods(points: Points) -> dict[str, list[int]]:
    """Columns of each method, smallest first."""
    columns: dict[str, list[int]] = {}
    for column in np.argsort(points.parameters, kind="stable").tolist():
        columns.setdefault(points.cell(column).method, []).append(column)
    return dict(sorted(columns.items()))


def _at_size_rows(points: Points) -> list[dict[str, Any]]:
    rows = []
    for method, columns in _methods(points).items():
        sizes = points.sizes[columns]
        for share in SHARES:
            size = math.log10(share * points.full)
            if len(columns) < 2 or not sizes[0] <= size <= sizes[-1]:
                continue
            drawn = [np.interp(size, sizes, aucs) for aucs in points.draws[:, columns]]
            low, high = np.quantile(drawn, _ENDS)
            rows.append(
                {
                    "method": method,
                    "share": share,
                    "parameters": round(share * points.full),
                    "auc": float(np.interp(size, sizes, points.aucs[columns])),
                    "low": float(low),
                    "high": float(high),
                }
            )
    return rows


def _crossing_rows(
    points: Points, compared: Sequence[CellComparison], margin: float
) -> list[dict[str, Any]]:
    if points.block.metric != "auc":  # what is interpolated are AUCs
        return []
    place = {cell: column for column, cell in enumerate(points.cells)}
    references: dict[str, set[int]] = {}
    for pair in compared:
        if pair.other is not None and pair.main is not None and pair.other in place:
            method = points.block.cells[pair.cell].method
            references.setdefault(method, set()).add(place[pair.other])
    rows = []
    for method, columns in _methods(points).items():
        # Between a table and none there is nothing to interpolate.
        if len(references.get(method, ())) != 1 or not points.parameters[columns].all():
            continue
        reference = next(iter(references[method]))
        sizes = np.append(points.sizes[columns], points.sizes[reference])[::-1]
        if not (np.diff(sizes) <= 0).all():
            continue
        factors, censored = [], False
        for aucs in (points.aucs, *points.draws):
            gaps = np.append(aucs[columns] - aucs[reference], 0.0)[::-1] + margin
            size = crossing(sizes, gaps)
            factors.append(points.full / 10**size)
            censored = censored or (len(factors) == 1 and size == sizes[-1])
        low, high = np.quantile(factors[1:], _ENDS)
        rows.append(
            {
                "method": method,
                "compression_estimate": float(factors[0]),
                "compression_low": float(low),
                "compression_high": float(high),
                "at_smallest": censored,
            }
        )
    return rows


def crossing(sizes: Floats, gaps: Floats) -> float:
    """The size at which gaps, linear between sizes, first fall below zero.

    Parameters
    ----------
    sizes
        (n,), falling.
    gaps
        (n,), the first not negative.

    Returns
    -------
    float
        The last size if no gap is negative.

    Examples
    --------
    >>> crossing(np.array([3.0, 2.0, 1.0]), np.array([1.0, 1.0, -1.0]))
    1.5
    """
    below = np.flatnonzero(gaps < 0)
    if not len(below):
        return float(sizes[-1])
    at = int(below[0])
    share = gaps[at - 1] / (gaps[at - 1] - gaps[at])
    return float(sizes[at - 1] + share * (sizes[at] - sizes[at - 1]))
