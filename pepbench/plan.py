"""What to run: validated, from TOML and flags, and written beside the results."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any, Self

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from pepbench.budget import Budget
from pepbench.errors import PlanError, unknown_name
from pepbench.records import OptimiserKind, Precision


class Plan(BaseModel):
    """Everything that decides the results of a run; the same for every method.

    The fields are the keys of ``plan.toml``. Methods, data sets and backbones are specs: names,
    with options that are fixed rather than tuned (``pep:granularity=feature``).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)

    methods: tuple[str, ...] = ("pep", "mde", "uniform", "full")
    datasets: tuple[str, ...] = ("synthetic",)
    backbones: tuple[str, ...] = ("fm",)
    budgets: tuple[str, ...] = ("50%", "10%")
    """Shares of the full table (``5%``), numbers of parameters (``50k``) or sizes (``2MB``)."""
    dim: int = Field(32, ge=1, le=4096)
    """D, the width of the full table."""
    trials: int = Field(5, ge=1)
    """Tuning trials of each cell; the first is the method's default."""
    seeds: int = Field(3, ge=1)
    """Final runs of each cell, with the best trial's hyper-parameters."""
    epochs: int = Field(60, ge=1)
    """At most this many passes over the training rows."""
    patience: int = Field(5, ge=1)
    """Stop after this many epochs without a better validation AUC."""
    batch_size: int = Field(1024, ge=1)
    clip: float = Field(100.0, gt=0)
    """Largest Euclidean norm of a gradient."""
    optimizer: OptimiserKind = "auto"
    """Adam or Adagrad, dense or by the row; ``auto`` is Adam, by the row for large tables."""
    precision: Precision = "float32"
    """``bfloat16``: mixed precision, on CUDA only."""
    split_seed: int = Field(0, ge=0)
    """Of the random 80/10/10 split."""
    seed: int = Field(0, ge=0)
    """Of tuning and of the final runs' seeds."""
    device: str = "cpu"

    @field_validator("device")
    @classmethod
    def _legal_device(cls, device: str) -> str:
        if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
            raise ValueError(f"{device!r} is no device; write cpu, cuda or, say, cuda:1")
        return device

    @field_validator("methods", "datasets", "backbones", "budgets", mode="before")
    @classmethod
    def _filled_list(cls, names: object) -> object:
        if not isinstance(names, list | tuple):
            raise ValueError(f'{names!r} is not a list; write ["{names}"]')
        if not names:
            raise ValueError("is empty; name at least one")
        return tuple(names)

    @field_validator("methods", "datasets", "backbones", "budgets")
    @classmethod
    def _no_repeats(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name!r} is listed twice")
        return names

    @field_validator("budgets")
    @classmethod
    def _legal_budgets(cls, texts: tuple[str, ...]) -> tuple[str, ...]:
        for text in texts:
            try:
                Budget(text)
            except PlanError as error:
                raise ValueError(str(error)) from None
        return texts

    @classmethod
    def load(cls, path: Path | None, overrides: dict[str, Any]) -> Self:
        """Read a plan file (if any) and apply flags over it.

        Raises
        ------
        PlanError
            In one line: file, key, what is wrong, and what is allowed.
        """
        values: dict[str, Any] = {}
        if path is not None:
            try:
                values = tomllib.loads(path.read_text("utf-8"))
            except OSError as error:
                raise PlanError(f"{path}: {error.strerror or error}") from None
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise PlanError(f"{path}: is not valid TOML: {error}") from None
            for key in values:
                if key not in cls.model_fields:
                    raise PlanError(f"{path}: {unknown_name('key', key, cls.model_fields)}")
        values.update(overrides)
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise PlanError(_one_line(error, path, overrides)) from None

    def to_toml(self) -> str:
        """The plan as a file that :meth:`load` reads back to an equal plan."""
        return tomli_w.dumps(self.model_dump(mode="json"))


def _one_line(error: ValidationError, path: Path | None, overrides: dict[str, Any]) -> str:
    first = error.errors()[0]
    key = str(first["loc"][0])
    cause = first.get("ctx", {}).get("error")
    reason = str(cause) if cause else f"{first['msg']}, got {first['input']!r}"
    where = f"--{key.replace('_', '-')}" if key in overrides or path is None else f"{path}: {key}"
    return f"{where}: {reason}"
