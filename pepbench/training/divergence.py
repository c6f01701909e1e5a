"""The check that a step's loss and gradient are finite."""

from __future__ import annotations

import math

from pepbench.errors import Diverged


def check_finite(loss: float, norm: float) -> None:
    """Raise :class:`Diverged` if a loss or its gradient's norm is not finite."""
    if not (math.isfinite(norm) and math.isfinite(loss)):
        raise Diverged(f"loss {loss:g} or gradient norm {norm:g} is not finite")
