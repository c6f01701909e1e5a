"""A trained backbone as an ONNX file: vectors and ids in, probabilities out."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pepbench.data.splits import Splits
from pepbench.export.folder import CHECKED_ROWS, ExportError
from pepbench.method import Bags, Fields, Model
from pepbench.serve.pooling import PADDING
from pepbench.tables.bags import bags_of
from pepbench.tables.fields import BagField

ONNX_FILE = "model.onnx"
TOLERANCE = 1e-5
"""Largest difference of probabilities between torch and onnxruntime."""


class Predictor(nn.Module):
    """A backbone with the logistic function behind it.

    Parameters
    ----------
    backbone
        Vectors (B, F, D) and global ids (B, F) → logits (B,).
    fields
        Needed for multi-valued and dense fields only; with as many slots as ids have columns.
    """

    exponents: Tensor
    slot_is_of: Tensor

    def __init__(self, backbone: nn.Module, fields: Fields | None = None) -> None:
        super().__init__()
        self.backbone = backbone
        self.has_bags = fields is not None and bool(fields.bags or fields.dense)
        if fields is not None and self.has_bags:
            of_slot = torch.from_numpy(np.repeat(np.arange(fields.n_fields), fields.slots))
            one_hot = nn.functional.one_hot(of_slot, fields.n_fields).float()
            self.register_buffer("slot_is_of", one_hot)
            self.register_buffer("exponents", torch.from_numpy(fields.pool_exponents).float())

    def forward(self, vectors: Tensor, ids: Tensor, dense: Tensor | None = None) -> Tensor:
        """Vectors (B, F, D), pooled, ids (B, Σ slots), dense inputs (B, M) → probabilities (B,)."""
        if not self.has_bags:
            return torch.sigmoid(self.backbone(vectors, ids))
        given = (ids >= 0).to(vectors.dtype)
        lengths = (given @ self.slot_is_of).clamp(min=1.0)
        factors = (lengths**-self.exponents) @ self.slot_is_of.mT * given
        bags = PaddedBags(
            ids.clamp(min=0).view(-1, 1), ids, factors, (vectors.shape[0], vectors.shape[1]), dense
        )
        return torch.sigmoid(self.backbone(vectors, bags))


class PaddedBags(Bags):
    """Bags with their padding, whose factors (B, Σ slots) are zero: all shapes are known."""

    def summed(self, weights: Tensor) -> Tensor:
        """Sum over a row's fields of their pooled weights, one weight a slot: (B·S,) → (B,)."""
        return (weights.view(self.factors.shape) * self.factors).sum(1)


def check_available() -> None:
    """Make sure that the packages are there before anything is trained.

    Raises
    ------
    ExportError
        If one is missing.
    """
    for package in ("onnx", "onnxscript", "onnxruntime"):
        if importlib.util.find_spec(package) is None:
            raise ExportError(f"--onnx needs the package {package}: pip install 'pepbench[onnx]'")


