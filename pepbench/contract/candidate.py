"""The method under test and its fits, which are made on demand and shared by all checks."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pepbench.component import Trial
from pepbench.contract.toy import Toy, every_feature, make_toy
from pepbench.errors import Infeasible
from pepbench.harness.fit_checks import BrokenContract, check_returned
from pepbench.harness.trial import describe_failure
from pepbench.method import Embedding, Fitted, Layout, Method
from pepbench.training.task import TrialTask

SHARES = (1.0, 0.5, 0.31, 0.1)
"""Budgets of the checked fits, as shares of the full table."""


class NotApplicable(Exception):
    """A check does not apply to a component; the message says why."""


class DoesNotTrain(BrokenContract):
    """A fit raised an exception other than :class:`~pepbench.errors.Infeasible`."""


@dataclass(frozen=True)
class FitSpec:
    """Everything that determines a fit of one method on the toy task."""

    budget: int
    epochs: int = 1
    seed: int = 0
    repetition: int = 0
    """Has no effect: fits that differ only in this must be equal."""


@dataclass(frozen=True, eq=False)
class Fit:
    """A method fitted to the toy task."""

    spec: FitSpec
    task: TrialTask
    fitted: Fitted

    @property
    def embedding(self) -> Embedding:
        """The trained embedding."""
        return self.fitted.model.embedding

    @cached_property
    def stored(self) -> Layout:
        """The exported table."""
        return self.embedding.export()

    @property
    def every_feature(self) -> NDArray[np.int64]:
        """Rows of ids that contain all features."""
        return every_feature(self.task.fields)

    def digest(self) -> str:
        """SHA-256 over the whole state and all exported vectors."""
        vectors = self.stored.lookup(self.every_feature)
        return state_digest(self.fitted.model, vectors.tobytes())


@dataclass(eq=False)
class Candidate:
    """A method under test, with its options.

    Parameters
    ----------
    method
        The method to check.
    toy
        The task it is fitted to.
    plugins
        The file that defines it, for other processes.
    """

    method: Method
    toy: Toy = field(default_factory=make_toy)
    plugins: tuple[Path, ...] = ()
    _fits: dict[FitSpec, Fit | BaseException] = field(default_factory=dict)

    @property
    def component(self) -> Method:
        """The method."""
        return self.method

    def fit(self, spec: FitSpec) -> Fit:
        """Fit to the toy task, once for each ``spec``.

        Raises
        ------
        Infeasible
            As the method does.
        DoesNotTrain
            For any other exception of it.
        """
        if spec not in self._fits:
            self._fits[spec] = self._fit(spec)
        found = self._fits[spec]
        if isinstance(found, BaseException):
            raise found
        return found

    def _fit(self, spec: FitSpec) -> Fit | BaseException:
        torch.manual_seed(spec.seed)
        task = self.toy.task(spec.seed, epochs=spec.epochs, patience=spec.epochs)
        try:
            fitted = self.method.fit(task, spec.budget)
            check_returned(fitted)
            return Fit(spec, task, fitted)
        except Infeasible as error:
            return error
        except (Exception, SystemExit) as error:
            what = describe_failure(error)
            return DoesNotTrain(f"fit at a budget of {spec.budget} parameters: {what}")

    def drawn(self, trial: Trial) -> Candidate:
        """The same method with tuned options by ``trial``, but for those that are not defaults."""
        kind, options = type(self.method), self.method.options()
        fixed = {
            o.name: options[o.name]
            for o in kind.described_options()
            if options[o.name] != o.default
        }
        return Candidate(kind.suggest(trial, fixed), self.toy, self.plugins)

    def with_toy(self, toy: Toy) -> Candidate:
        """The same method on another task."""
        return Candidate(self.method, toy, self.plugins)

    def fit_many(self, specs: Sequence[FitSpec]) -> list[str]:
        """Digests of the fits of one shared search; ``specs`` differ in budget, largest first.

        Raises
        ------
        DoesNotTrain
            For any exception of the method.
        """
        first = specs[0]
        torch.manual_seed(first.seed)
        task = self.toy.task(first.seed, epochs=first.epochs, patience=first.epochs)
        fits = self.method.fit_many(task, [spec.budget for spec in specs])
        try:
            # Before the search continues, which may change a fit that it has returned.
            return [Fit(spec, task, fit).digest() for spec, fit in zip(specs, fits, strict=False)]
        except (Exception, SystemExit) as error:
            raise DoesNotTrain(f"fit_many(): {describe_failure(error)}") from error

    @property
    def specs(self) -> tuple[FitSpec, ...]:
        """Fits over the range of budgets; only one for methods of fixed size."""
        budgets = [int(self.toy.full_parameters * share) for share in SHARES]
        full, half, *fewer = budgets
        fits = (FitSpec(full, epochs=15), FitSpec(half, epochs=2), *map(FitSpec, fewer))
        return fits[:1] if self.method.fixed_size else fits

    @cached_property
    def fits(self) -> Sequence[Fit]:
        """The fits of :attr:`specs` that are feasible."""
        found = []
        for spec in self.specs:
            try:
                found.append(self.fit(spec))
            except Infeasible:
                continue
        if not found:
            raise DoesNotTrain(
                f"Infeasible even at the full table's {self.toy.full_parameters} parameters; "
                "at that budget there must be some embedding"
            )
        return found

    @property
    def full(self) -> Fit:
        """The fit at the full table's budget, trained for 15 epochs."""
        return self.fits[0]

    @property
    def usual(self) -> Fit:
        """The fit at half of it (or all, if half is infeasible), trained for two epochs."""
        return self._usual(0)

    @property
    def repeated(self) -> Fit:
        """A second fit like :attr:`usual`."""
        return self._usual(1)

    @cached_property
    def digest(self) -> str:
        """The digest of :attr:`usual`."""
        return self.usual.digest()

    def _usual(self, repetition: int) -> Fit:
        budget = self.fits[min(1, len(self.fits) - 1)].spec.budget
        return self.fit(FitSpec(budget, epochs=2, repetition=repetition))

    def new_embedding(self, budget: int, seed: int = 0) -> Embedding:
        """The embedding before training; not applicable to methods that search."""
        if type(self.method).embedding is Method.embedding:
            raise NotApplicable("the method searches: it has no embedding() to look at")
        torch.manual_seed(seed)
        return self.method.embedding(self.toy.fields, self.toy.dim, budget)


def state_digest(module: nn.Module, more: bytes = b"") -> str:
    """SHA-256 over all parameters and buffers, and ``more``."""
    digest = hashlib.sha256()
    for name, tensor in module.state_dict().items():
        digest.update(name.encode() + tensor.detach().cpu().numpy().tobytes())
    digest.update(more)
    return digest.hexdigest()


@contextmanager
def at_budget(fit: Fit, remedy: str) -> Iterator[None]:
    """Add the fit's budget and the remedy to a :class:`BrokenContract` raised in the block."""
    try:
        yield
    except BrokenContract as error:
        raise BrokenContract(
            f"at a budget of {fit.spec.budget} parameters, {error}; {remedy}"
        ) from None
