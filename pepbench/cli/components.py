"""``pepbench list``, ``show``, ``test-method`` and ``test-backbone``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pepbench.cli.program import AsJson, Plugins, app, console
from pepbench.errors import PlanError
from pepbench.printing import print_json


@app.command(
    "list", epilog="Examples:\n\n  pepbench list methods\n\n  pepbench list datasets --json"
)
def list_(
    what: Annotated[Literal["methods", "datasets", "backbones"], typer.Argument()],
    plugin: Plugins = None,
    cards: Annotated[
        bool, typer.Option("--cards", help="Print the cards of all of them as Markdown.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """List the available methods, data sets or backbones."""
    from pepbench.catalog import Catalog, kind_of_plural
    from pepbench.report.cards import cards_page, entry_table

    if cards and as_json:
        raise PlanError("--cards and --json exclude each other; give one of them")
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
    name: Annotated[str, typer.Argument(help="A name from: pepbench list")],
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Show a method, data set or backbone: its source, idea, and options with ranges."""
    from pepbench.catalog import Catalog
    from pepbench.report.cards import card, card_json

    component = Catalog(tuple(plugin or ())).select(kind, name).component
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
        Path | None, typer.Argument(metavar="[FILE.py]", help="A Python file that defines methods.")
    ] = None,
    method: Annotated[
        list[str] | None,
        typer.Option(
            help="A method of the file, or a built-in one; name:option=value fixes an option. "
            "Repeatable. Default: all methods of the file."
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Test methods against the rules: sizes, counts, exports, seeds, gradients, learning.

    For each broken rule, prints what is wrong and what to do. Exit code 1 if a rule is broken.
    """
    from pepbench.contract.examine import check_components

    return check_components("method", file, tuple(method or ()), as_json)


@app.command(
    "test-backbone",
    epilog="Examples:\n\n"
    "  pepbench test-backbone my_backbone.py\n\n"
    "  pepbench test-backbone --backbone deepfm:layers=1",
)
def check_backbone(
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE.py]", help="A Python file that defines backbones."),
    ] = None,
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            help="A backbone of the file, or a built-in one; name:option=value fixes an option. "
            "Repeatable. Default: all backbones of the file."
        ),
    ] = None,
    as_json: AsJson = False,
) -> int:
    """Test backbones against the rules: shapes, gradients, counts, interactions, seeds, ONNX.

    For each broken rule, prints what is wrong and what to do. Exit code 1 if a rule is broken.
    """
    from pepbench.contract.examine import check_components

    return check_components("backbone", file, tuple(backbone or ()), as_json)
