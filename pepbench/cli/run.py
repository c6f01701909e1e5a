"""``pepbench run`` and ``pepbench status``. Long because each option is here with its help."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from pepbench.cli.program import AsJson, Jobs, Margin, Plugins, Quiet, Threads, app
from pepbench.cores import usable_cores
from pepbench.errors import PlanError

if TYPE_CHECKING:
    from pepbench.plan import Plan


@app.command(
    epilog="Examples:\n\n"
    "  pepbench run\n\n"
    "  pepbench run --methods pep,magnitude --datasets ml-100k --budgets 50%,10%\n\n"
    "  pepbench run results/ml-100k-ids/plan.toml --out runs/ml-100k-ids\n\n"
    "  pepbench run --methods pep:granularity=feature,full --dry-run\n\n"
    "  pepbench run --datasets ml-100k --folds 10 --budgets 20%,5% --shard 1/2\n\n"
    "  pepbench run --tuning-time 10m --sampler random --pruner median --batch 4\n\n"
    "  pepbench run plan.toml --executor dask://head:8786 --trial-timeout 30m\n\n"
    "  pepbench run plan.toml --shard 2/8 --out /shared/runs/plan\n\n"
    "  pepbench run --against ml-1m-ids --plugin mine.py --budgets 5%"
)
def run(
    plan_file: Annotated[
        Path | None, typer.Argument(metavar="[PLAN.toml]", help="A plan; flags override it.")
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated names, families or all; name:option=value fixes an option, "
            "name+int8 rounds the result, mine=name gives it another name. See: list methods. "
            "Default: pep,magnitude,uniform,full."
        ),
    ] = None,
    datasets: Annotated[
        str | None, typer.Option(help="Comma-separated. See: list datasets. Default: synthetic.")
    ] = None,
    backbones: Annotated[
        str | None, typer.Option(help="Comma-separated. See: list backbones. Default: fm.")
    ] = None,
    budgets: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated: 5% of the full table, 50k parameters, or 2MB. Default: 50%,10%."
        ),
    ] = None,
    trials: Annotated[
        int | None, typer.Option(help="Tuning trials of each cell. Default: 5.")
    ] = None,
    tuning_time: Annotated[
        str | None,
        typer.Option(
            help="Instead of --trials: CPU time of each cell's tuning, such as 10m; a number alone "
            "is seconds."
        ),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(
            help="How later trials are chosen: tpe (default), random, gp, halton or grid."
        ),
    ] = None,
    batch: Annotated[
        int | None,
        typer.Option(help="Trials of a cell that are chosen, and may run, at once. Default: 1."),
    ] = None,
    objective: Annotated[
        str | None,
        typer.Option(help="Validation figure to tune by: auc (default), logloss or gauc."),
    ] = None,
    pruner: Annotated[
        str | None,
        typer.Option(help="When trials are stopped early: none (default), median or halving."),
    ] = None,
    warm_start: Annotated[
        bool | None,
        typer.Option(
            "--warm-start/--no-warm-start",
            help="Try the best trial of the next larger budget second. Default: no.",
            show_default=False,
        ),
    ] = None,
    tune_learning_rate: Annotated[
        str | None,
        typer.Option(help="Lowest and highest learning rate to tune over. Default: 3e-4,1e-2."),
    ] = None,
    tune_l2: Annotated[
        str | None, typer.Option(help="Lowest and highest L2 to tune over. Default: 1e-7,1e-3.")
    ] = None,
    tune_batch_size: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated batch sizes to tune over, --batch-size among them. "
            "Default: it is fixed."
        ),
    ] = None,
    tune_backbone: Annotated[
        bool | None,
        typer.Option(
            "--tune-backbone/--no-tune-backbone",
            help="Tune the backbone's options too. Default: no.",
            show_default=False,
        ),
    ] = None,
    finalists: Annotated[
        int | None,
        typer.Option(help="Best trials that get further seeds before one is chosen. Default: 3."),
    ] = None,
    finalist_seeds: Annotated[
        int | None, typer.Option(help="Further seeds of each finalist. Default: 2.")
    ] = None,
    seeds: Annotated[
        int | None,
        typer.Option(help="Final runs of each cell. Default: 5; 3 or 1 in each of several folds."),
    ] = None,
    folds: Annotated[
        int | None,
        typer.Option(
            help="Disjoint test parts, each tuned anew: verdicts hold over splits. "
            "Default: 1, a single split."
        ),
    ] = None,
    dim: Annotated[int | None, typer.Option(help="Width D of the full table. Default: 32.")] = None,
    epochs: Annotated[
        int | None, typer.Option(help="Most epochs of a training. Default: 60.")
    ] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many epochs without improvement. Default: 5.")
    ] = None,
    batch_size: Annotated[
        int | None, typer.Option(help="Rows of a training step. Default: 1024.")
    ] = None,
    only_folds: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated numbers of folds: run only these, at least two. Default: all."
        ),
    ] = None,
    split_seed: Annotated[int | None, typer.Option(help="Seed of the split. Default: 0.")] = None,
    seed: Annotated[
        int | None, typer.Option(help="Seed of tuning and final runs. Default: 0.")
    ] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(
            help="auto (default), adam or adagrad (dense), lazy-adam or row-adagrad (by the row)."
        ),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(
            help="cpu (default) or cuda; with cuda:0,1 workers take these devices in turn."
        ),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="float32 (default), or bfloat16 for mixed precision on CUDA.")
    ] = None,
    margin: Margin = None,
    jobs: Jobs = None,
    threads: Threads = 1,
    executor: Annotated[
        str | None,
        typer.Option(
            help="serial, processes, dask, dask://host:8786, ray or ray://host:10001. "
            "Default: processes; serial for one job without limits."
        ),
    ] = None,
    trial_timeout: Annotated[
        str | None,
        typer.Option(help="A trial that runs longer fails: 90s, 10m, 2h. Default: no limit."),
    ] = None,
    memory_limit: Annotated[
        str | None,
        typer.Option(
            help="A trial whose process holds more fails: 500MB, 4GB; torch alone takes "
            "0.3 GB. Default: no limit."
        ),
    ] = None,
    raw: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FOLDER of raw files, for workers that lack a data set."),
    ] = None,
    join: Annotated[
        bool, typer.Option("--join", help="Share the work of a run that uses the folder already.")
    ] = False,
    shard: Annotated[
        str | None, typer.Option(help="Work on a part of the cells: 2/8 is the second eighth.")
    ] = None,
    only_missing: Annotated[
        bool, typer.Option("--only-missing", help="Leave trials that failed as they are.")
    ] = False,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the results. Default: one for each plan, under ./runs"),
    ] = None,
    plugin: Plugins = None,
    against: Annotated[
        str | None,
        typer.Option(
            metavar="BOARD",
            help="Compare with a published board, or a run's folder, without running it again: "
            "plan and settings are the board's, --methods the only ones that are run.",
        ),
    ] = None,
    name: Annotated[
        str | None, typer.Option("--as", help="With --against: the method's name in tables.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the cells and an estimate of the time.")
    ] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Print how long what is missing will take.")
    ] = False,
    as_json: AsJson = False,
    quiet: Quiet = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Print a line for each trial on terminals, too.")
    ] = False,
) -> int:
    """Run what is missing of a plan, then report.

    Without methods, data sets or budgets: PEP, magnitude pruning and a narrower table against the
    full one on built-in data, in three folds, which takes minutes. The same command again continues
    where it was interrupted and redoes nothing.
    """
    from pepbench import run_command
    from pepbench.api import default_folder, resolve_plan
    from pepbench.harness.run_options import run_options

    for one, other, both in (
        ("--dry-run", "--estimate", dry_run and estimate),
        ("--quiet", "--verbose", quiet and verbose),
    ):
        if both:
            raise PlanError(f"{one} and {other} exclude each other; give one of them")
    keys: dict[str, Any] = {
        "methods": _names(methods),
        "datasets": _names(datasets),
        "backbones": _names(backbones),
        "budgets": _names(budgets),
        "trials": trials,
        "tuning_time": tuning_time,
        "sampler": sampler,
        "batch": batch,
        "objective": objective,
        "pruner": pruner,
        "warm_start": warm_start,
        "tune_learning_rate": _range("--tune-learning-rate", tune_learning_rate),
        "tune_l2": _range("--tune-l2", tune_l2),
        "tune_batch_size": _numbers("--tune-batch-size", tune_batch_size),
        "tune_backbone": tune_backbone,
        "seeds": seeds,
        "dim": dim,
        "epochs": epochs,
        "patience": patience,
        "batch_size": batch_size,
        "folds": folds,
        "only_folds": _numbers("--only-folds", only_folds),
        "finalists": finalists,
        "finalist_seeds": finalist_seeds,
        "split_seed": split_seed,
        "seed": seed,
        "device": device,
        "optimizer": optimizer,
        "precision": precision,
        "margin": margin,
    }
    keys = {name: value for name, value in keys.items() if value is not None}
    plugins = tuple(path.resolve() for path in plugin or ())
    plan: Plan | Path | None = plan_file
    beside: dict[str, Any] = {}
    if against is not None:
        from pepbench.leaderboards.against import against as run_against

        compared = run_against(against, plan_file, plugins, keys, name)
        compared.refuse_folder(out or default_folder(compared.plan))
        plan, keys, beside = compared.plan, {}, {"before_report": compared.write_beside}
    elif name is not None:
        raise PlanError("--as goes with --against; else write --methods NAME=METHOD")
    how: dict[str, Any] = {
        "jobs": jobs or usable_cores(),
        "threads": threads,
        "executor": executor,
        "trial_timeout": trial_timeout,
        "memory_limit": memory_limit,
        "raw": _named_folders(raw),
        "join": join,
        "shard": shard,
        "retry_failed": not only_missing,
    }
    if dry_run or estimate:
        resolved, _ = resolve_plan(plan, plugins, keys)
        folder = out or default_folder(resolved)
        show = run_command.dry_run if dry_run else run_command.print_estimate
        return show(resolved, folder, run_options(folder, plugins, **how), as_json)
    return run_command.run_and_report(
        plan,
        out,
        **beside,
        command=shlex.join(["pepbench", *sys.argv[1:]]),
        as_json=as_json,
        quiet=quiet,
        verbose=verbose,
        plugins=plugins,
        **how,
        **keys,
    )


def _names(text: str | None) -> tuple[str, ...] | None:
    return None if text is None else tuple(p.strip() for p in text.split(",") if p.strip())


def _named_folders(texts: list[str] | None) -> dict[str, str]:
    named = {}
    for text in texts or ():
        name, _, folder = text.partition("=")
        if not name or not folder:
            raise PlanError(f"--raw: {text!r} is not NAME=FOLDER; write ml-100k=/shared/ml-100k")
        named[name] = folder
    return named


def _numbers(option: str, text: str | None) -> tuple[int, ...] | None:
    try:
        return None if text is None else tuple(int(p) for p in text.split(",") if p.strip())
    except ValueError:
        raise PlanError(f"{option}: {text!r} is no list of whole numbers, such as 1,2") from None


def _range(option: str, text: str | None) -> tuple[float, float] | None:
    if text is None:
        return None
    try:
        low, high = map(float, text.split(","))
    except ValueError:
        raise PlanError(f"{option}: {text!r} is no range, such as 3e-4,1e-2") from None
    return low, high


@app.command(
    epilog="Examples:\n\n"
    "  pepbench status runs/synthetic-1a2b3c4d\n\n"
    "  pepbench status runs/synthetic-1a2b3c4d --watch\n\n"
    "  pepbench status runs/synthetic-1a2b3c4d --json"
)
def status(
    folder: Annotated[Path, typer.Argument(help="The folder of a run.")],
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Update every second until the run ends.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Show the state of a run, from another terminal or afterwards."""
    from pepbench import run_command

    return run_command.status(folder, as_json, watch)
