"""The card of a method or backbone: its source and its options."""

from __future__ import annotations

import json

from pepbench.component import Between, Option, Value
from pepbench.contract.backbone_candidate import AnyCandidate
from pepbench.contract.candidate import NotApplicable
from pepbench.errors import PlanError
from pepbench.harness.fit_checks import BrokenContract


def cites_its_source(candidate: AnyCandidate) -> None:
    """Names its source with the year, or is a control."""
    kind = type(candidate.component)
    if getattr(kind, "family", "") == "controls":
        return
    year = getattr(kind, "year", None)
    if year is None or str(year) not in (kind.__doc__ or ""):
        control = '; a control says family = "controls" instead' if hasattr(kind, "family") else ""
        raise BrokenContract(
            f"class {kind.__name__} names no source: set year = …, and give authors, title and "
            f"that year in its docstring{control}"
        )


def explains_its_options(candidate: AnyCandidate) -> None:
    """Every option is annotated with what it means."""
    for option in _options_of(candidate):
        if not option.help:
            raise BrokenContract(
                f"option {option.name} has no word on what it means; write "
                f'{option.name}: Annotated[{option.kind.__name__}, …, "what it means"]'
            )


def options_survive_json(candidate: AnyCandidate) -> None:
    """Options written to a record and read again give an equal component."""
    component = candidate.component
    _options_of(candidate)
    read = type(component).from_options(json.loads(json.dumps(component.options())))
    if read != component:
        raise BrokenContract(
            f"{component.options()} were read again as {read.options()}; keep to bool, int, float "
            "and str, and do not change options in __post_init__"
        )


def refuses_options_out_of_range(candidate: AnyCandidate) -> None:
    """A value outside an option's range is refused, naming the option."""
    options = [option for option in _options_of(candidate) if option.range is not None]
    if not options:
        raise NotApplicable("no option has a range")
    for option in options:
        wrong = _out_of_range(option)
        try:
            type(candidate.component).from_options({option.name: wrong})
        except PlanError as error:
            if option.name in str(error):
                continue
        raise BrokenContract(
            f"{option.name}={wrong!r} is not refused with a PlanError that names it; "
            "a __post_init__ of your own must call super().__post_init__()"
        )


def _options_of(candidate: AnyCandidate) -> tuple[Option, ...]:
    options = candidate.component.described_options()
    if not options:
        raise NotApplicable(f"the {candidate.component.kind} has no options")
    return options


def _out_of_range(option: Option) -> Value:
    if isinstance(option.range, Between):
        _, high = option.range.allow or (option.range.low, option.range.high)
        return option.kind(2 * abs(high) + 1)  # type: ignore[no-any-return]
    return "no such choice" if option.kind is str else 10**12
