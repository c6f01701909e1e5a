"""The seeds of trials, which follow from the plan's seed, the fold and what they are for."""

from __future__ import annotations

import hashlib

from pepbench.data.split_schemes import Fold
from pepbench.plan import Plan


def tuning_seed(plan: Plan, fold: Fold) -> int:
    """Of every tuning trial of a fold: equal initial values and batches for all methods."""
    return fold_seed(plan, fold, "tuning")


def common_seed(plan: Plan, fold: Fold, dataset: str, backbone: str) -> int:
    """The same for all methods and budgets of a data set and backbone in a fold."""
    return fold_seed(plan, fold, "common", dataset, backbone)


def finalist_seeds(plan: Plan, fold: Fold) -> list[int]:
    """Further seeds of finalists, the same for every cell of a fold, none used elsewhere."""
    return [fold_seed(plan, fold, "finalist", str(k)) for k in range(plan.finalist_seeds)]


def final_seeds(plan: Plan, fold: Fold) -> list[int]:
    """Seeds of the final runs, the same for every cell of a fold, none used elsewhere."""
    return [fold_seed(plan, fold, "final", str(k)) for k in range(plan.seeds)]


def fold_seed(plan: Plan, fold: Fold, *purpose: str) -> int:
    """A seed that depends on the plan's seed, the fold and the purpose."""
    which = (f"fold {fold.number + 1} of {fold.of}",) if fold.of > 1 else ()
    text = "\x1f".join((str(plan.seed), *which, *purpose))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
