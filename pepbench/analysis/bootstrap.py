"""AUCs of a block's cells drawn anew: bootstrap over seeds and rows, or t over folds."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from pepbench.analysis.blocks import Block, FewFoldsBlock, FoldBlock, SplitBlock
from pepbench.analysis.delong import Floats

DRAWS = 2000
SEED = 20_101_001
"""Of the draws: the same records give the same tables."""


def drawn_aucs(block: Block, cells: Sequence[int], draws: int = DRAWS) -> Floats:
    """Mean AUCs of usable cells, drawn anew: seeds first, then rows or users.

    * **Seeds.** Of each cell's K runs, K are drawn with replacement, the same for all cells that
      have the same seeds. Deviations from the mean are stretched by √(K/(K−1)), so that their mean
      has the variance s²/K. A cell with one seed always has that one.
    * **Rows.** The bootstrap over rows (or users) of the AUC, linear in placements, with normal
      multipliers: a normal vector whose covariance is DeLong's (Obuchowski's) between different
      seeds, for all cells at once. What seeds and rows do jointly comes with the seeds alone.

    Where there are several folds, they take the place of both: see
    :mod:`pepbench.analysis.folds`. Where these are too few, it is the mean of the folds' draws.

    Parameters
    ----------
    block
        Measured cells.
    cells
        Positions of usable cells, C of them.
    draws
        B.

    Returns
    -------
    numpy.ndarray
        (B, C); the expectation of each column is the cell's mean AUC.
    """
    if not cells:
        return np.zeros((draws, 0))
    rng = np.random.default_rng(SEED)
    return _drawn(block, cells, draws, rng)


def _drawn(block: Block, cells: Sequence[int], draws: int, rng: np.random.Generator) -> Floats:
    if isinstance(block, FewFoldsBlock):
        mean: Floats = np.mean([_drawn(one, cells, draws, rng) for one in block.folds], axis=0)
        return mean
    if isinstance(block, FoldBlock):
        return _drawn_over_folds(block, cells, draws, rng)
    if block.measured is None:
        return np.zeros((draws, 0))
    means = block.measured.auc.means
    total = np.empty((draws, len(cells)))
    chosen: dict[tuple[int, ...], Floats] = {}
    for column, cell in enumerate(cells):
        seeds, runs = block.cells[cell].seeds, list(block.runs[cell])
        if seeds not in chosen:
            counts = rng.multinomial(len(seeds), np.full(len(seeds), 1 / len(seeds)), draws)
            chosen[seeds] = counts / len(seeds)
        aucs = means[runs]
        stretch = np.sqrt(len(runs) / max(1, len(runs) - 1))
        total[:, column] = aucs.mean() + stretch * (chosen[seeds] @ (aucs - aucs.mean()))
    # Eigenvalues below zero are the noise of an estimate that is a difference of two.
    values, vectors = np.linalg.eigh(row_covariance(block, cells))
    scaled = vectors * np.sqrt(np.maximum(values, 0.0))
    drawn: Floats = total + rng.standard_normal(total.shape) @ scaled.T
    return drawn


def _drawn_over_folds(
    block: FoldBlock, cells: Sequence[int], draws: int, rng: np.random.Generator
) -> Floats:
    """Draws from the multivariate t distribution that tests over folds refer to, (B, C)."""
    figures = [block.figures("auc", cell) for cell in cells]
    values = np.stack([one.values for one in figures], axis=1)
    freedom = len(values) - 1
    centred = (values - values.mean(0)) / np.sqrt(freedom)
    scale = np.sqrt(freedom / rng.chisquare(freedom, draws) / len(values))
    drawn: Floats = rng.standard_normal((draws, len(values))) @ centred
    around: Floats = values.mean(0) + scale[:, None] * drawn
    return around


def row_covariance(block: SplitBlock, cells: Sequence[int]) -> Floats:
    """Covariance over rows of the cells' mean AUCs, (C, C), between different seeds only.

    Where two cells have no two different seeds (one each), the pair that there is is taken.
    """
    if block.measured is None:
        return np.zeros((len(cells), len(cells)))
    whole = np.sum([part.covariance for part in block.measured.auc.parts], axis=0)
    runs = [run for cell in cells for run in block.runs[cell]]
    seeds = np.array([seed for cell in cells for seed in block.cells[cell].seeds])
    owner = np.repeat(np.arange(len(cells)), [len(block.runs[cell]) for cell in cells])
    member = (owner[:, None] == np.arange(len(cells))).astype(np.float64)
    matrix = whole[np.ix_(runs, runs)]
    different = (seeds[:, None] != seeds).astype(np.float64)
    pairs = member.T @ different @ member
    between = member.T @ (matrix * different) @ member
    every = member.T @ matrix @ member / (member.sum(0)[:, None] * member.sum(0))
    covariance: Floats = np.where(pairs > 0, between / np.maximum(pairs, 1.0), every)
    return covariance
