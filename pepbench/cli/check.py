"""``pepbench check``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pepbench.check import LOSS_MARGIN, REPETITIONS, TIME_MARGIN
from pepbench.cli.program import AsJson, Jobs, Plugins, Quiet, app
from pepbench.cores import usable_cores
from pepbench.printing import print_json


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
        Path | None, typer.Argument(metavar="[BASELINE.json]", help="The baseline to compare with.")
    ] = None,
    record: Annotated[
        bool, typer.Option("--record", help="Write BASELINE.json instead of comparing with it.")
    ] = False,
    plan: Annotated[
        Path | None,
        typer.Option(help="With --record: the plan to run. Default: a small built-in plan."),
    ] = None,
    margin: Annotated[
        float, typer.Option(min=0, max=1, help="Tolerated loss of AUC.")
    ] = LOSS_MARGIN,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Also fail if a loss above the margin, or growth above twice the time margin, "
            "cannot be excluded.",
        ),
    ] = False,
    time: Annotated[
        Literal["auto", "always", "never"],
        typer.Option(
            help="When a slowdown fails the check: on the baseline's kind of machine (auto), or "
            "always; never: nothing is timed."
        ),
    ] = "auto",
    time_margin: Annotated[
        float, typer.Option(min=0, help="Tolerated growth of time and memory; 0.1 is 10 %.")
    ] = TIME_MARGIN,
    repetitions: Annotated[
        int, typer.Option(help="Number of timing processes; twice as many with --record.")
    ] = REPETITIONS,
    jobs: Jobs = None,
    junit: Annotated[Path | None, typer.Option(help="Write JUnit XML to this file.")] = None,
    summary: Annotated[
        Path | None,
        typer.Option(help="Append a Markdown summary to this file, such as a CI job's."),
    ] = None,
    history: Annotated[
        Path | None, typer.Option(help="Append the outcome to this file, as a line of JSON.")
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            help="Draw the checks in --history as .svg or .png; BASELINE.json is optional then."
        ),
    ] = None,
    plugin: Plugins = None,
    as_json: AsJson = False,
    quiet: Quiet = False,
) -> int:
    """Compare accuracy, sizes, speed, memory and start-up time with a recorded baseline.

    Exit code 1 if a statistical test shows that something got worse.
    """
    from pepbench.check import run_check
    from pepbench.check.baseline import NAME_ONE
    from pepbench.check.findings import Tolerance
    from pepbench.errors import PlanError

    if plot is not None and history is None:
        raise PlanError("--plot draws a history; name it: --history FILE")
    if record and (as_json or strict or junit or summary or history):
        raise PlanError(
            "--json, --strict, --junit, --summary, --history and --plot go with a comparison, not "
            "with --record"
        )
    if plot is not None:
        run_check.refuse_picture(plot)
    if baseline is None:
        if plot is None or history is None:
            raise PlanError(NAME_ONE)
        run_check.plot_history(history, plot)
        if as_json:
            print_json({"plot": str(plot)})
        else:
            print(plot)
        return 0
    options = run_check.CheckOptions(
        plugins=tuple(plugin or ()),
        jobs=jobs or usable_cores(),
        repetitions=repetitions,
        time=time,
        quiet=quiet,
    )
    if record:
        return run_check.run_record(baseline, plan, options)
    if plan is not None:
        raise PlanError("--plan goes with --record; a baseline contains its plan")
    code = run_check.run_check(
        baseline,
        Tolerance(margin, time_margin, strict),
        options,
        json_wanted=as_json,
        junit=junit,
        summary=summary,
        history=history,
    )
    if plot is not None and history is not None:
        run_check.plot_history(history, plot)
        if not as_json:
            print(plot)
    return code
