"""Tables stored in fewer bits: rounded after training, or integers that were learnt with steps.

The suffixes ``+fp16 +int8 +int4`` of methods round after training. They change bytes only: the
number of parameters stays. Integers are rounded to the nearest step of a scale, one for each row of
a table (for each 64 numbers of a one-dimensional array). It is symmetric: the largest magnitude of
the row has the largest code. With the option ``stochastic`` a number is rounded up with a
probability equal to its distance from the step below, and so is right on average (Gupta et al.,
arXiv 1502.02551, section 3).

Methods that train integers (``lsq``, ``alpt``, ``mpe``) store them by :func:`packed_integers`.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from pepbench.errors import PlanError, unknown_name
from pepbench.method import Embedding, Fitted, Method, Model, OneOf, Task
from pepbench.serve.numbers import GROUP, PACKED, Numbers, Stored
from pepbench.serve.numbers import SCHEMES as SERVED
from pepbench.serve.packing import packed
from pepbench.tables.layout import Floats, Layout, part


class Scheme(ABC):
    """A way to store numbers in fewer bits."""

    name: ClassVar[str]

    draws: ClassVar[bool] = False
    """Whether it can round stochastically."""

    @abstractmethod
    def stored(
        self, values: Floats, rng: np.random.Generator | None = None
    ) -> dict[str, NDArray[np.generic]]:
        """The stored form of an array: rounded to the nearest, or stochastically by ``rng``."""

    def restored(self, stored: Stored, shape: tuple[int, ...]) -> Floats:
        """The array of ``shape`` that serving restores, float32."""
        return SERVED[self.name](stored, shape).whole()


class Half(Scheme):
    """IEEE half precision."""

    name = "fp16"

    def stored(
        self,
        values: Floats,
        rng: np.random.Generator | None = None,  # noqa: ARG002
    ) -> dict[str, NDArray[np.generic]]:
        """Half-precision values, clipped to the largest finite one."""
        largest = np.finfo(np.float16).max
        return {"values": np.clip(values, -largest, largest).astype(np.float16)}


class Int8(Scheme):
    """Eight bits a number, codes −127 … 127."""

    name = "int8"
    draws = True
    largest: ClassVar[int] = 127

    def stored(
        self, values: Floats, rng: np.random.Generator | None = None
    ) -> dict[str, NDArray[np.generic]]:
        """Codes and the scale of each row."""
        rows = _in_rows(values)
        scales = (np.abs(rows).max(axis=1, initial=0.0) / self.largest).astype(np.float32)
        steps = rows / np.where(scales > 0, scales, 1)[:, None]
        whole = np.rint(steps) if rng is None else np.floor(steps + rng.random(steps.shape))
        # Clipped, since the largest number of a row is at the last step up to a rounding error.
        codes = np.clip(whole, -self.largest, self.largest).astype(np.int8)
        return {"codes": self._packed(codes.ravel()[: values.size]), "scales": scales}

    def _packed(self, codes: NDArray[np.int8]) -> NDArray[np.generic]:
        return codes


class Int4(Int8):
    """Four bits a number, codes −7 … 7, two to a byte."""

    name = "int4"
    largest: ClassVar[int] = 7

    def _packed(self, codes: NDArray[np.int8]) -> NDArray[np.generic]:
        halves = np.zeros(len(codes) + len(codes) % 2, dtype=np.uint8)
        halves[: len(codes)] = codes + 8
        return halves[0::2] | (halves[1::2] << 4)


_OPTION = "stochastic"
_STOCHASTIC = Annotated[
    bool, OneOf(True, False, tuned=False), "round to the step above or below by chance"
]

SCHEMES: dict[str, Scheme] = {scheme.name: scheme for scheme in (Half(), Int8(), Int4())}
"""Schemes by suffix."""


def _in_rows(values: Floats) -> Floats:
    """An array as rows that share a scale; a one-dimensional one is cut and padded with zeros."""
    if values.ndim > 1:
        return values.reshape(math.prod(values.shape[:-1]), values.shape[-1])
    padded = np.zeros(-(-values.size // GROUP) * GROUP, dtype=values.dtype)
    padded[: values.size] = values
    return padded.reshape(-1, GROUP)


@dataclass(frozen=True, eq=False)
class Quantised(Layout):
    """Another layout with its numbers stored in fewer bits."""

    served: Layout = field(metadata=part())
    """The layout with the numbers that a lookup gives."""
    stored: Mapping[str, Numbers]
    """For each array of values, what is kept of it."""

    @classmethod
    def from_numbers(cls, layout: Layout, stored: Mapping[str, Numbers]) -> Quantised:
        """``layout`` with the values that ``stored`` holds; the others stay as they are."""
        numbers = {**layout.numbers(), **stored}
        return cls(layout.with_values({name: n.whole() for name, n in numbers.items()}), numbers)

    @classmethod
    def from_layout(
        cls, layout: Layout, scheme: Scheme, rng: np.random.Generator | None = None
    ) -> Quantised:
        """Round all values of ``layout``, by chance if there is a generator.

        Where they are integers already, the new ones take their place.
        """
        beneath = layout.served if isinstance(layout, Quantised) else layout
        kind = SERVED[scheme.name]
        return cls.from_numbers(
            beneath,
            {name: kind(scheme.stored(a, rng), a.shape) for name, a in beneath.values().items()},
        )

    @property
    def form(self) -> str | None:
        """That of the layout beneath."""
        return self.served.form

    def numbers(self) -> Mapping[str, Numbers]:
        """The trained numbers as they were rounded."""
        return self.stored

    def with_values(self, values: Mapping[str, Floats]) -> Quantised:
        """The layout beneath with other numbers, rounded in turn."""
        kinds = {numbers.scheme for numbers in self.stored.values()}
        if not kinds <= SCHEMES.keys():
            raise NotImplementedError("learnt integers are not exchanged")
        return Quantised.from_layout(self.served.with_values(values), SCHEMES[kinds.pop()])

    def widths(self) -> NDArray[np.integer] | None:
        """Those of the layout beneath: rounding changes none."""
        return self.served.widths()

    def lookup(self, ids: NDArray[np.integer]) -> Floats:
        """Vectors of global ids: (B, F) → (B, F, D)."""
        return self.served.lookup(ids) if self.form is None else super().lookup(ids)

    @property
    def n_bytes(self) -> int:
        """Bytes of codes, scales and structure."""
        kept = [array for numbers in self.stored.values() for array in numbers.stored.values()]
        return sum(array.nbytes for array in [*kept, *self.structure().values()])


def packed_integers(
    codes: NDArray[np.integer],
    bits: int,
    steps: Floats,
    runs: NDArray[np.integer] | None = None,
    offsets: Floats | None = None,
) -> Numbers:
    """Integers (N, w) from −2^(b−1) to 2^(b−1) − 1 as they are stored with their steps.

    Parameters
    ----------
    codes, bits
        The integers, and b.
    steps
        Shape (N,), (1,), or (S,) with ``runs``.
    runs
        Shape (S,): how many rows in turn have each step.
    offsets
        Shape (w,): added to each row.

    Examples
    --------
    >>> numbers = packed_integers(np.array([[-2, 1], [0, 1]]), 2, np.array([0.5, 2.0]))
    >>> numbers.whole().tolist(), numbers.stored["codes"].nbytes
    ([[-1.0, 0.5], [0.0, 2.0]], 1)
    """
    unsigned = codes.astype(np.int64).ravel() + (1 << (bits - 1))
    stored: dict[str, NDArray[np.generic]] = {
        "codes": packed(unsigned, np.full(unsigned.size, bits)),
        "steps": np.asarray(steps, dtype=np.float32).ravel(),
        "runs": np.asarray([] if runs is None else runs, dtype=np.uint32),
        "offsets": np.asarray([] if offsets is None else offsets, dtype=np.float32),
    }
    return PACKED[bits](stored, codes.shape)


class QuantisedTable(Embedding):
    """A trained embedding after rounding; it cannot be trained further."""

    def __init__(
        self, embedding: Embedding, scheme: Scheme, rng: np.random.Generator | None = None
    ) -> None:
        super().__init__()
        self.dim = embedding.dim
        self.layout = Quantised.from_layout(embedding.export(), scheme, rng)

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors of global ids: (B, F) → (B, F, dim)."""
        vectors = self.layout.lookup(ids.cpu().numpy())
        return torch.from_numpy(np.ascontiguousarray(vectors, dtype=np.float32)).to(ids.device)

    def n_parameters(self) -> int:
        """As many as before rounding."""
        return self.layout.n_parameters

    def export(self) -> Quantised:
        """Codes, scales and structure."""
        return self.layout


