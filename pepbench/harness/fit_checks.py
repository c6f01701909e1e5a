"""Checks of a fitted method: its size, its count, finite figures, a faithful export."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from pepbench.data.splits import Rows
from pepbench.errors import PepbenchError
from pepbench.method import Embedding, Fitted, Layout, to_numpy


class BrokenContract(PepbenchError):
    """A fitted method breaks a rule: over budget, miscounted, not finite."""


def check_contract(fitted: Fitted, budget: int, rows: Rows) -> None:
    """Check that a model is within budget, counts what it stores, and has finite figures.

    Raises
    ------
    BrokenContract
        Says which rule is broken.
    """
    check_returned(fitted)
    check_scores(fitted)
    check_notes(fitted)
    embedding = fitted.model.embedding
    stored = embedding.export()
    check_size(embedding, budget)
    check_count(embedding, stored)
    ids = single_lookups(rows.ids[:64])
    vectors = vectors_of(fitted, ids)
    check_vectors(vectors, (*ids.shape, embedding.dim))
    check_export(vectors, stored.lookup(ids))


def single_lookups(ids: NDArray[np.int32]) -> NDArray[np.int64]:
    """Ids (n, Σ slots) of rows as lookups: the same, or (V, 1) without padding if there is any."""
    lookups = ids.astype(np.int64)
    return lookups if (lookups >= 0).all() else lookups[lookups >= 0][:, None]


def check_returned(fitted: object) -> None:
    """Refuse a fit that returned something else than a :class:`Fitted`."""
    if not isinstance(fitted, Fitted):
        raise BrokenContract(
            f"fit() returned {type(fitted).__name__}; return what task.train(model) gives"
        )


def check_scores(fitted: Fitted) -> None:
    """Refuse scores that are not finite."""
    if not np.isfinite([fitted.validation.auc, fitted.validation.log_loss]).all():
        raise BrokenContract("validation AUC or log loss is not finite")


def check_notes(fitted: Fitted) -> None:
    """Refuse notes that a record cannot hold."""
    for name, value in fitted.notes.items():
        finite = not isinstance(value, float) or np.isfinite(value)
        if not (isinstance(value, bool | int | float | str) and finite):
            raise BrokenContract(f"note {name} is {value!r}; write a finite number, text or truth")


def check_size(embedding: Embedding, budget: int) -> None:
    """Refuse more parameters than the budget allows."""
    count = embedding.n_parameters()
    if count > budget:
        raise BrokenContract(f"{count} parameters are over the budget of {budget}")


def check_count(embedding: Embedding, stored: Layout) -> None:
    """Refuse a count that differs from that of the exported arrays."""
    count = embedding.n_parameters()
    if count != stored.n_parameters:
        raise BrokenContract(
            f"n_parameters() says {count}, the exported table holds {stored.n_parameters}"
        )


def vectors_of(fitted: Fitted, ids: NDArray[np.int64]) -> NDArray[np.floating]:
    """The trained vectors of global ids: (B, F) → (B, F, dim)."""
    device = next(fitted.model.parameters()).device
    with torch.inference_mode():
        return to_numpy(fitted.model.embedding(torch.from_numpy(ids).to(device)))


def check_vectors(vectors: NDArray[np.floating], shape: tuple[int, ...]) -> None:
    """Refuse vectors of another shape than (B, F, dim), or not finite."""
    if vectors.shape != shape:
        raise BrokenContract(f"vectors have shape {vectors.shape}, not {(*shape[:-1], 'dim')}")
    if not np.isfinite(vectors).all():
        raise BrokenContract("vectors are not finite")


def check_export(
    vectors: NDArray[np.floating],
    exported: NDArray[np.floating],
    rtol: float = 1e-4,
    atol: float = 1e-5,
) -> None:
    """Refuse exported vectors that are not the trained ones."""
    if not np.allclose(vectors, exported, rtol=rtol, atol=atol):
        raise BrokenContract("the exported table gives other vectors than the trained one")


def learnt_widths(stored: Layout, n_features: int, dim: int) -> NDArray[np.unsignedinteger] | None:
    """Widths of a trained table as they are stored: (N,) in the smallest type that holds ``dim``.

    None where the table has no widths by feature.
    """
    widths = stored.widths()
    if widths is None:
        return None
    if widths.shape != (n_features,):
        raise BrokenContract(f"widths() has shape {widths.shape}, not ({n_features},)")
    if widths.min(initial=0) < 0 or widths.max(initial=0) > dim:
        raise BrokenContract(f"widths() gives widths outside 0 … {dim}")
    return widths.astype(np.min_scalar_type(dim))
