"""``pepbench report``, ``compare`` and ``leaderboard``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pepbench.cli.program import AsJson, Margin, app
from pepbench.cores import usable_cores
from pepbench.errors import PlanError


@app.command(
    epilog="Examples:\n\n"
    "  pepbench report runs/synthetic-1a2b3c4d --open\n\n"
    "  pepbench report runs/synthetic-1a2b3c4d --format csv > leaderboard.csv\n\n"
    "  pepbench report runs/synthetic-1a2b3c4d --tuning\n\n"
    "  pepbench report runs/synthetic-1a2b3c4d --margin 0.002\n\n"
    "  pepbench report runs/monday runs/tuesday --out runs/both\n\n"
    "  pepbench report --history checks.jsonl"
)
def report(
    folders: Annotated[
        list[Path] | None,
        typer.Argument(
            metavar="FOLDER...", help="Folders of runs; several of the same data are merged."
        ),
    ] = None,
    form: Annotated[
        Literal["terminal", "markdown", "csv", "latex", "html", "parquet"],
        typer.Option("--format", help="What to print; the files are written in any case."),
    ] = "terminal",
    out: Annotated[
        Path | None,
        typer.Option(help="Where to write. Default: the folder; nothing for several without it."),
    ] = None,
    wide: Annotated[
        bool,
        typer.Option(
            "--wide",
            help="All columns. Else these go first where it is narrow: MiB, seeds, p, bytes, time, "
            "share, params.",
        ),
    ] = False,
    tuning: Annotated[
        bool, typer.Option("--tuning", help="Print what tuning tried and bought, cell by cell.")
    ] = False,
    open_page: Annotated[
        bool, typer.Option("--open", help="Show the page in the browser.")
    ] = False,
    history: Annotated[
        Path | None,
        typer.Option(
            help="Draw the checks that `pepbench check --history` appended, instead of runs: "
            "history.html, .svg and .png."
        ),
    ] = None,
    margin: Margin = None,
    as_json: AsJson = False,
) -> int:
    """Regenerate tables, charts and report.html from the records of one or several runs."""
    from pepbench.report import show as command

    if history is not None:
        from pepbench.check.history_page import report_history

        if folders:
            raise PlanError("--history draws checks, not runs: leave out the folders")
        return report_history(history, out, open_page=open_page, as_json=as_json)
    if not folders:
        raise PlanError("name a run's folder, or a history of checks: --history FILE")
    return command.report(
        folders,
        "json" if as_json else form,
        out=out,
        wide=wide,
        tuning=tuning,
        open_page=open_page,
        margin=margin,
    )


@app.command(
    epilog="Examples:\n\n"
    "  pepbench compare pep magnitude runs/ml-100k --dataset ml-100k --budget 10%\n\n"
    "  pepbench compare pep full runs/ml-100k --backbone fm --json"
)
def compare(
    a: Annotated[str, typer.Argument(help="A method, as the leaderboard calls it.")],
    b: Annotated[str, typer.Argument(help="The method it is compared with.")],
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Folders of runs.")],
    dataset: Annotated[str | None, typer.Option(help="Default: all that both have.")] = None,
    budget: Annotated[str | None, typer.Option(help="Default: all that both have.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Default: all that both have.")] = None,
    margin: Margin = None,
    as_json: AsJson = False,
) -> int:
    """Print the comparison of two methods in full: seed by seed, intervals, p-values, verdict.

    Exit code 1 if a pair could not be compared.
    """
    from pepbench.report import show as command

    return command.compare(
        folders,
        (a, b),
        dataset=dataset,
        budget=budget,
        backbone=backbone,
        as_json=as_json,
        margin=margin,
    )


@app.command(
    epilog="Examples:\n\n"
    "  pepbench leaderboard ml-100k\n\n"
    "  pepbench leaderboard ml-100k --tables-only\n\n"
    "  pepbench leaderboard --overall\n\n"
    "  pepbench leaderboard --verify"
)
def leaderboard(
    names: Annotated[
        list[str] | None,
        typer.Argument(metavar="[NAME]...", help="Folders below the results; default: all."),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Compare tables with records, and run one small cell again."),
    ] = False,
    overall: Annotated[
        bool, typer.Option("--overall", help="Only write the pages over all leaderboards.")
    ] = False,
    tables_only: Annotated[
        bool, typer.Option("--tables-only", help="Run nothing; publish the working records.")
    ] = False,
    results: Annotated[
        Path | None,
        typer.Option(help="Folder of the leaderboards. Default: ./results, or the repository's."),
    ] = None,
    work: Annotated[Path, typer.Option(help="Folder of working records and predictions.")] = Path(
        "runs/leaderboards"
    ),
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Worker processes. Default: the cores at hand.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Torch threads of each worker.")] = 1,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> int:
    """Run what published leaderboards lack, and write their tables, charts and pages.

    Each NAME/plan.toml below the results is a leaderboard. The same command again continues where
    it was interrupted. Exit code 1 if cells failed, or if --verify finds a difference.
    """
    from pepbench.leaderboards import regenerate as command
    from pepbench.leaderboards.boards import results_folder

    if verify + overall + tables_only > 1 or (overall and names):
        raise PlanError(
            "--verify, --overall and --tables-only exclude each other, and --overall takes no NAME"
        )
    places = command.BoardOptions(results_folder(results), work, jobs or usable_cores(), threads)
    if verify:
        return command.verify(names or (), places)
    if overall:
        return command.overall(places)
    return command.make(names or (), places, tables_only=tables_only, quiet=quiet)
