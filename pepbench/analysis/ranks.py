"""Methods across data sets: ranks, and tests where there are enough data sets for them.

A block is a source of data. Its figure for a method is the mean test AUC over its data sets and the
backbones for which all methods have one, so that a source counts once, whatever number of encodings
and backbones it was run with.

References
----------
Demšar, "Statistical comparisons of classifiers over multiple data sets", JMLR 7 (2006): Friedman,
Nemenyi, critical differences. Benavoli, Corani & Mangili, "Should we really use post-hoc tests
based on mean-ranks?", JMLR 17 (2016): Wilcoxon with Holm instead. Benavoli, Corani, Mangili,
Zaffalon & Ruggeri, "A Bayesian Wilcoxon signed-rank test based on the Dirichlet process", ICML
2014.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike
from scipy import stats

from pepbench.analysis.delong import Floats
from pepbench.analysis.significance import ALPHA, holm
from pepbench.records import DRAWN, MARGIN, DataSpec

FEWEST_BLOCKS = 5
"""Below this many data sets ranks are descriptive and nothing is tested."""

RANK_COLUMNS = ("budget", "method", "mean_rank", "mean_auc", "blocks", "descriptive")
"""Columns of the ranks' frame: a row for each method that is ok on every data set at a
budget, best mean rank first (1 is the best; ties share the mean). ``descriptive``: too few data
sets, or methods, for a test."""

TEST_COLUMNS = ("budget", "methods", "blocks", "friedman", "p", "critical_difference")
"""Columns of the tests' frame: a row for each budget with at least ``FEWEST_BLOCKS`` data
sets and three methods. ``friedman``: chi-square statistic of no difference among all methods.
``critical_difference``: Nemenyi's, of two mean ranks."""

RANK_PAIR_COLUMNS = (
    "budget",
    "method",
    "other",
    "rank_difference",
    "p_nemenyi",
    "p_wilcoxon",
    "p_wilcoxon_holm",
    "chance_worse",
    "chance_equivalent",
    "chance_better",
)
"""Columns of the frame of pairs of methods, for the budgets of the tests' frame. The last
three: posterior probabilities of the Bayesian signed-rank test that on another data set ``method``
is worse than ``other``, within the margin, or better, is the likeliest."""

CLIQUE_COLUMNS = ("budget", "from_rank", "to_rank", "methods")
"""Columns of the bars of the critical-difference diagram: largest groups of methods whose
mean ranks lie within the critical difference; names joined by commas, best first."""

_DRAWS = 10_000
_SEED = 20_140_621


@dataclass(frozen=True)
class RankTables:
    """Frames with the columns of this module's constants."""

    ranks: pd.DataFrame
    tests: pd.DataFrame
    pairs: pd.DataFrame
    cliques: pd.DataFrame


def sources_of(datasets: Iterable[tuple[str, DataSpec]]) -> dict[str, str]:
    """The source of each data set that counts across data sets, by its name in the leaderboard.

    Drawn data are not among them. Records without a source count by the name of their data set.
    """
    sources = {name: data.source or name for name, data in datasets}
    return {dataset: source for dataset, source in sources.items() if source != DRAWN}


def rank_tables(
    frame: pd.DataFrame,
    sources: Mapping[str, str],
    margin: float = MARGIN,
) -> RankTables:
    """Rank methods across the sources of a leaderboard's data sets, budget by budget.

    Parameters
    ----------
    frame
        The leaderboard (dataset, backbone, method, budget, status, auc).
    sources
        Of :func:`sources_of`: data sets of one source count once, others not at all.
    margin
        Of practical equivalence, in AUC.
    """
    ranks, tests, pairs, cliques = [], [], [], []
    counted = (frame["status"] == "ok") & frame["dataset"].isin(list(sources))
    ok = frame[counted].assign(source=frame["dataset"].map(dict(sources)))
    for budget in dict.fromkeys(ok["budget"]):
        aucs = block_aucs(ok[ok["budget"] == budget])
        n_blocks, n_methods = aucs.shape
        if not n_blocks or n_methods < 2:
            continue
        means = _mean_ranks(aucs)
        tested = n_blocks >= FEWEST_BLOCKS and n_methods >= 3
        ranks += [
            {
                "budget": budget,
                "method": method,
                "mean_rank": rank,
                "mean_auc": float(aucs[method].mean()),
                "blocks": n_blocks,
                "descriptive": not tested,
            }
            for method, rank in means.items()
        ]
        if not tested:
            continue
        statistic, p = _friedman(aucs)
        difference = critical_difference(n_methods, n_blocks)
        tests.append((budget, n_methods, n_blocks, statistic, p, difference))
        pairs += [{"budget": budget, **row} for row in _pair_rows(aucs, means, margin)]
        cliques += [(budget, *clique) for clique in _cliques(means, difference)]
    return RankTables(
        pd.DataFrame(ranks, columns=list(RANK_COLUMNS)),
        pd.DataFrame(tests, columns=list(TEST_COLUMNS)),
        pd.DataFrame(pairs, columns=list(RANK_PAIR_COLUMNS)),
        pd.DataFrame(cliques, columns=list(CLIQUE_COLUMNS)),
    )


