"""Cards of methods, backbones and data sets: for the terminal, as JSON, Markdown and HTML."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, cast

from markupsafe import Markup, escape
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pepbench.catalog import Catalog, Entry
from pepbench.component import Component, split_spec

FAMILIES = {
    "controls": "What a method has to beat.",
    "search": "Train sizes, thresholds or masks together with the values.",
    "pruning": "Train a full table, remove entries, and train what is left.",
    "mixed": "Rows of different widths, fixed before training.",
    "hashing": "Features share rows.",
    "factored": "Vectors are computed from smaller tensors.",
    "quantised": "Numbers have few bits, which training takes into account: compare over bytes.",
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

On a CPU, ReLU and dropout are one compiled pass, with masks from a generator of the suite's own
(SplitMix64): other masks than torch's for the same seed, from the same distribution.
""",
    "datasets": """# Data sets

This page is made from the data sets' own cards:
`pepbench list datasets --cards > docs/datasets.md`. `pepbench show dataset NAME` prints one.
""",
}

_ROLE = re.compile(r":\w+:`~?(?:[\w.]+\.)?(\w+)`")
"""A cross-reference in a docstring; its last name is the group."""
_LITERAL = re.compile(r"``(.+?)``|`(.+?)`")
_SOURCES = (
    (re.compile(r"arXiv[ :](\d{4}\.\d{4,5})"), "https://arxiv.org/abs/{}"),
    (re.compile(r"doi[ :](10\.\d{4,9}/[^\s,;]+[^\s,;.])", re.IGNORECASE), "https://doi.org/{}"),
)


def entry_table(entries: Iterable[Entry]) -> Table:
    """Components by family, with year and summary."""
    table = _plain_table(("name", "family", "year", "what it is"), folded=("what it is",))
    for entry in sorted(entries, key=lambda entry: (entry.family, entry.name)):
        year = str(entry.year) if entry.year else ""
        table.add_row(Text(entry.name, "bold"), entry.family, year, Text(entry.summary))
    return table


def dataset_table(rows: Iterable[Mapping[str, str]]) -> Table:
    """Data sets, whether they are in the cache, and their licences."""
    table = _plain_table(("name", "title", "state", "licence"), folded=("title", "licence"))
    for row in rows:
        table.add_row(
            Text(row["name"], "bold"), Text(row["title"]), row["state"], Text(row["licence"])
        )
    return table


def card(component: type[Component]) -> RenderableType:
    """A component's docstring, and its options with ranges and defaults."""
    heading = Text(f"{component.kind} {component.name}", "bold")
    parts: list[RenderableType] = [heading, Text(inspect.getdoc(component) or "")]
    options = _options(component)
    if options:
        table = _plain_table(options[0], folded=("range", "tuned", "meaning"))
        for name, *others in (option.values() for option in options):
            table.add_row(Text(name, "bold"), *map(Text, others))
        parts += [Text(), table]
    return Group(*parts)


def card_json(component: type[Component]) -> dict[str, Any]:
    """The card as data."""
    return {
        "kind": component.kind,
        "name": component.name,
        "version": component.version,
        "description": inspect.getdoc(component) or "",
        "options": [
            {
                "name": option.name,
                "default": option.default,
                "range": option.range.describe() if option.range else None,
                "tuned": option.tuned,
                "meaning": option.help,
            }
            for option in component.described_options()
        ],
    }


def description(facts: Mapping[str, Any]) -> Table:
    """The output of ``pepbench data info``: a line for each fact."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), Text(_in_words(value)))
    return table


def cards_page(plural: str, components: Iterable[type[Component]]) -> str:
    """All cards of a kind as one Markdown page, by family where there are families.

    Parameters
    ----------
    plural
        ``methods``, ``backbones`` or ``datasets``.
    components
        Components to show.
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


def docstring_markdown(docstring: str) -> str:
    """A docstring with its roles, literals and code blocks as Markdown writes them."""
    return _ROLE.sub(r"`\1`", docstring).replace("``", "`").replace("::\n", ":\n")


@dataclass(frozen=True)
class MethodCard:
    """A method as the HTML report describes it.

    Attributes
    ----------
    spec
        As in the tables.
    family, year
        Empty and None where they are not known.
    paragraphs
        The text, as HTML.
    links
        Address and words of each source.
    """

    spec: str
    family: str
    year: int | None
    paragraphs: tuple[Markup, ...]
    links: tuple[tuple[str, str], ...]


def method_cards(specs: Iterable[str]) -> list[MethodCard]:
    """A card for each method, by name.

    Docstrings are read from the source files of built-in methods, without importing them; plug-ins
    are not run, so their cards say little.
    """
    entries = Catalog().entries("method")
    cards = []
    for spec in sorted(set(specs)):
        base = split_spec(spec)[0].split("+")[0]
        entry = entries.get(base)
        text = _docstring(entry.module, entry.class_name) if entry else ""
        if entry is None:
            text = "Not built in: a plug-in, or a method of another version."
        cards.append(
            MethodCard(
                spec=spec,
                family=entry.family if entry else "",
                year=entry.year if entry else None,
                paragraphs=tuple(_paragraphs(text or (entry.summary if entry else ""))),
                links=tuple(_links(text)),
            )
        )
    return cards


def _plain_table(columns: Iterable[str], folded: Sequence[str]) -> Table:
    """A table without rules; the columns ``folded`` may break into several lines."""
    table = Table(box=None, pad_edge=False)
    for column in columns:
        table.add_column(column, no_wrap=column not in folded)
    return table


def _options(component: type[Component]) -> list[dict[str, str]]:
    """A component's options in words."""
    return [
        {
            "option": option.name,
            "default": str(option.default),
            "range": option.range.describe() if option.range else option.kind.__name__,
            "tuned": "yes" if option.tuned else "no",
            "meaning": option.help,
        }
        for option in component.described_options()
    ]


def _in_words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_in_words(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return "; ".join(_in_words(inner) for inner in value)
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _section(component: type[Component]) -> str:
    year = getattr(component, "year", None)
    lines = [f"### {component.name}" + (f" ({year})" if year else "")]
    lines += ["", docstring_markdown(inspect.getdoc(component) or "")]
    options = _options(component)
    if options:
        lines += ["", f"| {' | '.join(options[0])} |", "|---" * len(options[0]) + "|"]
    for option in options:
        cells = (f"`{option.pop('option')}`", *option.values())
        lines.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join(lines) + "\n"


def _family(component: type[Component]) -> str:
    return cast(str, getattr(component, "family", ""))


def _docstring(module: str, class_name: str) -> str:
    spec = importlib.util.find_spec(module) if not module.endswith(".py") else None
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        return ""
    for node in ast.parse(Path(spec.origin).read_text("utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == class_name:
            return ast.get_docstring(node) or ""
    return ""


def _paragraphs(text: str) -> Sequence[Markup]:
    plain = _ROLE.sub(r"``\1``", text).replace("::\n", ":\n")
    return [_html(" ".join(part.split())) for part in plain.split("\n\n") if part.strip()]


def _html(text: str) -> Markup:
    """Text as HTML, literals as code."""
    done, html = 0, Markup("")
    for match in _LITERAL.finditer(text):
        literal = match.group(1) or match.group(2)
        html += escape(text[done : match.start()]) + Markup("<code>{}</code>").format(literal)
        done = match.end()
    return html + escape(text[done:])


def _links(text: str) -> Iterable[tuple[str, str]]:
    for pattern, address in _SOURCES:
        for found in dict.fromkeys(pattern.findall(" ".join(text.split()))):
            yield address.format(found), address.format(found).removeprefix("https://")
