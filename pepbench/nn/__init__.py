"""Compressed embeddings for any PyTorch model and training loop.

>>> import torch
>>> from pepbench.nn import compress, report
>>> model = torch.nn.ModuleDict({"user": torch.nn.Embedding(1000, 16)})
>>> compress(model, "5%").n_parameters, model["user"](torch.tensor([[3, 7]])).shape
(800, torch.Size([1, 2, 16]))

:func:`compress` replaces the embeddings of a model by smaller ones. :class:`PEPEmbedding` learns
which entries a table needs; :func:`reached` and :func:`prune` end its search. :func:`report` counts
parameters and bytes, :func:`export` writes a folder for :mod:`pepbench.serve`.
"""

from pepbench.nn.compress import compress, prune
from pepbench.nn.export import export
from pepbench.nn.fixed_shape import CompressedEmbedding
from pepbench.nn.modules import CompressError, MaskedEmbedding
from pepbench.nn.pep import PEPEmbedding, reached
from pepbench.nn.report import Report, StoredTables, report

__all__ = [
    "CompressError",
    "CompressedEmbedding",
    "MaskedEmbedding",
    "PEPEmbedding",
    "Report",
    "StoredTables",
    "compress",
    "export",
    "prune",
    "reached",
    "report",
]