def block_aucs(cells: pd.DataFrame) -> pd.DataFrame:
    """AUC by source of data (rows) and method (columns) of the cells of one budget.

    Methods are those that are there for every source with some data set and backbone in common; a
    source that has none for which all of them are there is left out.
    """
    sources = cells["source"].nunique()
    everywhere = cells.groupby("method")["source"].nunique() == sources
    complete = cells[cells["method"].isin(everywhere.index[everywhere])]
    wide = complete.pivot_table("auc", ["source", "dataset", "backbone"], "method").dropna()
    return wide.groupby(level="source").mean()


def critical_difference(n_methods: int, n_blocks: int) -> float:
    """Nemenyi's critical difference of two mean ranks, at the level ``ALPHA``.

    Examples
    --------
    >>> round(critical_difference(5, 30), 3)  # Demšar, table 5: 2.728 · √(5·6/(6·30))
    1.114
    """
    q = stats.studentized_range.isf(ALPHA, n_methods, math.inf) / math.sqrt(2)
    return float(q * math.sqrt(n_methods * (n_methods + 1) / (6 * n_blocks)))


def bayesian_signed_rank(
    differences: ArrayLike, rope: float, draws: int = _DRAWS
) -> tuple[float, float, float]:
    """Chances that worse, practically equivalent, or better is what another data set will bring.

    Observations and one pseudo-observation 0 have weights from a Dirichlet distribution, all of
    parameter 1; in each draw, the mass of pairs whose mean is below −rope, within, or above.

    Parameters
    ----------
    differences
        (n,): a difference for each data set.
    rope
        Half the width of the region of practical equivalence.
    draws
        From the posterior.

    Returns
    -------
    tuple of float
        Shares of draws in which each mass is the largest; equal masses share. The sum is 1.
    """
    values = np.append(0.0, np.asarray(differences, dtype=np.float64))
    walsh = (values[:, None] + values) / 2
    weights = np.random.default_rng(_SEED).dirichlet(np.ones(len(values)), draws)
    regions = (walsh < -rope, np.abs(walsh) <= rope, walsh > rope)
    masses = np.stack(
        [
            np.einsum("bi,ij,bj->b", weights, region.astype(np.float64), weights)
            for region in regions
        ]
    )
    largest = masses >= masses.max(axis=0) - 1e-12
    shares = (largest / largest.sum(axis=0)).mean(axis=1)
    return float(shares[0]), float(shares[1]), float(shares[2])


def _friedman(aucs: pd.DataFrame) -> tuple[float, float]:
    """Friedman's chi-square and its p; 0 and 1 where all methods are equal on every data set."""
    if (aucs.nunique(axis=1) == 1).all():
        return 0.0, 1.0
    statistic, p = stats.friedmanchisquare(*(aucs[method] for method in aucs))
    return float(statistic), float(p)


def _mean_ranks(aucs: pd.DataFrame) -> dict[str, float]:
    """Best first, by name where equal."""
    means = aucs.rank(axis=1, ascending=False).mean()
    return {
        str(method): float(means[method])
        for method in sorted(means.index, key=lambda name: (means[name], name))
    }


def _pair_rows(
    aucs: pd.DataFrame, means: dict[str, float], margin: float
) -> Iterator[dict[str, Any]]:
    n_blocks, n_methods = aucs.shape
    spread = math.sqrt(n_methods * (n_methods + 1) / (6 * n_blocks))
    names = list(combinations(means, 2))
    gaps: list[Floats] = [(aucs[a] - aucs[b]).to_numpy() for a, b in names]
    # Equal AUCs on a data set count half to either side.
    exact = [
        float(stats.wilcoxon(gap, zero_method="zsplit").pvalue) if gap.any() else 1.0
        for gap in gaps
    ]
    for (a, b), gap, p, p_holm in zip(names, gaps, exact, holm(exact).tolist(), strict=True):
        worse, equal, better = bayesian_signed_rank(gap, margin)
        q = abs(means[a] - means[b]) / spread * math.sqrt(2)
        yield {
            "method": a,
            "other": b,
            "rank_difference": means[a] - means[b],
            "p_nemenyi": float(stats.studentized_range.sf(q, n_methods, math.inf)),
            "p_wilcoxon": p,
            "p_wilcoxon_holm": p_holm,
            "chance_worse": worse,
            "chance_equivalent": equal,
            "chance_better": better,
        }


def _cliques(means: dict[str, float], difference: float) -> Iterator[tuple[float, float, str]]:
    names, ranks = list(means), list(means.values())
    reached = 0
    for first in range(len(names)):
        last = max(i for i in range(len(names)) if ranks[i] - ranks[first] <= difference)
        if last > first and last > reached:
            yield ranks[first], ranks[last], ",".join(names[first : last + 1])
        reached = max(reached, last)
