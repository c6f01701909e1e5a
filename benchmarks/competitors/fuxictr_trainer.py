"""FuxiCTR's trainer on DeepFM.

The model is put together from FuxiCTR's layers as in its model zoo, which its wheel leaves out.
Each step is the trainer's own (``train_step``: forward, loss with L2, backward, clipping, Adam) and
the reading of its loss, as in ``train_epoch``. Batches are ready in memory, or come from the loader
of its npz files. That one runs in the same process (``num_workers=0``), so that it works in its own
turn only; the time then includes collating rows, and not the reading of the file.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator
from itertools import chain, cycle, repeat
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks.problem import Problem
from pepbench.records import DEFAULT_L2, DEFAULT_LEARNING_RATE

LABEL = "label"


def steps(problem: Problem, backbone: str, from_files: bool) -> Iterator[int]:  # noqa: ARG001
    """Train without end; yields the samples of each step."""
    feature_map = _feature_map(problem)
    model = _deepfm(problem, feature_map)
    batches = _loaded(problem, feature_map) if from_files else _in_memory(problem)
    model.train()
    for batch in batches:
        model.train_step(batch).item()
        yield len(batch[LABEL])


def _feature_map(problem: Problem) -> Any:
    from fuxictr.features import FeatureMap

    fields = problem.fields
    feature_map = FeatureMap("zipf", ".")
    for name, cardinality in zip(fields.names, fields.cardinalities, strict=True):
        spec = {"source": "", "type": "categorical", "vocab_size": cardinality}
        feature_map.features[name] = spec
    feature_map.labels = [LABEL]
    feature_map.num_fields = fields.n_fields
    feature_map.total_features = fields.n_features
    feature_map.set_column_index()
    return feature_map


def _deepfm(problem: Problem, feature_map: Any) -> Any:
    from fuxictr.pytorch.layers import FactorizationMachine, FeatureEmbedding, MLP_Block
    from fuxictr.pytorch.models import BaseModel

    settings, dim = problem.deepfm, problem.size.dim

    class DeepFM(BaseModel):  # type: ignore[misc]
        """A factorisation machine and a deep network on one embedding."""

        def __init__(self) -> None:
            super().__init__(
                feature_map,
                model_id="DeepFM",
                embedding_regularizer=DEFAULT_L2,
                net_regularizer=DEFAULT_L2,
                verbose=0,
                model_root=".",
                metrics=["AUC"],
            )
            initial = (
                f"partial(nn.init.uniform_, a=-{problem.initial_bound}, b={problem.initial_bound})"
            )
            self.embedding_layer = FeatureEmbedding(feature_map, dim, initial)
            self.fm = FactorizationMachine(feature_map)
            self.mlp = MLP_Block(
                input_dim=problem.size.fields * dim,
                hidden_units=[settings.units] * settings.layers,
                output_dim=1,
                dropout_rates=settings.dropout,
            )
            self.compile("adam", "binary_crossentropy", DEFAULT_LEARNING_RATE)
            self.reset_parameters()
            self.model_to_device()
            # What fit() sets before its first epoch.
            self._max_gradient_norm = 10.0

        def forward(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
            features = self.get_inputs(inputs)
            vectors = self.embedding_layer(features)
            logits = self.fm(features, vectors) + self.mlp(vectors.flatten(1))
            return {"y_pred": self.output_activation(logits)}

    return DeepFM()


def _columns(problem: Problem) -> dict[str, np.ndarray]:
    local = (problem.rows.ids - problem.fields.offsets).astype(np.int64)
    columns = {name: local[:, k] for k, name in enumerate(problem.fields.names)}
    return columns | {LABEL: problem.rows.labels.astype(np.int64)}


def _in_memory(problem: Problem) -> Iterator[dict[str, Tensor]]:
    columns = {
        name: torch.from_numpy(np.ascontiguousarray(values)).split(problem.size.batch)
        for name, values in _columns(problem).items()
    }
    blocks = zip(*columns.values(), strict=True)
    return cycle([dict(zip(columns, block, strict=True)) for block in blocks])


def _loaded(problem: Problem, feature_map: Any) -> Iterator[dict[str, Tensor]]:
    from fuxictr.pytorch.dataloaders import RankDataLoader

    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "train.npz"
        np.savez(file, **_columns(problem))
        loader: Iterable[dict[str, Tensor]]
        loader, _ = RankDataLoader(
            feature_map,
            stage="train",
            train_data=str(file),
            batch_size=problem.size.batch,
            data_format="npz",
            num_workers=0,
        )
    return chain.from_iterable(repeat(loader))
