"""The base of methods, backbones and data sets: a name and annotated options.

A component is a frozen dataclass. Its fields are its options and its defaults those of the paper.
The annotation says which values are legal, which are searched, and what the option means::

    @dataclass(frozen=True)
    class MixedDimension(Method):
        name = "mde"
        alpha: Annotated[float, Between(0.0, 0.6), "how strongly width follows popularity"] = 0.3

An instance is a component with all its options, and can be serialised. On the command line and in
plans it is written as a *spec*: its name, then the options that the user fixes: ``mde:alpha=0.2``.
"""

from __future__ import annotations

import dataclasses
import functools
import re
import typing
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

from pepbench.errors import PlanError, unknown_name

Value = bool | int | float | str
"""Types of an option; JSON and TOML keep them unchanged."""

OptimizerKind = typing.Literal["auto", "adam", "lazy-adam", "adagrad", "row-adagrad"]
"""Adam or Adagrad, dense or by rows; ``auto`` is Adam, by rows for large tables."""


class Trial(Protocol):
    """The part of an Optuna trial that a search space uses."""

    def suggest_float(
        self, name: str, low: float, high: float, *, log: bool = ..., step: float | None = ...
    ) -> float:
        """A real number from [low, high]."""

    def suggest_int(
        self, name: str, low: int, high: int, *, log: bool = ..., step: int = ...
    ) -> int:
        """A whole number from [low, high]."""

    def suggest_categorical(self, name: str, choices: typing.Sequence[Any]) -> Any:
        """One of the choices."""


@dataclass(frozen=True)
class Between:
    """A numeric option: searched in [low, high] if ``tuned``, legal in ``allow``.

    ``allow`` is the searched range unless given.

    >>> Between(1e-4, 1e-1, log=True).describe()
    '0.0001 to 0.1 (log)'
    """

    low: float
    high: float
    log: bool = False
    step: float | None = None
    tuned: bool = True
    allow: tuple[float, float] | None = None

    def legal(self, value: Value) -> bool:
        """Whether ``value`` is a number within the legal range."""
        low, high = self.allow or (self.low, self.high)
        if isinstance(value, bool | str):
            return False
        return low <= value <= high

    def describe(self) -> str:
        """The legal range in words."""
        low, high = self.allow or (self.low, self.high)
        return f"{low:g} to {high:g}{' (log)' if self.log else ''}"

    def suggest(self, trial: Trial, name: str, kind: type) -> Value:
        """Let an Optuna trial choose."""
        if kind is int:
            step = int(self.step or 1)
            return trial.suggest_int(name, int(self.low), int(self.high), log=self.log, step=step)
        return trial.suggest_float(name, self.low, self.high, log=self.log, step=self.step)


@dataclass(frozen=True, init=False)
class OneOf:
    """A categorical option: searched among ``choices`` if ``tuned``, legal in ``allow`` too.

    >>> OneOf("add", "mult", allow=("concat",)).describe()
    'add, mult, concat'
    """

    choices: tuple[Value, ...]
    tuned: bool = True
    allow: tuple[Value, ...] = ()

    def __init__(self, *choices: Value, tuned: bool = True, allow: tuple[Value, ...] = ()) -> None:
        object.__setattr__(self, "choices", choices)
        object.__setattr__(self, "tuned", tuned)
        object.__setattr__(self, "allow", allow)

    @property
    def legal_values(self) -> tuple[Value, ...]:
        """The choices, and what is legal besides."""
        return *self.choices, *self.allow

    def legal(self, value: Value) -> bool:
        """Whether ``value`` is legal."""
        return value in self.legal_values

    def describe(self) -> str:
        """The legal values in words."""
        return ", ".join(map(str, self.legal_values))

    def suggest(self, trial: Trial, name: str, kind: type) -> Value:  # noqa: ARG002
        """Let an Optuna trial choose."""
        choice: Value = trial.suggest_categorical(name, list(self.choices))
        return choice


Range = Between | OneOf


@dataclass(frozen=True)
class Option:
    """One option of a component, as its annotation describes it."""

    name: str
    kind: type
    default: Value
    range: Range | None
    help: str

    @property
    def tuned(self) -> bool:
        """Whether Optuna searches it."""
        return self.range is not None and self.range.tuned

    def parse(self, text: str) -> Value:
        """Read a value as written on the command line; raises ``ValueError``."""
        if self.kind is bool:
            if text.lower() not in ("true", "false"):
                raise ValueError(text)
            return text.lower() == "true"
        value: Value = self.kind(text)
        return value


