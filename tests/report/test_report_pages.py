"""Pages of cards: in step with the components, and Markdown."""

from pathlib import Path

import pytest

from pepbench.catalog import Catalog, kind_of_plural
from pepbench.component import Option
from pepbench.report.cards import cards_page

DOCS = Path(__file__).parents[2] / "docs"


@pytest.mark.parametrize("plural", ["methods", "backbones", "datasets"])
def test_pages_in_the_documentation_are_in_step(plural):
    catalog, kind = Catalog(), kind_of_plural(plural)
    page = cards_page(plural, [catalog.load(kind, name) for name in catalog.entries(kind)])
    remedy = f"pepbench list {plural} --cards > docs/{plural}.md"
    assert (DOCS / f"{plural}.md").read_text() == page, remedy


def test_a_card_shows_every_option_and_no_markup_of_docstrings():
    pep = Catalog().load("method", "pep")
    page = cards_page("methods", [pep])
    assert "### pep (2021)" in page
    for option in pep.described_options():
        assert f"| `{option.name}` | {option.default} |" in page
    for markup in ("``", "::\n", ":class:", ":mod:"):
        assert markup not in page


def test_cells_keep_their_bars(monkeypatch):
    option = Option(name="x", kind=int, default=1, range=None, help="a | b")
    pep = Catalog().load("method", "pep")
    monkeypatch.setattr(pep, "described_options", lambda: (option,))
    assert "| `x` | 1 | int | no | a \\| b |" in cards_page("methods", [pep])
