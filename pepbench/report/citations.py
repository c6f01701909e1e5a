"""Method cards without importing a method: read from the source of what is built in."""

from __future__ import annotations

import ast
import importlib.util
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from markupsafe import Markup, escape

from pepbench.catalog import Catalog
from pepbench.component import split_spec

_ROLE = re.compile(r":\w+:`~?(?:[\w.]+\.)?(\w+)`")
_LITERAL = re.compile(r"``(.+?)``|`(.+?)`")
_SOURCES = (
    (re.compile(r"arXiv[ :](\d{4}\.\d{4,5})"), "https://arxiv.org/abs/{}"),
    (re.compile(r"doi[ :](10\.\d{4,9}/[^\s,;]+[^\s,;.])", re.IGNORECASE), "https://doi.org/{}"),
)


@dataclass(frozen=True)
class MethodCard:
    """What the page says about a method.

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
    """A card for each method, by name. Plug-ins are not run, so little is known of theirs."""
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
    return [_marked(" ".join(part.split())) for part in plain.split("\n\n") if part.strip()]


def _marked(words: str) -> Markup:
    """Words as HTML, literals as code."""
    done, html = 0, Markup("")
    for match in _LITERAL.finditer(words):
        literal = match.group(1) or match.group(2)
        html += escape(words[done : match.start()]) + Markup("<code>{}</code>").format(literal)
        done = match.end()
    return html + escape(words[done:])


def _links(text: str) -> Iterable[tuple[str, str]]:
    for pattern, address in _SOURCES:
        for found in dict.fromkeys(pattern.findall(" ".join(text.split()))):
            yield address.format(found), address.format(found).removeprefix("https://")
