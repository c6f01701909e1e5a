"""Cards of all components of a kind as one Markdown page, for the documentation."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable
from itertools import groupby
from typing import cast

from pepbench.component import Component, Option

FAMILIES = {
    "controls": "What a method has to beat.",
    "search": "Train sizes, thresholds or masks together with the values.",
    "pruning": "Train a full table, remove entries, and train what is left.",
    "mixed": "Rows of different widths, fixed before training.",
    "hashing": "Features share rows.",
    "factored": "Vectors are computed from smaller tensors.",
}
"""Families in the order of the page, and what their members have in common."""

_INTRODUCTIONS = {
    "methods": """# Methods

This page is made from the methods' own cards: `pepbench list methods --cards > docs/methods.md`.
`pepbench show method NAME` prints one. A family's name, or `all`, stands for its members in
`--methods`; `NAME+fp16`, `NAME+int8` and `NAME+int4` round what a method has trained
([plan.md](plan.md)). What a method keeps to is in [protocol.md](protocol.md), what is counted in
[accounting.md](accounting.md).
""",
    "backbones": """# Backbones

This page is made from the backbones' own cards:
`pepbench list backbones --cards > docs/backbones.md`. `pepbench show backbone NAME` prints one;
`--backbones NAME:option=value` sets an option.
""",
    "datasets": """# Data sets

This page is made from the data sets' own cards:
`pepbench list datasets --cards > docs/datasets.md`. `pepbench show dataset NAME` prints one.
""",
}


def cards_page(plural: str, components: Iterable[type[Component]]) -> str:
    """All cards of a kind, by family where there are families, each with text and options.

    Parameters
    ----------
    plural
        ``methods``, ``backbones`` or ``datasets``.
    components
        What the page shows.
    """
    families = list(FAMILIES)

    def order(component: type[Component]) -> tuple[int, str, str]:
        family = _family(component)
        known = families.index(family) if family in families else len(families)
        return known, family, component.name

    parts = [_INTRODUCTIONS[plural]]
    for family, members in groupby(sorted(components, key=order), key=_family):
        if family:
            heading = f"## {family.capitalize()}\n\n{FAMILIES.get(family, '')}"
            parts.append(heading.rstrip() + "\n")
        parts += [_section(component) for component in members]
    return "\n".join(parts)


def _section(component: type[Component]) -> str:
    year = getattr(component, "year", None)
    heading = f"### {component.name}" + (f" ({year})" if year else "")
    options = component.described_options()
    table = "\n\n" + _table(options) if options else ""
    return f"{heading}\n\n{markdown(inspect.getdoc(component) or '')}{table}\n"


def _table(options: Iterable[Option]) -> str:
    lines = ["| option | default | range | tuned | meaning |", "|---|---|---|---|---|"]
    for option in options:
        legal = option.range.describe() if option.range else option.kind.__name__
        tuned = "yes" if option.tuned else "no"
        cells = (f"`{option.name}`", str(option.default), legal, tuned, option.help)
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines)


def markdown(docstring: str) -> str:
    """A docstring's roles, literals and code blocks as Markdown has them."""
    text = re.sub(r":\w+:`~?(?:[\w.]+\.)?(\w+)`", r"`\1`", docstring)
    return text.replace("``", "`").replace("::\n", ":\n")


def _family(component: type[Component]) -> str:
    return cast(str, getattr(component, "family", ""))
