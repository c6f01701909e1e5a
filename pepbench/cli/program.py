"""The Typer application, and the options and output functions that its commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import pepbench

app = typer.Typer(
    name="pepbench",
    help="How few parameters can a recommender's embedding table have before its predictions get "
    "worse, and which method gets it there?\n\n"
    "Start with: pepbench run",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Jobs = Annotated[
    int | None,
    typer.Option(min=1, max=1024, help="Worker processes. Default: one for each usable core."),
]
Threads = Annotated[int, typer.Option(min=1, max=1024, help="Torch threads of each worker.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Show no progress.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Margin = Annotated[
    float | None,
    typer.Option(
        help="Differences below this do not matter (equivalence, parity). Default: as in "
        "plan.toml, else 0.001."
    ),
]
Metric = Annotated[
    str, typer.Option(help="What verdicts are about: auc, gauc, logloss or ndcg10, of test rows.")
]
Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="A Python file that defines more components. Repeatable."),
]


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"pepbench {pepbench.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
) -> None:
    pass


def console() -> Any:
    """A Rich console for tables and cards."""
    from rich.console import Console

    return Console()
