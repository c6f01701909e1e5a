"""The plan of a run: read from TOML and flags, validated, and stored with the results.

Long because each key of a plan stands here once, with its bounds and the text of docs/plan.md.
"""

from __future__ import annotations

import hashlib
import re
import tomllib
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self, cast

import tomli_w
from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from pepbench.component import OptimizerKind, split_label
from pepbench.errors import PlanError, unknown_name
from pepbench.objective import Objective
from pepbench.records import (
    DEFAULT_L2,
    DEFAULT_LEARNING_RATE,
    LARGEST_SEED,
    MARGIN,
    MOST_FOLDS,
    Precision,
    PrunerKind,
)
from pepbench.units import Budget, parse_seconds

if TYPE_CHECKING:
    from pepbench.catalog import Catalog

PLAN_FILE = "plan.toml"
"""Name of a plan in the folder of a run or a leaderboard."""
EXAMPLE = Path(__file__).parent / "example.toml"
"""The plan of a run that names no methods, data sets or budgets."""
MOST_CONTRASTS = 6
MOST_CONTRAST_BUDGETS = 3
"""More primary contrasts would leave little power to each."""
FINALISTS = 3
"""Default number of finalists."""
MANY_FOLDS = 5
"""From this many folds on, one final run in each is the default."""
MOST = 1_000_000
"""Most trials, seeds or epochs: what is beyond is a slip of the keyboard."""
LARGEST_BATCH = 2**24

SamplerKind = Literal["tpe", "random", "gp", "halton", "grid"]
"""Sampler of the trials after the first."""


class _Model(BaseModel):
    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        populate_by_name=True,
        use_attribute_docstrings=True,
    )


def _filled(names: object) -> object:
    if not isinstance(names, list | tuple):
        raise ValueError(f'{names!r} is not a list; write ["{names}"]')
    if not names:
        raise ValueError("is empty; name at least one")
    return tuple(names)


def _accepted_by(parse: Callable[[str], object]) -> Callable[[str], str]:
    """A validator that leaves the text as it is if ``parse`` accepts it."""

    def check(text: str) -> str:
        try:
            parse(text)
        except PlanError as error:
            raise ValueError(str(error)) from None
        return text

    return check


def _legal_budgets(texts: tuple[str, ...]) -> tuple[str, ...]:
    first_of: dict[object, str] = {}
    for text in map(_accepted_by(Budget), texts):
        other = first_of.setdefault(Budget(text).amount, text)
        if other != text:
            raise ValueError(f"{text!r} is the budget {other!r} again; write it once")
    return texts


def _device(text: str) -> str:
    if not re.fullmatch(r"cpu|cuda(:[0-9]{1,3})?", text):
        raise ValueError(f"{text!r} is not a device; write cpu, cuda or, say, cuda:1")
    return text


def _full_specs(names: tuple[str, ...]) -> tuple[str, ...]:
    # Named alike in plans and records, whichever way they were written.
    from pepbench.data.file_description import full_spec

    return tuple(map(full_spec, names))


Names = Annotated[tuple[str, ...], BeforeValidator(_filled)]
DatasetNames = Annotated[Names, AfterValidator(_full_specs)]
Time = Annotated[str, AfterValidator(_accepted_by(parse_seconds))]


def matches(spec: str, patterns: Iterable[str]) -> bool:
    """Whether a spec, as a whole or as a name without options, matches one of the patterns."""
    forms = spec, spec.split(":")[0]
    return any(fnmatchcase(form, pattern) for pattern in patterns for form in forms)


