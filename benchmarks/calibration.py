"""Whether the tests and intervals hold their levels: simulation with known truth.

Scores of method m, seed k, row i of user u are

    (δ_m + σ g_mk) y_i + c z_i + r z_mi + j z_mki + u (z_u + z_mu),

all g, z standard normal: y the label, g what a seed does on all rows, z_mki what it does on one.
The mean AUC over rows and seeds is Φ(δ_m / √(2τ² + σ²)), τ² the variance of the other terms, so
differences are set to the digit. ``--aa FOLDER`` draws from the final runs of a real run instead.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats
from tabulate import tabulate

from pepbench.analysis.cells import cells_of
from pepbench.analysis.contrasts import Estimate, difference_estimate, mean_estimate
from pepbench.analysis.covariance import Measurements, RunFigures, measure
from pepbench.analysis.power import decision_power
from pepbench.analysis.significance import compare_runs, holm
from pepbench.records import RecordStore

Floats = NDArray[np.float64]
ALPHA = 0.05
MARGIN = 0.01
"""Of equivalence here: simulated rows are few."""
REPETITIONS = 2000
SHARE_POSITIVE = 0.3


@dataclass(frozen=True)
class World:
    """Where scores come from; the letters are those of the module's text."""

    name: str
    rows: int = 1000
    seeds: tuple[int, ...] = (5, 5)
    sigma: float = 0.05
    c: float = 1.0
    r: float = 0.3
    j: float = 0.3
    u: float = 0.0
    rows_per_user: int = 1
    tie: float = 0.0
    """Scores are rounded to multiples of this."""
    shared: bool = False
    """Whether the methods share g: seeds then act alike on both."""
    spread: float = 1.0
    """Standard deviation of the logarithm of users' sizes, where there are users."""
    aucs: tuple[float, ...] = (0.75, 0.75)

    @property
    def tau(self) -> float:
        """Standard deviation of a score given its label and its seed's strength."""
        return math.sqrt(self.c**2 + self.r**2 + self.j**2 + 2 * self.u**2)

    @property
    def delta(self) -> Floats:
        """δ of each method."""
        return stats.norm.ppf(self.aucs) * math.sqrt(2 * self.tau**2 + self.sigma**2)

    def draw(self, rng: np.random.Generator) -> tuple[NDArray[np.bool_], Floats, Any]:
        """Labels (n,), scores (runs, n) with all seeds of a method together, users or None."""
        n, users = self.rows, None
        labels = rng.random(n) < SHARE_POSITIVE
        common = self.c * rng.standard_normal(n)
        if self.u:
            n_users = n // self.rows_per_user
            sizes = rng.lognormal(0, self.spread, n_users)
            users = rng.choice(n_users, n, p=sizes / sizes.sum())
            common += self.u * rng.standard_normal(n_users)[users]
        g = rng.standard_normal((len(self.seeds), max(self.seeds)))
        if self.shared:
            g[:] = g[0]
        lines = []
        for method, seeds in enumerate(self.seeds):
            own = common + self.r * rng.standard_normal(n)
            if users is not None:
                own = own + self.u * rng.standard_normal(n_users)[users]
            strength = self.delta[method] + self.sigma * g[method, :seeds, None]
            lines.append(strength * labels + own + self.j * rng.standard_normal((seeds, n)))
        scores = np.concatenate(lines)
        if self.tie:
            scores = np.round(scores / self.tie) * self.tie
        return labels, scores, users

    def measured(self, rng: np.random.Generator) -> Measurements:
        """What the program measures of one draw; probabilities are logistic in the scores."""
        labels, scores, users = self.draw(rng)
        probabilities = special.expit(scores - self.delta.mean() / 2)
        return measure(labels, [partial(np.asarray, line) for line in probabilities], users)

    def runs(self, method: int) -> range:
        """Positions of a method's runs."""
        start = sum(self.seeds[:method])
        return range(start, start + self.seeds[method])


