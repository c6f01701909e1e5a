"""``pepbench check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pepbench.cli.program import AsJson, Plugins, app
from pepbench.cores import usable_cores


@app.command(
    epilog="Examples:\n\n"
    "  pepbench check --record baseline.json\n\n"
    "  pepbench check baseline.json\n\n"
    "  pepbench check --record mine.json --plan small.toml --plugin my_method.py\n\n"
    "  pepbench check baseline.json --junit check.xml --history checks.jsonl\n\n"
    "  pepbench check --history checks.jsonl --plot checks.svg"
)
def check(
    baseline: Annotated[
        Path | None, typer.Argument(metavar="[BASELINE.json]", help="What to compare with.")
    ] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Write BASELINE.json instead of comparing with it.")
    ] = False,
    plan: Annotated[
        Path | None,
        typer.Option(help="With --record: the plan to run; default: a small built-in one."),
    ] = None,
    margin: Annotated[
        float, typer.Option(min=0, max=1, help="Loss of AUC that is let pass.")
    ] = 0.001,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Fail also where a loss above the margin, or a growth of twice the time margin, "
            "cannot be excluded.",
        ),
    ] = False,
    time: Annotated[
        Literal["auto", "always", "never"],
        typer.Option(
            help="When slowness fails: auto, on the baseline's kind of machine; never: not timed."
        ),
    ] = "auto",
    time_margin: Annotated[
        float, typer.Option(min=0, help="Growth of time and memory that is let pass, as a share.")
    ] = 0.1,
    repetitions: Annotated[
        int, typer.Option(help="Processes that time the cells; twice as many with --record.")
    ] = 7,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Worker processes. Default: the cores at hand.")
    ] = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML to this file.")] = None,
    summary: Annotated[
        Path | None, typer.Option(help="Append a Markdown summary, such as to a job's page.")
    ] = None,
    history: Annotated[
        Path | None, typer.Option(help="Append the outcome as a line to this file.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Draw --history as .svg or .png, after the check if there is one; "
            "`pepbench report --history` makes a page, too."
        ),
    ] = None,
    plugin: Plugins = None,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
) -> int:
    """Compare accuracy, sizes, speed, memory and start-up with a recorded baseline.

    Exit code 1 if something is shown to have got worse, by a test that allows for chance.
    """
    from pepbench.check import run_check as command
    from pepbench.check.findings import Tolerance
    from pepbench.errors import PlanError

    if plot is not None and history is None:
        raise PlanError("--plot draws a history; name it: --history FILE")
    if baseline is None:
        if plot is None or history is None:
            raise PlanError("name a baseline; record one with: pepbench check --record FILE")
        return command.plot_history(history, plot)
    how = command.How(
        plugins=tuple(plugin or ()),
        jobs=jobs or usable_cores(),
        repetitions=repetitions,
        time=time,
        quiet=quiet,
    )
    if record:
        return command.run_record(baseline, plan, how)
    if plan is not None:
        raise PlanError("--plan goes with --record; a baseline holds the plan it was made of")
    code = command.run_check(
        baseline,
        Tolerance(margin, time_margin, strict),
        how,
        json_wanted=as_json,
        junit=junit,
        summary=summary,
        history=history,
    )
    if plot is not None and history is not None:
        command.plot_history(history, plot)
    return code