class PlanException(_Model):
    """Cells that a plan leaves out, or runs under other settings than the rest.

    A cell matches if each of its names matches one of the patterns, as a whole spec or as a name
    without options; ``*`` stands for any text. Later exceptions override earlier ones.
    """

    methods: Names = ("*",)
    """Patterns of methods."""
    datasets: DatasetNames = ("*",)
    """Patterns of data sets."""
    backbones: Names = ("*",)
    """Patterns of backbones."""
    budgets: Names = ("*",)
    """Patterns of budgets."""
    reason: str = Field(min_length=1)
    """Why; reports show it."""
    skip: bool = False
    """Leave these cells out."""
    trials: int | None = Field(None, ge=1, le=MOST)
    """Instead of the plan's."""
    tuning_time: Time | None = None
    """Instead of the plan's."""
    seeds: int | None = Field(None, ge=1, le=MOST)
    """Instead of the plan's."""
    epochs: int | None = Field(None, ge=1, le=MOST)
    """Instead of the plan's."""
    patience: int | None = Field(None, ge=1, le=MOST)
    """Instead of the plan's."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.skip == bool(self.settings()):
            raise ValueError(
                "an exception either skips cells (skip = true) or changes at least one of "
                + ", ".join(_CHANGEABLE)
            )
        return self

    def settings(self) -> dict[str, Any]:
        """The keys of the plan that it changes, with their values."""
        return {k: v for k in _CHANGEABLE if (v := getattr(self, k)) is not None}

    def matches(self, dataset: str, backbone: str, method: str, budget: str) -> bool:
        """Whether it applies to a cell."""
        pairs = (
            (dataset, self.datasets),
            (backbone, self.backbones),
            (method, self.methods),
            (budget, self.budgets),
        )
        return all(matches(spec, patterns) for spec, patterns in pairs)

    def describe(self) -> str:
        """One line for reports: which cells, what differs, and why."""
        meant = [
            f"{kind} {', '.join(patterns)}"
            for kind in ("datasets", "backbones", "methods", "budgets")
            if (patterns := getattr(self, kind)) != ("*",)
        ]
        changes = [f"{key} = {value}" for key, value in self.settings().items()]
        what = "left out" if self.skip else ", ".join(changes)
        return f"{'; '.join(meant) or 'all cells'}: {what} ({self.reason})"


_CHANGEABLE = ("trials", "tuning_time", "seeds", "epochs", "patience")


class Contrast(_Model):
    """A primary contrast: a comparison that the plan names before there are results."""

    methods: Names
    """Two of the plan's methods; the difference is the first minus the second."""
    budgets: Names
    """At most three of the plan's budgets."""

    @model_validator(mode="after")
    def _is_a_pair(self) -> Self:
        if len(set(self.methods)) != 2 or len(self.methods) != 2:
            raise ValueError("methods: name two different methods")
        if len(self.budgets) > MOST_CONTRAST_BUDGETS:
            raise ValueError(f"budgets: name {MOST_CONTRAST_BUDGETS} at most")
        return self


