"""Row-wise Adagrad: one accumulator for each row, nothing for rows that a batch does not need."""

from __future__ import annotations

import numpy as np
from torch import nn

from pepbench.tables import kernels
from pepbench.tables.rows import RowState

EPSILON = 1e-10
"""Added to the root, as in ``torch.optim.Adagrad``."""


class RowAdagrad(RowState):
    """Adagrad (Duchi, Hazan, Singer 2011) with the mean of a row's squared gradient, as industry
    trains its tables (Naumov et al. 2019, arXiv 1906.00091).

    State is N numbers instead of N·w. L2 reaches the rows of a batch only: with it, a row that is
    never seen keeps its initial values, where the dense form would shrink them.
    """

    def __init__(self, parameter: nn.Parameter, learning_rate: float, l2: float) -> None:
        super().__init__(parameter)
        self.learning_rate, self.l2 = learning_rate, l2
        self._sums = np.zeros(len(self.values), dtype=self.values.dtype)

    def update(self, rows: np.ndarray, gradient: np.ndarray) -> None:
        """Make one step with the gradient (M, w) of ``rows`` (M,)."""
        kernels.adagrad_update_rows(
            self.values, self._sums, rows, gradient, self.learning_rate, self.l2, EPSILON
        )

    def catch_up(self, rows: np.ndarray) -> None:
        """Nothing: rows do not change while they are not needed."""

    def sweep(self) -> None:
        """Nothing, likewise."""