BASE = World("rows and seeds, K = 5")
WORLDS = (
    World("rows only, K = 1", seeds=(1, 1), sigma=0.0, j=0.0),
    World("rows, hardly seeds, K = 5", sigma=0.01, j=0.05),
    BASE,
    World("seeds, hardly rows, K = 5", sigma=0.3, r=0.02, j=0.02),
    World("seeds × rows only (A/A), K = 5", sigma=0.0, r=0.0),
    World("seeds shared by both methods, K = 5", sigma=0.2, shared=True),
    World("seeds of their own, 5 and 3", seeds=(5, 3)),
    World("rows and seeds, K = 3", seeds=(3, 3)),
    World("seeds, hardly rows, K = 3", seeds=(3, 3), sigma=0.15, r=0.1, j=0.02),
    World("rows and seeds, K = 10", seeds=(10, 10)),
    World("ties, K = 5", tie=0.5),
    World("a few rows (200), K = 5", rows=200),
    World("users, K = 5", rows=3000, u=0.5, rows_per_user=10),
    World("users of one row to hundreds, K = 5", rows=3000, u=0.5, rows_per_user=10, spread=1.5),
    World("users, K = 1", rows=3000, seeds=(1, 1), sigma=0.0, j=0.0, u=0.5, rows_per_user=10),
    World("rows and seeds, K = 2", seeds=(2, 2)),
)


def repeated(
    world: World, repetitions: int, look: Callable[[Measurements], tuple[float, ...]]
) -> Floats:
    """What ``look`` sees in each repetition: (repetitions, figures)."""
    streams = np.random.SeedSequence([7, *world.name.encode()]).spawn(repetitions)
    return np.array([look(world.measured(np.random.default_rng(stream))) for stream in streams])


def between(measured: RunFigures, world: World, method: int = 1) -> Estimate:
    """The first method against another; paired where they have as many seeds, as the program does.

    Tests are done with the estimate and its distribution, as :func:`compare_runs` does; a value is
    in the interval if the test does not reject it, which saves the search for the interval's ends.
    """
    a, b = world.runs(0), world.runs(method)
    return difference_estimate(measured, a, b, len(a) == len(b))


def p_value(estimate: Estimate, truth: float = 0.0) -> float:
    """Two-sided, of the hypothesis that the mean is ``truth``."""
    return 2 * estimate.distribution().tail(abs(estimate.value - truth))


def pair_rows(repetitions: int) -> Iterator[dict[str, Any]]:
    """Type I error and coverage of the pair test in every world."""
    for world in WORLDS:

        def look(found: Measurements, world: World = world) -> tuple[float, ...]:
            auc = between(found.auc, world)
            p = p_value(auc)
            return (
                p < ALPHA,
                p < ALPHA / 10,
                p_value(between(found.log_loss, world)) < ALPHA,
                p_value(mean_estimate(found.auc, world.runs(0)), world.aucs[0]) >= ALPHA,
                auc.value,
                auc.variance,
            )

        figures = repeated(world, repetitions, look)
        means = figures.mean(axis=0)
        covered = math.nan
        if not world.tie:
            shifted = replace(world, name=world.name + " shifted", aucs=(0.77, 0.75))
            covered = float(repeated(shifted, repetitions, partial(_covers, shifted)).mean())
        yield {
            "world": world.name,
            "type I": means[0],
            "at 0.005": means[1],
            "log loss": means[2],
            "coverage of Δ = 0.02": covered,
            "coverage of an AUC": math.nan if world.tie else means[3],
            "V / true variance": means[5] / figures[:, 4].var(ddof=1),
        }


def _covers(world: World, found: Measurements) -> tuple[bool]:
    return (p_value(between(found.auc, world), world.aucs[0] - world.aucs[1]) >= ALPHA,)


def family_rows(repetitions: int) -> Iterator[dict[str, Any]]:
    """Any false rejection in a family of eight methods against one reference, after Holm."""
    for seeds, false in ((3, 8), (5, 8), (5, 4)):
        world = World(
            f"{false} of 8 methods equal to the reference, K = {seeds}",
            seeds=(seeds,) * 9,
            aucs=(0.75,) * (false + 1) + (0.80,) * (8 - false),
        )

        def look(found: Measurements, world: World = world, false: int = false) -> tuple[float]:
            p = [p_value(between(found.auc, world, method)) for method in range(1, 9)]
            return ((holm(p)[:false] < ALPHA).any(),)

        yield {"family": world.name, "FWER": repeated(world, repetitions, look).mean()}


