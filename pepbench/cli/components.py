"""``pepbench list``, ``show`` and ``test-method``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pepbench.cli.program import AsJson, Plugins, app, console, print_json


@app.command(
    "list", epilog="Examples:\n\n  pepbench list methods\n\n  pepbench list datasets --json"
)
def list_(
    what: Annotated[Literal["methods", "datasets", "backbones"], typer.Argument()],
    plugin: Plugins = None,
    cards: Annotated[bool, typer.Option("--cards", help="Print all cards as Markdown.")] = False,
    as_json: AsJson = False,
) -> None:
    """List what there is."""
    from pepbench.catalog import Catalog, kind_of_plural
    from pepbench.report.cards import cards_page, entry_table

    catalog, kind = Catalog(tuple(plugin or ())), kind_of_plural(what)
    entries = list(catalog.entries(kind).values())
    if cards:
        print(cards_page(what, [catalog.load(kind, entry.name) for entry in entries]), end="")
    elif as_json:
        print_json([vars(entry) for entry in entries])
    else:
        console().print(entry_table(entries))


@app.command(epilog="Examples:\n\n  pepbench show method pep\n\n  pepbench show dataset anime")
def show(
    kind: Annotated[Literal["method", "dataset", "backbone"], typer.Argument()],
    name: Annotated[str, typer.Argument(help="As listed by: pepbench list")],
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Print the card of a method, data set or backbone: source, idea, options with ranges."""
    from pepbench.catalog import Catalog
    from pepbench.report.cards import card, card_json

    component = Catalog(tuple(plugin or ())).load(kind, name)
    if as_json:
        print_json(card_json(component))
    else:
        console().print(card(component))


@app.command(
    "test-method",
    epilog="Examples:\n\n"
    "  pepbench test-method my_method.py\n\n"
    "  pepbench test-method my_method.py --method my-method:rank=2\n\n"
    "  pepbench test-method --method mde",
)
def check_method(
    file: Annotated[
        Path | None, typer.Argument(metavar="[FILE.py]", help="A plug-in that defines methods.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="One of the file's methods, or a built-in one, with options to fix "
            "(name:option=value); repeatable. Default: all of the file's."
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Check that methods keep the rules: sizes, counts, exports, seeds, gradients, learning.

    Says of each rule whether it is kept and, if not, why and what to do. Exit code 1 if one is
    broken.
    """
    from pepbench.contract.check_methods import check_methods

    return check_methods(file, tuple(method or ()), as_json)
