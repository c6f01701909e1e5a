"""One small export of every method, and of every way to round it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from run_helpers import CHEAP_OPTIONS

from pepbench.catalog import Catalog
from pepbench.contract.candidate import Candidate
from pepbench.contract.toy import Toy, make_toy
from pepbench.export.folder import write_export
from pepbench.method import Embedding
from pepbench.tables.quantised import SCHEMES, QuantisedTable


@dataclass(frozen=True)
class Exported:
    """A fitted embedding, and the folder that it was written to."""

    embedding: Embedding
    folder: Path
    toy: Toy

    @property
    def vectors(self) -> np.ndarray:
        """All N vectors by the torch module."""
        with torch.inference_mode():
            ids = torch.arange(self.toy.fields.n_features)
            return self.embedding.eval()(ids[:, None]).squeeze(1).numpy()


ExportOf = Callable[[str], Exported]


def described(toy: Toy) -> list[dict[str, object]]:
    """Fields whose raw values are ``a1``, ``a2``, …"""
    return [
        {"name": name, "cardinality": n, "values": [f"{name}{k}" for k in range(1, n)]}
        for name, n in zip(toy.fields.names, toy.fields.cardinalities, strict=True)
    ]


@pytest.fixture(scope="session")
def export_of(tmp_path_factory: pytest.TempPathFactory) -> ExportOf:
    """The export of a method by its name, suffix included; each is fitted and written once."""
    toy = make_toy()

    @cache
    def fitted(name: str) -> Embedding:
        kind = Catalog().load("method", name)
        method = kind.from_options(CHEAP_OPTIONS.get(name, {}))
        return Candidate(method, toy).usual.embedding  # type: ignore[arg-type]

    @cache
    def exported(name: str) -> Exported:
        base, _, suffix = name.partition("+")
        embedding = fitted(base)
        if suffix:
            embedding = QuantisedTable(embedding, SCHEMES[suffix])
        folder = tmp_path_factory.mktemp("export") / "out"
        write_export(folder, embedding.export(), described(toy), embedding.dim, {})
        return Exported(embedding, folder, toy)

    return exported