class Plan(_Model):
    """Everything that determines the results of a run; the same for every method.

    The fields are the keys of ``plan.toml``. Methods, data sets and backbones are specs: names,
    with options that are fixed rather than tuned (``pep:granularity=feature``).
    """

    methods: Names = ("pep", "magnitude", "uniform", "full")
    """Specs of methods."""
    datasets: DatasetNames = ("synthetic",)
    """Specs of data sets."""
    backbones: Names = ("fm",)
    """Specs of backbones."""
    budgets: Annotated[Names, AfterValidator(_legal_budgets)] = ("50%", "10%")
    """Shares of the full table (`5%`), numbers of parameters (`50k`) or sizes (`2MB`)."""
    dim: int = Field(32, ge=1, le=4096)
    """D, the width of the full table."""
    trials: int = Field(5, ge=1, le=MOST)
    """Tuning trials of each cell; the first is the method's default. Not with `tuning_time`."""
    tuning_time: Time | None = None
    """Instead of `trials`: CPU time of each cell's tuning trials, such as `10m`. New trials are
    asked for until it is used up. Units are `s`, `m` or `min`, `h` and `d`; none is seconds."""
    sampler: SamplerKind = "tpe"
    """Who chooses the other trials: `tpe`, `random`, `gp` (a Gaussian process), `halton` (evenly
    spread, and the same learning rates and L2 for every method), or `grid` (3 points of each range,
    all their combinations, in an order drawn by the seed)."""
    batch: int = Field(1, ge=1, le=MOST)
    """Trials of a cell that are asked for at once, so that they can run side by side; the sampler
    learns from a batch when all of it is done."""
    objective: Objective = "auc"
    """What early stopping, tuning and the choice among finalists go by, on validation rows: `auc`,
    `logloss`, or `gauc` (AUC within users, of data sets that declare them)."""
    pruner: PrunerKind = "none"
    """Who stops tuning trials early by the objective: `none`, `median` or `halving`."""
    warm_start: bool = False
    """The second trial of a cell repeats the best of the next larger budget's."""
    tune_learning_rate: tuple[float, float] = (3e-4, 1e-2)
    """Lowest and highest learning rate that tuning tries, on a logarithmic scale. The first
    trial's, 0.001, lies between them."""
    tune_l2: tuple[float, float] = (1e-7, 1e-3)
    """The same for L2; the first trial's is 1e-5."""
    tune_batch_size: tuple[int, ...] = ()
    """Batch sizes that tuning may choose from, `batch_size` among them; empty: it is fixed."""
    tune_backbone: bool = False
    """Tune the backbone's options too, in the ranges that `pepbench show backbone` prints."""
    finalists: int = Field(cast(int, None), ge=1, le=MOST)
    """The best trials of a cell that are trained with further seeds before one of them is chosen by
    its mean objective; 1: the best trial is chosen. Default: 3, or all trials if there are
    fewer."""
    finalist_seeds: int = Field(2, ge=1, le=MOST)
    """Further seeds of each finalist."""
    seeds: int = Field(cast(int, None), ge=1, le=MOST)
    """Final runs of each cell in each fold, with the chosen trial's hyper-parameters. Default: 5;
    3 with 2 folds or more; 1 with 5 folds or more."""
    epochs: int = Field(60, ge=1, le=MOST)
    """At most this many passes over the training rows."""
    patience: int = Field(5, ge=1, le=MOST)
    """Stop after this many epochs in which the objective is no better."""
    batch_size: int = Field(1024, ge=1, le=LARGEST_BATCH)
    """Rows of a training step."""
    clip: float = Field(100.0, gt=0)
    """Largest Euclidean norm of a gradient."""
    optimizer: OptimizerKind = "auto"
    """`adam`, `adagrad`, by the row `lazy-adam`, `row-adagrad`; `auto`: Adam, by the row for large
    tables."""
    precision: Precision = "float32"
    """`bfloat16`: mixed precision, with `device = "cuda"`."""
    folds: int = Field(1, ge=1, le=MOST_FOLDS)
    """Each fold tests another part of the rows, with everything tuned and drawn anew. 1: a single
    80/10/10 split, whose verdicts do not hold over splits."""
    only_folds: tuple[int, ...] = ()
    """Numbers of the folds to run, from 1, at least two of them; empty: all. More can be added
    later in the same folder. Decides no trial's result."""
    split_seed: int = Field(0, ge=0, le=LARGEST_SEED)
    """Of the random split, or of the folds."""
    seed: int = Field(0, ge=0, le=LARGEST_SEED)
    """Of tuning and of the final runs' seeds."""
    device: Annotated[str, AfterValidator(_device)] = "cpu"
    """`cpu`, or `cuda`, `cuda:1`, …"""
    margin: float = Field(MARGIN, gt=0, lt=0.5)
    """Differences of test AUC below this are of no practical importance: reports test against it.
    Decides no trial's result."""
    contrasts: tuple[Contrast, ...] = Field((), alias="contrast", max_length=MOST_CONTRASTS)
    """Tables `[[contrast]]` with two `methods` and their `budgets`: the primary contrasts, which
    reports judge together and show first. Decides no trial's result."""
    exceptions: tuple[PlanException, ...] = Field((), alias="except")
    """Tables `[[except]]`: cells that are left out, or run under other settings."""

    @field_validator(
        *("tune_learning_rate", "tune_l2", "tune_batch_size", "only_folds", "exceptions"),
        "contrasts",
        mode="before",
    )
    @classmethod
    def _list(cls, values: object) -> object:
        return tuple(values) if isinstance(values, list) else values

    @field_validator("methods", "datasets", "backbones", "budgets", "tune_batch_size", "only_folds")
    @classmethod
    def _no_repeats(cls, names: tuple[object, ...]) -> tuple[object, ...]:
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"{name!r} is listed twice")
        return names

    @model_validator(mode="after")
    def _agrees_with_itself(self) -> Self:
        if self.tuning_time is not None and "trials" in self.model_fields_set:
            raise ValueError("trials and tuning_time exclude each other; give one of them")
        for name, first in (
            ("tune_learning_rate", DEFAULT_LEARNING_RATE),
            ("tune_l2", DEFAULT_L2),
        ):
            low, high = getattr(self, name)
            if not 0 < low <= first <= high <= 1 or low == high:
                raise ValueError(
                    f"{name} = {[low, high]} must be a lowest and a highest value from above 0 to "
                    f"1, with {first:g} between them, with which the first trial is made"
                )
        sizes = self.tune_batch_size
        legal = all(1 <= size <= LARGEST_BATCH for size in sizes)
        if not legal or (sizes and self.batch_size not in sizes):
            raise ValueError(
                f"tune_batch_size = {list(sizes)} must hold sizes from 1 to {LARGEST_BATCH}, and "
                "batch_size = "
                f"{self.batch_size} among them, with which the first trial is made"
            )
        only = self.only_folds
        if only and (len(only) < 2 or not all(1 <= fold <= self.folds for fold in only)):
            raise ValueError(
                f"only_folds = {list(only)} must name at least two of the folds 1 to {self.folds}"
            )
        known = self.finalists is not None, self.seeds is not None
        trials = self.trials if self.tuning_time is None else MOST
        if known[0] and self.finalists > trials:
            raise ValueError(f"finalists = {self.finalists} are more than trials = {trials}")
        # The model is frozen; these are defaults that depend on other keys.
        if not known[0]:
            object.__setattr__(self, "finalists", min(FINALISTS, trials))
        if not known[1]:
            seeds = 5 if self.folds == 1 else 3 if self.folds < MANY_FOLDS else 1
            object.__setattr__(self, "seeds", seeds)
        unused = "trials" if self.tuning_time is not None else "tuning_time"
        for exception in self.exceptions:
            if getattr(exception, unused) is not None:
                raise ValueError(f"except: {unused} is not what limits this plan's tuning")
        return self

    @property
    def tuning_seconds(self) -> float | None:
        """CPU seconds of a cell's tuning; None if the plan limits the number of trials instead."""
        return None if self.tuning_time is None else parse_seconds(self.tuning_time)

    def decides_as(self, other: Plan) -> bool:
        """Whether another plan makes the same records; only its reports may differ."""
        return self._without_judgement() == other._without_judgement()

    def digest(self) -> str:
        """Eight hexadecimal digits that identify the plan's records."""
        return hashlib.sha256(self._without_judgement().to_toml().encode()).hexdigest()[:8]

    def _without_judgement(self) -> Self:
        """The plan with defaults for what decides no trial's result."""
        return self.model_copy(update={"margin": MARGIN, "contrasts": (), "only_folds": ()})

    @property
    def folds_to_run(self) -> list[int]:
        """The folds that are run, from 0, ascending."""
        return sorted(fold - 1 for fold in self.only_folds) or list(range(self.folds))

    def of_cell(self, dataset: str, backbone: str, method: str, budget: str) -> Plan | None:
        """The plan of one cell, with exceptions applied; None if the cell is left out."""
        plan = self
        for exception in self.exceptions:
            if exception.matches(dataset, backbone, method, budget):
                if exception.skip:
                    return None
                plan = plan.model_copy(update=exception.settings())
        return plan

    def with_families_expanded(self, catalog: Catalog) -> Self:
        """The plan with families of methods, such as ``hashing``, replaced by their members.

        Raises
        ------
        PlanError
            For unknown names, contrasts of methods or budgets that the plan lacks, and a comparison
            named twice, which would count twice in its family.
        """
        plan = self.model_copy(update={"methods": catalog.ungrouped("method", self.methods)})
        labels = plan.method_labels()
        for label in labels:
            if labels.count(label) > 1:
                raise PlanError(f"methods: {label!r} is listed twice")
        compared: dict[tuple[frozenset[str], str], int] = {}
        for number, contrast in enumerate(plan.contrasts, 1):
            for kind, names, known in (
                ("method", contrast.methods, labels),
                ("budget", contrast.budgets, plan.budgets),
            ):
                for name in names:
                    if name not in known:
                        raise PlanError(f"contrast {number}: {unknown_name(kind, name, known)}")
            for budget in contrast.budgets:
                key = frozenset(contrast.methods), budget
                if key in compared:
                    raise PlanError(
                        f"contrast {number}: {' and '.join(contrast.methods)} at {budget} are "
                        f"compared by contrast {compared[key]} already; leave one out"
                    )
                compared[key] = number
        return plan

    def method_labels(self) -> list[str]:
        """The methods as records and tables name them."""
        return [split_label(spec)[0] for spec in self.methods]

    @classmethod
    def keys(cls) -> list[str]:
        """The keys of a plan file."""
        return [field.alias or name for name, field in cls.model_fields.items()]

    @classmethod
    def load(cls, path: Path | None, overrides: dict[str, Any]) -> Self:
        """Read a plan file (if any) and apply flags over it.

        Raises
        ------
        PlanError
            One line with the file, the key, the problem and what is allowed.
        """
        values: dict[str, Any] = {}
        if path is not None:
            try:
                values = tomllib.loads(path.read_text("utf-8"))
            except OSError as error:
                raise PlanError(f"{path}: {error.strerror or error}") from None
            except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
                raise PlanError(f"{path}: is not valid TOML: {error}") from None
            _refuse_unknown(values, path)
        # They exclude each other in a file or among flags, but a flag replaces either.
        for bound in {"trials", "tuning_time"} & overrides.keys():
            values.pop("tuning_time" if bound == "trials" else "trials", None)
        if "trials" in overrides and "finalists" not in overrides:
            values.pop("finalists", None)
        if {"methods", "budgets"} & overrides.keys():
            # Flags that take a part of a plan leave only the contrasts within it.
            values["contrast"] = _within(values, overrides)
        values.update(overrides)
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            named = None if path == EXAMPLE else path
            raise PlanError(_one_line(error, named, overrides)) from None

    def to_toml(self) -> str:
        """The plan as a file that :meth:`load` reads back to an equal plan."""
        values = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        if self.tuning_time is not None:
            del values["trials"]
        for exception in values["except"]:
            for key in [k for k, v in exception.items() if v in (["*"], False)]:
                del exception[key]
        for tables in ("except", "contrast"):
            if not values[tables]:
                del values[tables]
        # So that plans with the defaults have the digest from before these keys existed.
        for key in ("margin", "objective", "only_folds", "tune_learning_rate", "tune_l2"):
            if getattr(self, key) == Plan.model_fields[key].default:
                del values[key]
        return tomli_w.dumps(values)


