"""What the studies on real data share: a data set, and a task as the harness makes it."""

from __future__ import annotations

from typing import cast

import torch

from pepbench.backbones.fm import FM
from pepbench.catalog import Catalog
from pepbench.data.dataset import Dataset
from pepbench.data.manage import open_table
from pepbench.data.splits import Splits, open_splits
from pepbench.harness.cells import training_spec
from pepbench.plan import Plan
from pepbench.records import DEFAULT_L2, DEFAULT_LEARNING_RATE
from pepbench.training.process_settings import keep_freed_memory
from pepbench.training.task import TrialTask


def open_dataset(name: str) -> Splits:
    """The splits of an added data set, with the plan's default seed."""
    dataset = cast(Dataset, Catalog().select("dataset", name).default())
    return open_splits(open_table(dataset), 0)


def new_task(splits: Splits, plan: Plan, seed: int) -> TrialTask:
    """A factorisation machine's task at the default learning rate and L2, on one thread."""
    torch.set_num_threads(1)
    keep_freed_memory()
    torch.manual_seed(seed)
    settings = training_spec(plan, DEFAULT_LEARNING_RATE, DEFAULT_L2)
    return TrialTask(splits.fields, plan.dim, splits.train, splits.validation, FM(), settings, seed)
