"""Cards of methods, backbones and data sets, and lists of them, for the terminal."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from pepbench.catalog import Entry
from pepbench.component import Component


def entry_table(entries: Iterable[Entry]) -> Table:
    """Components by family, with year and summary."""
    table = Table(box=None, pad_edge=False)
    for column in ("name", "family", "year", "what it is"):
        table.add_column(column, no_wrap=column != "what it is")
    for entry in sorted(entries, key=lambda entry: (entry.family, entry.name)):
        year = str(entry.year) if entry.year else ""
        table.add_row(Text(entry.name, "bold"), entry.family, year, Text(entry.summary))
    return table


def dataset_table(rows: Iterable[Mapping[str, str]]) -> Table:
    """Data sets, whether they are in the cache, and their licences."""
    table = Table(box=None, pad_edge=False)
    for column in ("name", "title", "state", "licence"):
        table.add_column(column, no_wrap=column in ("name", "state"))
    for row in rows:
        table.add_row(
            Text(row["name"], "bold"), Text(row["title"]), row["state"], Text(row["licence"])
        )
    return table


def card(component: type[Component]) -> RenderableType:
    """All about a component: its docstring, and its options with ranges and defaults."""
    heading = Text(f"{component.kind} {component.name}", "bold")
    parts: list[RenderableType] = [heading, Text(inspect.getdoc(component) or "")]
    options = component.described_options()
    if options:
        table = Table(box=None, pad_edge=False)
        for column in ("option", "default", "range", "tuned", "meaning"):
            table.add_column(column, no_wrap=column in ("option", "default"))
        for option in options:
            table.add_row(
                Text(option.name, "bold"),
                str(option.default),
                Text(option.range.describe() if option.range else option.kind.__name__),
                "yes" if option.tuned else "no",
                Text(option.help),
            )
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
    """What ``pepbench data info`` knows, a line for each fact."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True, style="bold")
    table.add_column()
    for name, value in facts.items():
        table.add_row(name.replace("_", " "), Text(_in_words(value)))
    return table


def _in_words(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {_in_words(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return "; ".join(_in_words(inner) for inner in value)
    if isinstance(value, float):
        return f"{value:.4f}"
    return f"{value:,}" if isinstance(value, int) else str(value)