def tost_rows(repetitions: int) -> Iterator[dict[str, Any]]:
    """How often equivalence is claimed, margin 0.01: at the margin (size), and at no difference."""
    for seeds in (3, 5):
        for gap in (0.01, -0.01, 0.015, 0.0):
            world = World(
                f"TOST {seeds} {gap}",
                rows=4000,
                seeds=(seeds, seeds),
                sigma=0.01,
                r=0.1,
                j=0.1,
                aucs=(0.75 + gap, 0.75),
            )

            def look(found: Measurements, world: World = world) -> tuple[float, float]:
                auc = between(found.auc, world)
                error = auc.distribution()
                below, above = (error.tail(MARGIN + side * auc.value) for side in (1, -1))
                return max(below, above) < ALPHA, below < ALPHA

            equivalent, noninferior = repeated(world, repetitions, look).mean(axis=0)
            yield {
                "true Δ": gap,
                "K": seeds,
                "equivalent": equivalent,
                "non-inferior": noninferior,
            }


def power_rows(repetitions: int) -> Iterator[dict[str, Any]]:
    """Rejections as the true difference grows, and what the planning formula expects."""
    for gap in (0.0, 0.01, 0.02, 0.03, 0.04, 0.06):
        row: dict[str, Any] = {"true Δ": gap}
        for seeds in (3, 5, 10):
            world = World(f"power {seeds}", seeds=(seeds, seeds), aucs=(0.75 + gap, 0.75))

            def look(found: Measurements, world: World = world) -> tuple[float, ...]:
                auc = between(found.auc, world)
                rejected = p_value(auc) < ALPHA
                return rejected, auc.row_variance, auc.seed_variance, auc.row_error

            rejected, rows, shared, noise = repeated(world, repetitions, look).mean(axis=0)
            truth = Estimate(gap, rows, noise, ((shared * seeds, seeds),), seeds)
            planned = decision_power(truth, 1e-9, ALPHA)
            row |= {f"K = {seeds}": rejected, f"planned, K = {seeds}": planned}
        yield row


def aa_rows(folder: Path, draws: int) -> Iterator[dict[str, Any]]:
    """A method against itself: disjoint draws of seeds from the final runs of each cell."""
    store, rng = RecordStore(folder), np.random.default_rng(11)
    for cell in cells_of(store):
        split = cell.spec.data.split_fingerprint
        loaders = [partial(store.load_predictions, run.key) for run in cell.runs]
        found = measure(store.load_labels(split), loaders, store.load_users(split))
        for seeds in (2, 3, 5):
            rejected, equivalent = [], []
            for _ in range(draws):
                drawn = rng.permutation(len(loaders))[: 2 * seeds]
                auc = compare_runs(found.auc, drawn[:seeds], drawn[seeds:], ALPHA, 0.001)
                rejected.append(auc.p < ALPHA)
                equivalent.append(auc.p_equivalent < ALPHA)
            yield {
                "cell": str(cell.name),
                "runs": len(loaders),
                "unit": found.auc.unit,
                "K": seeds,
                "rejected": np.mean(rejected),
                "equivalent": np.mean(equivalent),
            }


STUDIES: dict[str, Callable[[int], Iterator[dict[str, Any]]]] = {
    "Pairs": pair_rows,
    "Families": family_rows,
    "Equivalence": tost_rows,
    "Power": power_rows,
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repetitions", type=int, default=REPETITIONS)
    parser.add_argument("--only", choices=STUDIES, action="append")
    parser.add_argument("--aa", type=Path, metavar="FOLDER", help="A/A on a run's final runs")
    parser.add_argument("--json", action="store_true")
    chosen = parser.parse_args()
    studies = {name: STUDIES[name] for name in chosen.only or STUDIES}
    if chosen.aa is not None:
        studies = {"A/A": partial(aa_rows, chosen.aa)}
    started, tables = time.process_time(), {}
    for name, study in studies.items():
        tables[name] = [_plain(row) for row in study(chosen.repetitions)]
        if not chosen.json:
            print(f"**{name}**\n")
            print(tabulate(tables[name], headers="keys", tablefmt="github", floatfmt=".3f"))
            print(flush=True)
    if chosen.json:
        print(json.dumps(tables, indent=2, ensure_ascii=False))
    else:
        seconds = time.process_time() - started
        print(f"{chosen.repetitions} repetitions; {seconds:.0f} CPU seconds.")


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {
        key: None
        if isinstance(value, float) and math.isnan(value)
        else getattr(value, "item", lambda value=value: value)()
        for key, value in row.items()
    }


if __name__ == "__main__":
    main()