@dataclass(frozen=True)
class Component:
    """Base of :class:`~pepbench.method.Method`, backbones and data sets."""

    kind: ClassVar[str] = "component"
    """Kind of component: method, backbone or dataset."""
    name: ClassVar[str]
    """The command-line name."""
    version: ClassVar[int] = 1
    """Part of every record's key: raise it when the same options give another result."""

    def __post_init__(self) -> None:
        """Refuse options outside their range, naming it."""
        for option in self.described_options():
            value = getattr(self, option.name)
            if option.kind is float and type(value) is int:
                object.__setattr__(self, option.name, float(value))
            elif type(value) is not option.kind:
                raise PlanError(
                    f"{self.kind} {self.name}: {option.name}={value!r} is not of type "
                    f"{option.kind.__name__}"
                )
            if isinstance(option.range, OneOf) and not option.range.legal(value):
                what = f"value of {option.name} for {self.kind} {self.name}:"
                raise PlanError(unknown_name(what, str(value), map(str, option.range.legal_values)))
            if option.range is not None and not option.range.legal(value):
                raise PlanError(
                    f"{self.kind} {self.name}: {option.name}={value!r} is out of range; "
                    f"allowed: {option.range.describe()}"
                )

    @classmethod
    @functools.cache
    def described_options(cls) -> tuple[Option, ...]:
        """The options in order of definition."""
        hints = typing.get_type_hints(cls, include_extras=True)
        described = []
        for field in dataclasses.fields(cls):
            hint = hints[field.name]
            extras = getattr(hint, "__metadata__", ())
            kind = typing.get_args(hint)[0] if extras else hint
            ranges = [extra for extra in extras if isinstance(extra, Between | OneOf)]
            texts = [extra for extra in extras if isinstance(extra, str)]
            described.append(
                Option(
                    name=field.name,
                    kind=kind,
                    default=typing.cast(Value, field.default),
                    range=ranges[0] if ranges else None,
                    help=texts[0] if texts else "",
                )
            )
        return tuple(described)

    @classmethod
    def from_options(cls, options: Mapping[str, Value]) -> Self:
        """An instance from some of its options; raises :class:`PlanError`."""
        known = {option.name for option in cls.described_options()}
        for name in options:
            if name not in known:
                raise PlanError(unknown_name(f"option of {cls.kind} {cls.name}", name, known))
        return cls(**options)

    @classmethod
    def parse_options(cls, texts: Mapping[str, str]) -> dict[str, Value]:
        """Turn the texts of a spec into checked values."""
        options = {option.name: option for option in cls.described_options()}
        values: dict[str, Value] = {}
        for name, text in texts.items():
            if name not in options:
                raise PlanError(unknown_name(f"option of {cls.kind} {cls.name}", name, options))
            try:
                values[name] = options[name].parse(text)
            except ValueError:
                raise PlanError(
                    f"{cls.kind} {cls.name}: {name}={text!r} is not of type "
                    f"{options[name].kind.__name__}"
                ) from None
        cls.from_options(values)
        return values

    @classmethod
    def suggest(cls, trial: Trial, fixed: Mapping[str, Value]) -> Self:
        """A point of the search space chosen by ``trial``; options in ``fixed`` are not searched.

        Nor are those that :meth:`unread` names beside them. Override it where a searched option
        decides what is read: choose that one first.
        """
        chosen: dict[str, Value] = dict(fixed)
        without = {*fixed, *cls.from_options(fixed).unread()}
        for option in cls.described_options():
            if option.name not in without and option.range is not None and option.range.tuned:
                chosen[option.name] = option.range.suggest(trial, option.name, option.kind)
        return cls.from_options(chosen)

    def unread(self) -> Collection[str]:
        """Names of options that have no effect beside the others: they are not searched."""
        return ()

    def options(self) -> dict[str, Value]:
        """All options with their values: what :meth:`from_options` takes, ready for JSON."""
        return {option.name: getattr(self, option.name) for option in self.described_options()}

    def tuned_options(self, fixed: Mapping[str, Value]) -> dict[str, Value]:
        """The values of the searched options: this instance as a point of the search space."""
        without = {*fixed, *self.unread()}
        return {
            option.name: getattr(self, option.name)
            for option in self.described_options()
            if option.tuned and option.name not in without
        }


def split_label(spec: str) -> tuple[str, str]:
    """Split a method's spec into the name that tables use and the spec without that name.

    >>> split_label("mine=pep:init=-8")
    ('mine', 'pep:init=-8')
    >>> split_label("pep:init=-8")
    ('pep:init=-8', 'pep:init=-8')
    """
    found = re.fullmatch(r"([\w.-]+)=(.+)", spec.strip())
    return (found[1], found[2]) if found else (spec, spec)


def split_spec(spec: str) -> tuple[str, dict[str, str]]:
    """Split a spec into its name and the texts of the options that it fixes.

    >>> split_spec("pep:granularity=feature:init=-8")
    ('pep', {'granularity': 'feature', 'init': '-8'})
    """
    name, *assignments = spec.strip().split(":")
    texts: dict[str, str] = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key or not text:
            raise PlanError(f"{spec!r}: write options as name:option=value, got {assignment!r}")
        if key in texts:
            raise PlanError(f"{spec!r}: option {key!r} is given twice")
        texts[key] = text
    return name, texts
