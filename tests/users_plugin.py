"""A data set of users who click at different rates, and methods that see one field only."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor, nn

from pepbench.component import OneOf
from pepbench.data.dataset import Block, Dataset
from pepbench.method import Fitted, Method, Model, PlainTable, Task


@dataclass(frozen=True)
class Owned(Dataset):
    """50 users with 40 rows each; the user says much more about a click than the item does."""

    name = "owned"
    title = "Users"
    licence = "none"
    citation = "none"
    url = "none"
    generated: ClassVar[bool] = True
    user_field = "user"

    def blocks(self, source: Path | None) -> Iterator[Block]:  # noqa: ARG002
        rng = np.random.default_rng(0)
        users = rng.permutation(np.repeat(np.arange(50), 40))
        items = rng.integers(0, 8, len(users))
        chance = np.where(users % 2, 0.85, 0.15) + np.where(items % 2, 0.1, -0.1)
        labels = (rng.random(len(users)) < chance).astype(np.uint8)
        yield Block({"user": pa.array(users), "item": pa.array(items)}, labels)


class OneField(nn.Module):
    """Logits from the vector of one field, scaled so that few steps suffice."""

    def __init__(self, field: int) -> None:
        super().__init__()
        self.field = field

    def forward(self, vectors: Tensor, ids: Tensor) -> Tensor:  # noqa: ARG002
        return 30 * vectors[:, self.field].sum(dim=1)


@dataclass(frozen=True)
class OnlyOne(Method):
    """Predicts by one field: the users, who differ much, or the items, which all users share."""

    name = "only"
    family = "controls"
    field: Annotated[str, OneOf("user", "item"), "the field that is seen"] = "user"

    def fit(self, task: Task, budget: int) -> Fitted:
        width = max(1, min(task.dim, budget // task.fields.n_features))
        zeros = torch.zeros(task.fields.n_features, width)
        table = PlainTable(task.fields.n_features, width, zeros)
        return task.train(Model(table, OneField(task.fields.names.index(self.field))))
