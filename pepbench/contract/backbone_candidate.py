"""The backbone under test: its modules, small inputs for them, and its fits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

from pepbench.backbones.backbone import Backbone, Input
from pepbench.contract.candidate import Candidate, DoesNotTrain, NotApplicable, state_digest
from pepbench.contract.toy import make_parity_toy
from pepbench.data.splits import Rows
from pepbench.harness.fit_checks import BrokenContract
from pepbench.harness.trial import describe_failure
from pepbench.method import Fitted, PlainTable
from pepbench.tables.bags import Bags, Ids, bags_of
from pepbench.tables.fields import BagField, Fields
from pepbench.training.task import TrialTask

DIM = 4
"""D of the fits."""
CARDINALITIES = (4, 5, 3)
SLOTS = 3
"""Largest number of values of a multi-valued field in :meth:`BackboneCandidate.inputs`."""


@dataclass(frozen=True, eq=False)
class Inputs:
    """Rows for a module: what a model would give it, and how the rows are stored."""

    fields: Fields
    vectors: Tensor
    """Shape (B, F, D)."""
    ids: Ids
    rows: Rows

    def chosen(self, order: Tensor) -> Inputs:
        """Some of the rows, in another order."""
        at = order.numpy()
        dense = self.rows.dense
        rows = Rows(self.rows.ids[at], self.rows.labels[at], None if dense is None else dense[at])
        return Inputs(self.fields, self.vectors[order], ids_of(rows, self.fields), rows)

    def double(self) -> Inputs:
        """The same in double precision."""
        ids = self.ids
        if isinstance(ids, Bags):
            ids = ids.to(torch.device("cpu"), torch.float64)
        return replace(self, vectors=self.vectors.double(), ids=ids)


def ids_of(rows: Rows, fields: Fields) -> Ids:
    """Ids of rows as a backbone gets them: (B, F), or bags."""
    if fields.bags or fields.dense:
        return bags_of(rows.ids, fields, dense=rows.dense)
    return torch.from_numpy(rows.ids.astype(np.int64))


@dataclass(eq=False)
class BackboneCandidate:
    """A backbone under test, with its options.

    Parameters
    ----------
    backbone
        The backbone to check.
    plugins
        The file that defines it, for other processes.
    """

    backbone: Backbone
    plugins: tuple[Path, ...] = ()
    _fits: dict[int, tuple[TrialTask, Fitted] | DoesNotTrain] = field(default_factory=dict)

    @property
    def component(self) -> Backbone:
        """The backbone."""
        return self.backbone

    def needs(self, kind: Input) -> None:
        """Raise NotApplicable unless the backbone takes such inputs."""
        if kind not in self.backbone.takes:
            raise NotApplicable(f'the class does not say that it takes "{kind}" fields')

    def inputs(self, *kinds: Input, n_fields: int = 3, dim: int = DIM, n_rows: int = 5) -> Inputs:
        """Random rows of small fields; of kind ``multi-valued``, the last field has 0 to 3 values.

        Of kind ``dense``, there are two dense inputs.
        """
        rng = np.random.default_rng(0)
        names, sizes = ("a", "b", "c", "d")[:n_fields], CARDINALITIES[:n_fields]
        bags = {names[-1]: BagField(SLOTS)} if "multi-valued" in kinds else {}
        dense = ("x", "y") if "dense" in kinds else ()
        fields = Fields(names, sizes, np.ones(sum(sizes), np.int64), bags, dense)
        ids = fields.offsets + rng.integers(0, sizes, (n_rows, n_fields))
        if bags:
            more = fields.offsets[-1] + rng.integers(0, sizes[-1], (n_rows, SLOTS))
            filled = np.arange(SLOTS) < rng.integers(0, SLOTS + 1, (n_rows, 1))
            ids = np.hstack([ids[:, :-1], np.where(filled, more, -1)])
        numbers = rng.normal(size=(n_rows, 2)).astype(np.float32) if dense else None
        rows = Rows(ids.astype(np.int32), np.zeros(n_rows, np.uint8), numbers)
        vectors = torch.from_numpy(rng.normal(size=(n_rows, n_fields, dim)).astype(np.float32))
        return Inputs(fields, vectors, ids_of(rows, fields), rows)

    def module(self, fields: Fields, dim: int = DIM) -> nn.Module:
        """A new module, always with the same initial values."""
        torch.manual_seed(0)
        return self.backbone.build(fields, dim)

    def perturbed(self, inputs: Inputs) -> nn.Module:
        """A module in evaluation, in double precision, none of whose parameters is zero."""
        module = self.module(inputs.fields, inputs.vectors.shape[2]).double().eval()
        with torch.no_grad():
            for parameter in module.parameters():
                parameter.add_(0.3 * torch.randn_like(parameter))
        return module

    def fit(self, repetition: int = 0) -> tuple[TrialTask, Fitted]:
        """Train with a full table on the parity task; ``repetition`` has no effect.

        Raises
        ------
        DoesNotTrain
            For any exception of the backbone.
        """
        if repetition not in self._fits:
            self._fits[repetition] = self._fit()
        found = self._fits[repetition]
        if isinstance(found, DoesNotTrain):
            raise found
        return found

    def _fit(self) -> tuple[TrialTask, Fitted] | DoesNotTrain:
        toy = make_parity_toy()
        try:
            torch.manual_seed(0)
            task = toy.task(backbone=self.backbone, batch_size=100, epochs=8, patience=4)
            table = PlainTable(toy.fields.n_features, toy.dim)
            return task, task.train(task.model(table))
        except (Exception, SystemExit) as error:
            return DoesNotTrain(f"training with a full table: {describe_failure(error)}")

    @cached_property
    def digest(self) -> str:
        """SHA-256 over the whole state of the first fit."""
        return state_digest(self.fit()[1].model)


AnyCandidate = Candidate | BackboneCandidate
"""A component under test, of either kind."""


@contextmanager
def blamed(what: str, remedy: str) -> Iterator[None]:
    """Turn exceptions within into :class:`BrokenContract`, with what was tried and the remedy."""
    try:
        yield
    except (BrokenContract, NotApplicable):
        raise
    except (Exception, SystemExit) as error:
        raise BrokenContract(f"{what}: {describe_failure(error)}; {remedy}") from error
