"""Vectors, and the exported table, which must give the same vectors."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from pepbench.contract.candidate import Candidate, Fit, NotApplicable, at_budget
from pepbench.contract.toy import every_feature
from pepbench.harness.fit_checks import BrokenContract, check_export, check_vectors, vectors_of
from pepbench.method import lookup, to_numpy
from pepbench.tables.layout import Floats, Layout
from pepbench.tables.quantised import Quantised


def vectors_have_the_right_shape(candidate: Candidate) -> None:
    """Ids (B, F) give finite vectors (B, F, dim)."""
    for fit in candidate.fits:
        ids = fit.every_feature
        with at_budget(fit, "forward() maps ids (B, F) to finite vectors (B, F, self.dim)"):
            check_vectors(vectors_of(fit.fitted, ids), (*ids.shape, fit.embedding.dim))


def export_reproduces_the_vectors(candidate: Candidate) -> None:
    """The exported table gives the trained vectors, of every feature."""
    for fit in candidate.fits:
        ids = fit.every_feature
        with at_budget(fit, "Layout.lookup() must compute what forward() does, to 1e-6"):
            vectors, exported = vectors_of(fit.fitted, ids), _looked_up(fit.stored, ids)
            if vectors.shape != exported.shape:
                raise BrokenContract(
                    f"the exported vectors have shape {exported.shape}, the trained ones "
                    f"{vectors.shape}"
                )
            check_export(vectors, exported, rtol=0.0, atol=1e-6)


def can_be_rounded(candidate: Candidate) -> None:
    """The exported numbers can be exchanged, as the suffixes +fp16, +int8 and +int4 do."""
    for fit in candidate.fits:
        stored, ids = _unrounded(fit), fit.every_feature
        halves = {name: array.astype(np.float16) for name, array in stored.values().items()}
        wide = {name: array.astype(np.float32) for name, array in halves.items()}
        exact, rounded = _looked_up(stored, ids), _exchanged(stored, wide).lookup(ids)
        if not np.abs(rounded - exact).max() <= 0.02 * np.abs(exact).max():
            raise BrokenContract(
                "rounded to 16 bits, the exported vectors are others; with_values() must put each "
                "array of values() in its place"
            )


def serves_from_counted_values_alone(candidate: Candidate) -> None:
    """Exported vectors differ only by the numbers that are counted."""
    for fit in candidate.fits:
        stored, ids = _unrounded(fit), fit.every_feature
        zeros = {name: np.zeros_like(array) for name, array in stored.values().items()}
        vectors = _exchanged(stored, zeros).lookup(ids).reshape(ids.size, -1)
        if not np.array_equal(vectors, np.broadcast_to(vectors[0], vectors.shape)):
            raise BrokenContract(
                "with zeros for all of values() the exported vectors still differ: lookup() uses "
                "trained numbers that are not counted; return them from values(), and let "
                "with_values() exchange them"
            )


def as_table_agrees_with_forward(candidate: Candidate) -> None:
    """Rows that as_table() offers for a lookup are the vectors of forward()."""
    ids = every_feature(candidate.toy.fields)
    embedding = candidate.usual.embedding
    with torch.no_grad():
        view = embedding.as_table(torch.from_numpy(ids))
        if view is None:
            raise NotApplicable("the embedding has no table whose rows are its vectors")
        rows = to_numpy(lookup(view.table, view.ids))
    if not np.array_equal(rows, vectors_of(candidate.usual.fitted, ids)):
        raise BrokenContract(
            "as_table() leads to other vectors than forward(): some backbones read the one, some "
            "the other; return None from as_table(), or compute forward() from it"
        )


def _unrounded(fit: Fit) -> Layout:
    if isinstance(fit.stored, Quantised):
        raise NotApplicable("already rounded; test the method without its suffix")
    return fit.stored


def _looked_up(stored: Layout, ids: NDArray[np.int64]) -> Floats:
    try:
        return stored.lookup(ids)
    except Exception as error:
        raise BrokenContract(
            f"{type(stored).__name__}.lookup() does not work: {error}; values(), structure() and "
            "constants() must have the names that its form reads, or override lookup()"
        ) from error


def _exchanged(stored: Layout, values: dict[str, Floats]) -> Layout:
    """``stored`` with other numbers, tried out on one lookup."""
    try:
        exchanged = stored.with_values(values)
        exchanged.lookup(np.zeros((1, 1), dtype=np.int64))
    except Exception as error:
        raise BrokenContract(
            f"{type(stored).__name__}.with_values() does not work: {error}; make the layout a "
            "frozen dataclass whose values() are fields of the same names, or override it"
        ) from error
    return exchanged
