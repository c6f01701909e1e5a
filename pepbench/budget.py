"""How large an embedding may be."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from pepbench.errors import PlanError

_PATTERN = re.compile(
    r"(?P<number>\d+(?:\.\d*)?|\.\d+)(?P<unit>%|k|m|kb|mb|gb)?", re.IGNORECASE | re.ASCII
)
_PARAMETERS = {"": 1, "k": 10**3, "m": 10**6, "kb": 250, "mb": 250_000, "gb": 250_000_000}
"""Of a unit; a parameter takes 4 bytes."""
FULL = "100%"
"""The budget of methods that come in one size."""


@dataclass(frozen=True)
class Budget:
    """A number of embedding parameters, as a share of the full table or absolute.

    ``5%`` of N·D; ``50k`` or ``50000`` parameters; ``2MB`` of float32 values (500,000 parameters).

    >>> Budget("5%").parameters(full=2000), Budget("2MB").parameters(full=10**6)
    (100, 500000)
    """

    text: str

    def __post_init__(self) -> None:
        """Refuse what is not a budget."""
        number, unit = self._parts()
        if number <= 0:
            raise PlanError(f"budget {self.text!r} must be above zero")
        if unit == "%" and number > 100:
            raise PlanError(f"budget {self.text!r} is above the full table; write at most 100%")

    def parameters(self, full: int) -> int:
        """The budget of a table whose full size is ``full`` = N·D; rounded down.

        Raises
        ------
        PlanError
            If it is above the full table or less than one parameter.
        """
        number, unit = self._parts()
        count = int(full * number / 100) if unit == "%" else int(number * _PARAMETERS[unit])
        if count > full:
            raise PlanError(
                f"budget {self.text!r} is {count:,} parameters, above the full table's {full:,}"
            )
        if count < 1:
            raise PlanError(f"budget {self.text!r} is less than one of {full:,} parameters")
        return count

    def _parts(self) -> tuple[Fraction, str]:
        match = _PATTERN.fullmatch(self.text.strip())
        if match is None:
            raise PlanError(
                f"budget {self.text!r} is not a size; write a share of the full table (5%), "
                "a number of parameters (50k) or a size in bytes (2MB)"
            )
        # Exact: 0.57% of 10,000 is 57, in floating point 56.
        return Fraction(match["number"]), (match["unit"] or "").lower()
