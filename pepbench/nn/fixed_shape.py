"""Tables by a method whose shape is fixed beforehand, as modules of torch."""

from __future__ import annotations

import zlib

import numpy as np
import torch
from torch import Tensor, nn

from pepbench.method import Embedding, Fields, Method
from pepbench.nn.modules import CompressError, Computed, Settings


class Tables(nn.Module):
    """The tables of one width of a model, made by a method whose shape is fixed beforehand.

    The random choices of the method follow from ``seed``, which the ``state_dict`` holds: loading
    one restores the hash functions that its values were trained with.

    Parameters
    ----------
    method, fields, dim, budget
        What :meth:`pepbench.method.Method.embedding` is given; a field is a table of the model.
    seed
        Of initial values and hash functions.
    """

    def __init__(self, method: Method, fields: Fields, dim: int, budget: int, seed: int) -> None:
        super().__init__()
        self.method, self.fields, self.dim, self.budget = method, fields, dim, budget
        self.seed = seed
        self.table = self._built(seed)

    def _built(self, seed: int) -> Embedding:
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(seed))
            table = self.method.embedding(self.fields, self.dim, self.budget)
        if table.dim != self.dim:
            raise CompressError(
                f"{self.method.name} makes vectors {table.dim} wide, the model needs {self.dim}; "
                "use a method that projects or pads, such as low-rank or mde"
            )
        self.checksum = checksum_of_structure(table)
        return table

    def forward(self, ids: Tensor) -> Tensor:
        """Vectors of ids over all tables: (V,) → (V, D)."""
        vectors: Tensor = self.table(ids[:, None])
        return vectors.squeeze(1)

    def get_extra_state(self) -> Tensor:
        """The seed, and a checksum of what follows from it."""
        return torch.tensor([self.seed, self.checksum])

    def set_extra_state(self, state: Tensor) -> None:
        """Make the table anew for another seed; parameters of the same shape stay the same objects.

        Raises
        ------
        CompressError
            If the state is of another method, budget or frequencies.
        """
        seed, checksum = state.tolist()
        if (seed, checksum) == (self.seed, self.checksum):
            return
        old = dict(self.table.named_parameters())
        first = next(iter(old.values()))
        table = self._built(seed).to(first).train(self.training)
        if self.checksum != checksum:
            raise CompressError(
                "the state_dict is of tables with another method, budget or frequencies than "
                f"{self.method.name} with {self.budget} parameters; compress the model as it was"
            )
        for name, parameter in table.named_parameters():
            if name in old and old[name].shape == parameter.shape:
                owner, _, last = name.rpartition(".")
                table.get_submodule(owner).register_parameter(last, old[name])
        self.seed, self.table = seed, table


def checksum_of_structure(table: Embedding) -> int:
    """A checksum of everything in a stored table that is not trained: hashes, sizes, masks."""
    layout = table.export()
    parts = {name: array.shape for name, array in layout.values().items()}
    checksum = zlib.crc32(repr((parts, layout.constants())).encode())
    for array in layout.structure().values():
        checksum = zlib.crc32(np.ascontiguousarray(array).tobytes(), checksum)
    return checksum


class CompressedEmbedding(Computed):
    """One table of a model, as a field of :class:`Tables`.

    The vector of ``padding_idx`` is zero and gets no gradient.

    Parameters
    ----------
    tables
        Shared with the other tables of this width.
    field
        Which of them.
    settings
        As in torch.
    """

    offset: Tensor

    def __init__(self, tables: Tables, field: int, settings: Settings) -> None:
        super().__init__(settings)
        self.method = tables.method.name
        self.tables, self.field = tables, field
        offset = torch.tensor([int(tables.fields.offsets[field])])
        self.register_buffer("offset", offset, persistent=False)

    def vectors(self, ids: Tensor) -> Tensor:
        """Vectors of some ids: (V,) → (V, D)."""
        if not ids.numel():
            return next(self.parameters()).new_zeros(0, self.embedding_dim)
        # Refuses ids out of range as torch does, which may be rows of another table.
        offsets = self.offset.expand(self.num_embeddings).index_select(0, ids)
        vectors: Tensor = self.tables(ids + offsets)
        if self.padding_idx is None:
            return vectors
        return vectors.masked_fill((ids == self.padding_idx)[:, None], 0.0)
