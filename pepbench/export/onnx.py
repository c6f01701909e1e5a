"""A trained backbone as an ONNX file: vectors and ids in, probabilities out."""

from __future__ import annotations

import importlib.util
import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pepbench.data.splits import Splits
from pepbench.export.folder import CHECKED_ROWS, ExportError
from pepbench.method import Model

ONNX_FILE = "model.onnx"
TOLERANCE = 1e-5
"""Largest difference of probabilities between torch and onnxruntime."""


class Predictor(nn.Module):
    """A backbone with the logistic function behind it.

    Parameters
    ----------
    backbone
        Vectors (B, F, D) and global ids (B, F) → logits (B,).
    """

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, vectors: Tensor, ids: Tensor) -> Tensor:
        """Vectors (B, F, D) and global ids (B, F) → probabilities (B,)."""
        return torch.sigmoid(self.backbone(vectors, ids))


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
    are in the file. The output is ``probabilities`` (B,).

    Raises
    ------
    ExportError
        If torch cannot export the backbone, or the probabilities differ.
    """
    ids = torch.from_numpy(splits.validation.ids[:CHECKED_ROWS].astype(np.int64))
    predictor = Predictor(model.backbone).cpu().eval()
    with torch.no_grad():
        vectors = model.embedding.cpu()(ids).float().contiguous()
        expected = predictor(vectors, ids).numpy()
    path = folder / ONNX_FILE
    export_predictor(predictor, vectors, ids, path)
    found = run_onnx(path, vectors.numpy(), ids.numpy())
    difference = float(np.abs(found - expected).max(initial=0.0))
    if not difference <= TOLERANCE:
        raise ExportError(
            f"onnxruntime's probabilities differ from torch's by {difference:.1e}; "
            "leave out --onnx and report it"
        )
    return difference


def export_predictor(predictor: Predictor, vectors: Tensor, ids: Tensor, path: Path) -> None:
    """Write a predictor as ONNX, for batches of any size.

    Raises
    ------
    ExportError
        If torch cannot export it: names the backbone.
    """
    batch = torch.export.Dim("batch", min=1)
    try:
        with torch.no_grad(), _quiet("torch.onnx"):
            program = torch.onnx.export(
                predictor,
                (vectors[:2], ids[:2]),
                dynamo=True,
                input_names=["vectors", "ids"],
                output_names=["probabilities"],
                dynamic_shapes={"vectors": {0: batch}, "ids": {0: batch}},
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
    path: Path, vectors: NDArray[np.float32], ids: NDArray[np.int64]
) -> NDArray[np.float32]:
    """Probabilities (B,) by onnxruntime on the CPU."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (probabilities,) = session.run(["probabilities"], {"vectors": vectors, "ids": ids})
    return cast(NDArray[np.float32], probabilities)