def plan_in(folder: Path) -> Plan | None:
    """The plan in a folder; None if it holds none.

    Raises
    ------
    PlanError
        If it cannot be read.
    """
    path = folder / PLAN_FILE
    return Plan.load(path, {}) if path.exists() else None


def _within(values: dict[str, Any], overrides: dict[str, Any]) -> list[Any]:
    """The contrasts of a plan file between methods that flags name, at budgets that they name.

    Families among the flags' methods are expanded already.
    """
    kept = []
    for contrast in values.get("contrast", ()):
        methods, budgets = contrast.get("methods", ()), contrast.get("budgets", ())
        named = [name for name in budgets if name in overrides.get("budgets", budgets)]
        if named and all(name in overrides.get("methods", methods) for name in methods):
            kept.append({**contrast, "budgets": named})
    return kept


def _refuse_unknown(values: dict[str, Any], path: Path) -> None:
    for key in values:
        if key not in Plan.keys():  # noqa: SIM118
            raise PlanError(f"{path}: {unknown_name('key', key, Plan.keys())}")
    for name, model in (("except", PlanException), ("contrast", Contrast)):
        tables = values.get(name)
        for table in tables if isinstance(tables, list) else ():
            for key in table if isinstance(table, dict) else ():
                if key not in model.model_fields:
                    what = unknown_name(f"key of {name}", key, model.model_fields)
                    raise PlanError(f"{path}: {what}")


def _one_line(error: ValidationError, path: Path | None, overrides: dict[str, Any]) -> str:
    first = error.errors()[0]
    cause = first.get("ctx", {}).get("error")
    reason = str(cause) if cause else f"{first['msg']}, got {first['input']!r}"
    if not first["loc"]:
        return f"{path}: {reason}" if path else reason
    key = ".".join(str(part) for part in first["loc"][:3:2])
    name = str(first["loc"][0])
    if name in overrides or path is None:
        return f"--{name.replace('_', '-')}: {reason}"
    return f"{path}: {key}: {reason}"
