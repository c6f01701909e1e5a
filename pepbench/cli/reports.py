"""``pepbench report``, ``compare``, ``recommend`` and ``leaderboard``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from pepbench.cli.program import AsJson, Jobs, Margin, Metric, Plugins, Quiet, Threads, app
from pepbench.cores import usable_cores
from pepbench.errors import PlanError


@app.command(
    epilog="Examples:\n\n"
    "  pepbench report runs/synthetic-1a2b3c4d --open\n\n"
    "  pepbench report runs/synthetic-1a2b3c4d --format csv > leaderboard.csv\n\n"
    "  pepbench report runs/synthetic-1a2b3c4d --tuning\n\n"
    "  pepbench report runs/ml-100k-ids --metric gauc --margin 0.002\n\n"
    "  pepbench report runs/monday runs/tuesday --out runs/both"
)
def report(
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="FOLDER...", help="Folders of runs; several on the same data are merged."
        ),
    ],
    form: Annotated[
        Literal["terminal", "markdown", "csv", "latex", "html", "parquet"],
        typer.Option("--format", help="What to print. Files are always written."),
    ] = "terminal",
    out: Annotated[
        Path | None,
        typer.Option(
            help="Output folder. Default: the run's folder; required to write for several runs."
        ),
    ] = None,
    wide: Annotated[
        bool,
        typer.Option(
            "--wide",
            help="Show all columns. By default a narrow terminal drops MiB, seeds, p, wall, bytes, "
            "CPU, share and params, in this order.",
        ),
    ] = False,
    tuning: Annotated[
        bool, typer.Option("--tuning", help="Show each cell's tuning trials and what they gained.")
    ] = False,
    open_page: Annotated[
        bool, typer.Option("--open", help="Open report.html in the browser.")
    ] = False,
    margin: Margin = None,
    metric: Metric = "auc",
    as_json: AsJson = False,
) -> int:
    """Regenerate tables, charts and report.html from the records of one or several runs."""
    from pepbench.report import show

    if tuning and (as_json or form != "terminal" or open_page or out is not None):
        raise PlanError(
            "--tuning prints tables alone; leave out --json, --format, --open and --out"
        )
    if as_json and form != "terminal":
        raise PlanError(f"--json and --format {form} exclude each other; give one of them")
    return show.report(
        folders,
        "json" if as_json else form,
        out=out,
        wide=wide,
        tuning=tuning,
        open_page=open_page,
        margin=margin,
        metric=metric,
    )


@app.command(
    epilog="Examples:\n\n"
    "  pepbench compare pep magnitude runs/mine --dataset anime --budget 10%\n\n"
    "  pepbench compare pep full runs/ml-100k-ids --backbone fm --json"
)
def compare(
    a: Annotated[str, typer.Argument(help="A method, as named in the leaderboard.")],
    b: Annotated[str, typer.Argument(help="The method it is compared with.")],
    folders: Annotated[list[Path], typer.Argument(metavar="FOLDER...", help="Folders of runs.")],
    dataset: Annotated[
        str | None, typer.Option(help="Default: all that both methods have.")
    ] = None,
    budget: Annotated[str | None, typer.Option(help="Default: all that both methods have.")] = None,
    backbone: Annotated[
        str | None, typer.Option(help="Default: all that both methods have.")
    ] = None,
    margin: Margin = None,
    metric: Metric = "auc",
    as_json: AsJson = False,
) -> int:
    """Compare two methods in full: each seed, intervals, p-values and verdict.

    Exit code 1 if a pair could not be compared.
    """
    from pepbench.data.file_description import full_spec
    from pepbench.report import show

    return show.compare(
        folders,
        (a, b),
        dataset=dataset and full_spec(dataset),
        budget=budget,
        backbone=backbone,
        as_json=as_json,
        margin=margin,
        metric=metric,
    )


@app.command(
    epilog="Examples:\n\n"
    "  pepbench recommend --from ml-100k-ids --budget 5%\n\n"
    "  pepbench recommend --from runs/mine --lose-at-most 0.002 --json"
)
def recommend(
    source: Annotated[
        str, typer.Option("--from", help="A published leaderboard, by name or folder, or a run.")
    ],
    budget: Annotated[
        str | None,
        typer.Option(
            help="Find the method that predicts best within it: one of the plan's, such as 5%. "
            "Give this or --lose-at-most."
        ),
    ] = None,
    lose_at_most: Annotated[
        float | None,
        typer.Option(
            help="Find the smallest table that loses less AUC than this, such as 0.005. "
            "Give this or --budget."
        ),
    ] = None,
    dataset: Annotated[str | None, typer.Option(help="Default: all that it has.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Default: all that it has.")] = None,
    results: Annotated[
        Path | None,
        typer.Option(help="Folder of the leaderboards. Default: ./results, or the repository's."),
    ] = None,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> int:
    """Recommend a method from results: with options, expected loss, and how to use and check it.

    Exit code 1 if nothing can be recommended.
    """
    from pepbench.data.file_description import full_spec
    from pepbench.leaderboards import recommend as command

    return command.recommend(
        source,
        budget=budget,
        loss=lose_at_most,
        dataset=dataset and full_spec(dataset),
        backbone=backbone,
        results=results,
        plugins=tuple(plugin or ()),
        as_json=as_json,
    )


@app.command(
    epilog="Examples:\n\n"
    "  pepbench leaderboard ml-100k-ids\n\n"
    "  pepbench leaderboard ml-100k-ids --tables-only\n\n"
    "  pepbench leaderboard --replicate ml-100k-ids --dry-run\n\n"
    "  pepbench leaderboard --replicate ml-1m-ids --folds 5\n\n"
    "  pepbench leaderboard ml-1m-ids --metric gauc\n\n"
    "  pepbench leaderboard --overall\n\n"
    "  pepbench leaderboard --verify\n\n"
    "  pepbench leaderboard --submit runs/mine --into results/ciao/submissions/mine\n\n"
    "  pepbench leaderboard --verify results/ml-100k-ids/submissions/mine --trust"
)
def leaderboard(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[NAME]...",
            help="Leaderboards, by folder name, or with --verify folders of submissions. Default: "
            "all.",
        ),
    ] = None,
    verify: Annotated[
        bool,
        typer.Option(
            "--verify", help="Recompute tables from the records and rerun one small cell."
        ),
    ] = False,
    trust: Annotated[
        bool,
        typer.Option(
            "--trust", help="With --verify: run the method files of submissions, which are code."
        ),
    ] = False,
    submit: Annotated[
        Path | None,
        typer.Option(
            metavar="RUN", help="Write the folder of a submission, of a run made with --against."
        ),
    ] = None,
    into: Annotated[
        Path | None, typer.Option(help="With --submit: the new folder to write.")
    ] = None,
    overall: Annotated[
        bool,
        typer.Option("--overall", help="Only write pages and extracts, from published records."),
    ] = False,
    tables_only: Annotated[
        bool,
        typer.Option(
            "--tables-only",
            help="Run nothing; publish the records of the working folder or, without any, write "
            "what is drawn of a published board anew from its files.",
        ),
    ] = False,
    replicate: Annotated[
        bool,
        typer.Option(
            "--replicate",
            help="Run the primary contrasts of NAME, or of the run in the folder NAME, a second "
            "time with other folds and draws, and compare the verdicts.",
        ),
    ] = False,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="With --replicate: print the cells and the time only."),
    ] = False,
    shard: Annotated[
        str | None,
        typer.Option(help="With --replicate: run a part of the cells: 2/8 is the second eighth."),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            help="With --replicate: run so many of the new folds. Default: as many as before."
        ),
    ] = None,
    backbones: Annotated[
        str | None,
        typer.Option(
            help="With --replicate: run these only, comma-separated. Default: all of the plan."
        ),
    ] = None,
    plugin: Plugins = None,
    metric: Annotated[
        str | None,
        typer.Option(
            help="Only print, with verdicts about gauc, logloss, ndcg10 or auc; needs folds."
        ),
    ] = None,
    results: Annotated[
        Path | None,
        typer.Option(help="Folder of the leaderboards. Default: ./results, or the repository's."),
    ] = None,
    work: Annotated[
        Path | None,
        typer.Option(
            help="Folder of working records and predictions. Default: ./runs/leaderboards"
        ),
    ] = None,
    jobs: Jobs = None,
    threads: Threads = 1,
    as_json: Annotated[
        bool, typer.Option("--json", help="With --verify: print one JSON document.")
    ] = False,
    quiet: Quiet = False,
) -> int:
    """Run the missing trials of published leaderboards and write their tables, charts and pages.

    Each NAME/plan.toml in the results folder defines a leaderboard. Run the same command again to
    resume. Exit code 1 if cells failed or --verify finds a difference.
    """
    from pepbench.analysis.metrics import metric_named
    from pepbench.leaderboards import commands
    from pepbench.leaderboards.boards import WORK, results_folder
    from pepbench.leaderboards.submissions import is_submission

    about = None if metric is None else metric_named(metric)
    chosen = verify + overall + tables_only + replicate + (submit is not None)
    if chosen + (about is not None) > 1 or (names and (overall or submit is not None)):
        raise PlanError(
            "--verify, --overall, --submit, --tables-only, --replicate and --metric exclude each "
            "other, and --overall and --submit take no NAME"
        )
    if (submit is None) != (into is None):
        raise PlanError("--submit RUN and --into FOLDER go together")
    if (trust or as_json) and not verify:
        raise PlanError("--trust and --json go with --verify")
    if submit is not None and into is not None:
        return commands.submit(submit, into)
    jobs = jobs or usable_cores()
    folders = [Path(name) for name in names or ()]
    if verify and any(map(is_submission, folders)):
        if not all(map(is_submission, folders)):
            raise PlanError(
                "--verify takes leaderboards' names or folders of submissions, not both"
            )
        return commands.verify_submissions(folders, jobs, trust, as_json)
    if replicate:
        from pepbench.leaderboards.replicate_command import ReplicationOptions
        from pepbench.leaderboards.replicate_command import replicate as run_again

        if names is None or len(names) != 1:
            raise PlanError("--replicate needs one NAME: a leaderboard's, or the folder of a run")
        plugins = tuple(path.resolve() for path in plugin or ())
        how = ReplicationOptions(
            results=results,
            work=work or WORK,
            jobs=jobs,
            threads=threads,
            quiet=quiet,
            dry_run=dry_run,
            shard=shard,
            plugins=plugins,
            n_folds=folds,
            backbones=tuple(name.strip() for name in backbones.split(",")) if backbones else (),
        )
        return run_again(names[0], how)
    if dry_run or shard or plugin or backbones or folds is not None:
        raise PlanError("--dry-run, --shard, --folds, --backbones and --plugin go with --replicate")
    options = commands.BoardOptions(results_folder(results), work or WORK, jobs, threads)
    if about is not None:
        return commands.show(names or (), options, about)
    if verify:
        return commands.verify(names or (), options, trust, as_json)
    if overall:
        return commands.overall(options)
    return commands.make(names or (), options, tables_only=tables_only, quiet=quiet)