def write_onnx(model: Model, splits: Splits, folder: Path) -> float:
    """Write ``model.onnx``, run it, and return how far its probabilities are from torch's.

    Inputs are ``vectors`` (B, F, D) float32, as :meth:`pepbench.serve.ServedTable.lookup` gives
    them, and ``ids`` (B, F) int64, as its ``global_ids`` does, for the first-order weights, which
    are in the file. A multi-valued field has ``max_values`` columns of ids. Where there are dense
    fields, ``dense`` (B, M) float32 is a third input, as ``dense_inputs`` gives it. The output is
    ``probabilities`` (B,).

    Raises
    ------
    ExportError
        If torch cannot export the backbone, or the probabilities differ.
    """
    fields = served_fields(splits)
    rows = splits.validation
    padded = in_slots(rows.ids[:CHECKED_ROWS], splits.fields, fields)
    ids = torch.from_numpy(padded)
    dense = None if rows.dense is None else np.array(rows.dense[:CHECKED_ROWS])
    predictor = Predictor(model.backbone, fields).cpu().eval()
    embedding = model.embedding.cpu()
    with torch.no_grad():
        if predictor.has_bags:
            bags = bags_of(padded, fields, dense=dense)
            vectors = bags.pooled(embedding(bags.ids)).float().contiguous()
            expected = torch.sigmoid(model.backbone.cpu()(vectors, bags)).numpy()
        else:
            vectors = embedding(ids).float().contiguous()
            expected = predictor(vectors, ids).numpy()
    path = folder / ONNX_FILE
    inputs = None if dense is None else torch.from_numpy(dense)
    export_predictor(predictor, vectors, ids, path, inputs)
    found = run_onnx(path, vectors.numpy(), padded, dense)
    difference = float(np.abs(found - expected).max(initial=0.0))
    if not difference <= TOLERANCE:
        raise ExportError(
            f"onnxruntime's probabilities differ from torch's by {difference:.1e}; "
            "leave out --onnx and report it"
        )
    return difference


def served_fields(splits: Splits) -> Fields:
    """The fields with as many slots as served ids have: ``max_values`` of a multi-valued one."""
    bags = {
        name: BagField(bag.max_values, bag.pool) for name, bag in splits.table.meta.bags.items()
    }
    return replace(splits.fields, bags=bags)


def in_slots(ids: NDArray[np.int32], given: Fields, wanted: Fields) -> NDArray[np.int64]:
    """Ids (n, Σ given slots) with more slots, padded: (n, Σ wanted slots)."""
    starts = np.cumsum(wanted.slots) - wanted.slots
    places = np.concatenate([s + np.arange(k) for s, k in zip(starts, given.slots, strict=True)])
    padded = np.full((len(ids), int(wanted.slots.sum())), PADDING, dtype=np.int64)
    padded[:, places] = ids
    return padded


def export_predictor(
    predictor: Predictor, vectors: Tensor, ids: Tensor, path: Path, dense: Tensor | None = None
) -> None:
    """Write a predictor as ONNX, for batches of any size.

    Raises
    ------
    ExportError
        If torch cannot export it: names the backbone.
    """
    batch = torch.export.Dim("batch", min=1)
    inputs = {"vectors": vectors, "ids": ids} | ({} if dense is None else {"dense": dense})
    try:
        with torch.no_grad(), _quiet("torch.onnx"):
            program = torch.onnx.export(
                predictor,
                tuple(tensor[:2] for tensor in inputs.values()),
                dynamo=True,
                input_names=list(inputs),
                output_names=["probabilities"],
                dynamic_shapes={name: {0: batch} for name in inputs},
                verbose=False,
            )
            assert program is not None
            program.save(str(path))
    except (torch.onnx.errors.OnnxExporterError, RuntimeError, ValueError, TypeError) as error:
        kind = type(predictor.backbone).__name__
        first_line = str(error).strip().splitlines()[0] if str(error).strip() else repr(error)
        raise ExportError(
            f"torch cannot export {kind} to ONNX: {first_line}; leave out --onnx"
        ) from error


@contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Keep a logger's warnings back: torch names each package that it does without."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # Torch's own, about its own calls.
            warnings.filterwarnings("ignore", category=FutureWarning)
            warnings.filterwarnings("ignore", message=".*axis name.*", category=UserWarning)
            yield
    finally:
        logger.setLevel(before)


def run_onnx(
    path: Path,
    vectors: NDArray[np.float32],
    ids: NDArray[np.int64],
    dense: NDArray[np.float32] | None = None,
) -> NDArray[np.float32]:
    """Probabilities (B,) by onnxruntime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    inputs = {"vectors": vectors, "ids": ids} | ({} if dense is None else {"dense": dense})
    (probabilities,) = session.run(["probabilities"], inputs)
    return cast(NDArray[np.float32], probabilities)
