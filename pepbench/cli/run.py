"""``pepbench run`` and ``pepbench status``."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from pepbench.cli.program import AsJson, Margin, Plugins, app
from pepbench.errors import PlanError

Number = TypeVar("Number", int, float)


@app.command(
    epilog="Examples:\n\n"
    "  pepbench run\n\n"
    "  pepbench run --methods pep,mde,full --datasets ml-100k --budgets 50%,10% --jobs 2\n\n"
    "  pepbench run results/ml-100k/plan.toml --out runs/ml-100k\n\n"
    "  pepbench run --methods pep:granularity=feature,full --dry-run\n\n"
    "  pepbench run --tuning-time 10m --sampler random --pruner median --batch 4\n\n"
    "  pepbench run plan.toml --executor dask://head:8786 --trial-timeout 30m\n\n"
    "  pepbench run plan.toml --shard 2/8 --out /shared/runs/plan"
)
def run(
    plan_file: Annotated[
        Path | None, typer.Argument(metavar="[PLAN.toml]", help="A plan; flags override it.")
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            help="Comma-separated names, families or all; name:option=value fixes an option, "
            "name+int8 rounds the result. See: list methods"
        ),
    ] = None,
    datasets: Annotated[
        str | None, typer.Option(help="Comma-separated. See: list datasets")
    ] = None,
    backbones: Annotated[
        str | None, typer.Option(help="Comma-separated. See: list backbones")
    ] = None,
    budgets: Annotated[
        str | None,
        typer.Option(help="Comma-separated: 5% of the full table, 50k parameters, or 2MB."),
    ] = None,
    trials: Annotated[int | None, typer.Option(help="Tuning trials of each cell.")] = None,
    tuning_time: Annotated[
        str | None,
        typer.Option(help="Instead of --trials: CPU time of each cell's tuning, such as 10m."),
    ] = None,
    sampler: Annotated[
        str | None,
        typer.Option(help="Who chooses trials after the default: tpe, random, gp, halton or grid."),
    ] = None,
    batch: Annotated[
        int | None, typer.Option(help="Trials of a cell asked for at once, to run side by side.")
    ] = None,
    pruner: Annotated[
        str | None, typer.Option(help="Who stops tuning trials early: none, median or halving.")
    ] = None,
    warm_start: Annotated[
        bool | None,
        typer.Option(
            "--warm-start/--no-warm-start",
            help="Second trial of a cell: the best of the next larger budget.",
            show_default=False,
        ),
    ] = None,
    tune_batch_size: Annotated[
        str | None,
        typer.Option(help="Comma-separated batch sizes to tune over, --batch-size among them."),
    ] = None,
    tune_backbone: Annotated[
        bool | None,
        typer.Option(
            "--tune-backbone/--no-tune-backbone",
            help="Tune the backbone's options too.",
            show_default=False,
        ),
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="Final runs of each cell.")] = None,
    dim: Annotated[int | None, typer.Option(help="Width D of the full table.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Most epochs of a training.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many epochs without improvement.")
    ] = None,
    batch_size: Annotated[int | None, typer.Option(help="Rows of a training step.")] = None,
    split_seed: Annotated[int | None, typer.Option(help="Seed of the 80/10/10 split.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of tuning and final runs.")] = None,
    optimizer: Annotated[
        str | None,
        typer.Option(help="auto, adam or adagrad (dense), lazy-adam or row-adagrad (by the row)."),
    ] = None,
    device: Annotated[
        str | None,
        typer.Option(help="cpu or cuda; cuda:0,1 deals these devices to the workers in turn."),
    ] = None,
    precision: Annotated[
        str | None, typer.Option(help="float32, or bfloat16 for mixed precision on CUDA.")
    ] = None,
    margin: Margin = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Worker processes. Default: the cores at hand.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Torch threads of each worker.")] = 1,
    executor: Annotated[
        str | None,
        typer.Option(
            help="serial, processes, dask, dask://host:8786, ray or ray://host:10001. "
            "Default: processes; serial for one job without limits."
        ),
    ] = None,
    trial_timeout: Annotated[
        str | None, typer.Option(help="A trial that runs longer fails: 90s, 10m, 2h.")
    ] = None,
    memory_limit: Annotated[
        str | None,
        typer.Option(help="A trial whose process holds more fails: 500MB, 4GB; torch takes 0.3."),
    ] = None,
    raw: Annotated[
        list[str] | None,
        typer.Option(help="NAME=FOLDER of raw files, for workers that lack a data set."),
    ] = None,
    join: Annotated[
        bool, typer.Option("--join", help="Share the work of a run that holds the folder.")
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
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the cells and an estimate of the time.")
    ] = False,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="Print how long what is missing will take.")
    ] = False,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="On a terminal too, a line for each trial.")
    ] = False,
) -> int:
    """Run what is missing of a plan, then report.

    Without arguments: pep, mde and uniform against the full table on the built-in data, in
    minutes. The same command again continues where it was interrupted and redoes nothing.
    """
    from pepbench.catalog import Catalog
    from pepbench.plan import Plan

    lists = {"methods": methods, "datasets": datasets, "backbones": backbones, "budgets": budgets}
    overrides: dict[str, Any] = {
        name: tuple(part.strip() for part in text.split(",") if part.strip())
        for name, text in lists.items()
        if text is not None
    }
    numbers = {
        "trials": trials,
        "tuning_time": tuning_time,
        "sampler": sampler,
        "batch": batch,
        "pruner": pruner,
        "warm_start": warm_start,
        "tune_batch_size": None if tune_batch_size is None else _sizes(tune_batch_size),
        "tune_backbone": tune_backbone,
        "seeds": seeds,
        "dim": dim,
        "epochs": epochs,
        "patience": patience,
        "batch_size": batch_size,
        "split_seed": split_seed,
        "seed": seed,
        "device": None if device is None else device.partition(":")[0] if "," in device else device,
        "optimizer": optimizer,
        "precision": precision,
        "margin": margin,
    }
    overrides.update({name: value for name, value in numbers.items() if value is not None})
    plan = Plan.load(plan_file, overrides)
    plugins = tuple(plugin or ())
    spelt_out = Catalog(plugins).ungrouped("method", plan.methods)
    plan = plan.model_copy(update={"methods": spelt_out})

    began = time.perf_counter()
    from pepbench import workflow

    start_seconds = time.perf_counter() - began
    from pepbench.harness.environment import cuda_devices
    from pepbench.harness.executors import Limits, Settings
    from pepbench.harness.run_folder import Shard
    from pepbench.harness.time_estimate import START_SECONDS
    from pepbench.units import parse_bytes, parse_seconds

    settings = Settings(
        jobs=jobs or len(os.sched_getaffinity(0)),
        threads=threads,
        limits=Limits(
            _read("--trial-timeout", parse_seconds, trial_timeout),
            _read("--memory-limit", parse_bytes, memory_limit),
        ),
        cuda=cuda_devices(device or plan.device),
        raw=_named_folders(raw),
    )
    where = workflow.Where(
        folder=out or workflow.default_folder(plan),
        settings=settings,
        plugins=tuple(path.resolve() for path in plugins),
        executor=executor,
        join=join,
        shard=None if shard is None else Shard.parse(shard),
        only_missing=only_missing,
        # Tests, for one, have imported it before.
        start_seconds=start_seconds if start_seconds > 0.1 else START_SECONDS,
    )
    if dry_run:
        return workflow.dry_run(plan, where, as_json)
    if estimate:
        return workflow.print_estimate(plan, where, as_json)
    command = shlex.join(["pepbench", *sys.argv[1:]])
    return workflow.run(plan, where, as_json=as_json, quiet=quiet, verbose=verbose, command=command)


def _read(option: str, parse: Callable[[str], Number], text: str | None) -> Number | None:
    try:
        return None if text is None else parse(text)
    except PlanError as error:
        raise PlanError(f"{option}: {error}") from None


def _named_folders(texts: list[str] | None) -> dict[str, str]:
    named = {}
    for text in texts or ():
        name, _, folder = text.partition("=")
        if not name or not folder:
            raise PlanError(f"--raw: {text!r} is not NAME=FOLDER; write ml-100k=/shared/ml-100k")
        named[name] = str(Path(folder).resolve())
    return named


def _sizes(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise PlanError(
            f"--tune-batch-size: {text!r} is no list of whole numbers; write, say, 512,1024"
        ) from None


@app.command(
    epilog="Examples:\n\n"
    "  pepbench status runs/synthetic-1a2b3c4d\n\n"
    "  pepbench status runs/synthetic-1a2b3c4d --watch\n\n"
    "  pepbench status runs/synthetic-1a2b3c4d --json"
)
def status(
    folder: Annotated[Path, typer.Argument(help="The folder of a run.")],
    watch: Annotated[
        bool, typer.Option("--watch", "-w", help="Look again every second until the run ends.")
    ] = False,
    as_json: AsJson = False,
) -> int:
    """Say where a run stands: for another terminal, while it goes on or afterwards."""
    from pepbench import workflow

    return workflow.status(folder, as_json, watch)