def quantised(kind: type[Method], suffix: str) -> type[Method]:
    """The method ``kind`` with its result stored by the scheme that ``suffix`` names.

    Raises
    ------
    PlanError
        If there is no such scheme; names those that are.
    """
    if suffix not in SCHEMES:
        raise PlanError(unknown_name("suffix", f"+{suffix}", [f"+{name}" for name in SCHEMES]))
    scheme = SCHEMES[suffix]

    def fit(self: Method, task: Task, budget: int) -> Fitted:
        return rounded(self, task, kind.fit(self, task, budget))

    def fit_many(self: Method, task: Task, budgets: Sequence[int]) -> Iterator[Fitted]:
        for fitted in kind.fit_many(self, task, budgets):
            yield rounded(self, task, fitted)

    def rounded(self: Method, task: Task, fitted: Fitted) -> Fitted:
        # A copy, so that rounding at one budget does not change what the method draws at the next.
        rng = copy.deepcopy(task.rng) if scheme.draws and vars(self)[_OPTION] else None
        model = Model(QuantisedTable(fitted.model.embedding, scheme, rng), fitted.model.backbone)
        scores = task.validate(model)
        notes = {**fitted.notes, "auc_before_rounding": fitted.validation.auc}
        return dataclasses.replace(fitted, model=model, validation=scores, notes=notes)

    members: dict[str, Any] = {
        "__doc__": f"{kind.__doc__}\n\nIts result is rounded to {suffix} after training.",
        "__module__": kind.__module__,
        "name": f"{kind.name}+{suffix}",
        "fit": fit,
        "fit_many": fit_many,
    }
    if scheme.draws:
        members |= {"__annotations__": {_OPTION: _STOCHASTIC}, _OPTION: False}
    return dataclass(frozen=True)(type(f"{kind.__name__}_{suffix}", (kind,), members))
