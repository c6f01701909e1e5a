"""What a user would train with instead, each as they would run it.

Every competitor turns a :class:`~benchmarks.problem.Problem` into endless steps of training on it.
Those that an extra brings are left out where they are not installed.
"""

from __future__ import annotations

import importlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Literal

from benchmarks import ours
from benchmarks.competitors import fbgemm_tables, fuxictr_trainer, plain
from benchmarks.problem import Problem

Backbone = Literal["fm", "deepfm"]
BACKBONES: tuple[Backbone, ...] = ("fm", "deepfm")


@dataclass(frozen=True)
class Competitor:
    """Something else to train with."""

    name: str
    steps: Callable[[Problem, Backbone], Iterator[int]]
    """Builds model and optimizer, and gives steps without end, each its number of samples."""
    backbones: tuple[Backbone, ...] = BACKBONES
    most_features: int = 1_000_000
    """Above, a step takes seconds or memory runs out."""
    module: str | None = None
    """What must be importable."""
    package: str | None = None
    """What brings the module."""
    counterpart: tuple[str, ...] = (ours.UNIFORM,)
    """What of ours does the same; the fastest of these is compared with it."""


ANY_SIZE = 10**9

COMPETITORS = (
    Competitor("torch Adam", partial(plain.adam_steps, foreach=False), ("fm",)),
    Competitor("torch Adam foreach", partial(plain.adam_steps, foreach=True)),
    Competitor("torch Adam fused", partial(plain.adam_steps, fused=True), most_features=ANY_SIZE),
    Competitor("torch SparseAdam", plain.sparse_adam_steps, most_features=ANY_SIZE),
    Competitor(
        "fbgemm row-wise Adagrad",
        fbgemm_tables.steps,
        most_features=ANY_SIZE,
        module="fbgemm_gpu.split_table_batched_embeddings_ops_training",
        package="fbgemm-gpu-cpu",
        counterpart=(ours.ROW_ADAGRAD,),
    ),
    Competitor(
        "FuxiCTR, batches in memory",
        partial(fuxictr_trainer.steps, from_files=False),
        ("deepfm",),
        module="fuxictr.pytorch.models",
        package="fuxictr",
    ),
    Competitor(
        "FuxiCTR, its loader",
        partial(fuxictr_trainer.steps, from_files=True),
        ("deepfm",),
        module="fuxictr.pytorch.models",
        package="fuxictr",
    ),
    Competitor(
        "plain PEP", plain.pep_steps, ("fm",), counterpart=(ours.PEP_DENSE, ours.PEP_BY_ROW)
    ),
)


def not_installed() -> dict[str, str]:
    """Packages that cannot be imported here, and why in a few words."""
    reasons: dict[str, str] = {}
    for competitor in COMPETITORS:
        if competitor.module is not None and competitor.package is not None:
            reason = _import_error(competitor.module)
            if reason is not None:
                reasons[competitor.package] = reason
    return reasons


def _import_error(module: str) -> str | None:
    # A package built for another torch fails with OSError, and logs a page before it does.
    before = logging.root.manager.disable
    logging.disable(logging.CRITICAL)
    try:
        importlib.import_module(module)
    except (ImportError, OSError) as error:
        return str(error).strip().splitlines()[0]
    finally:
        logging.disable(before)
    return None
