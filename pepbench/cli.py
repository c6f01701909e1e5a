"""The command line: parse, call, print.

Each command imports what it needs when it runs, so that help and completion stay quick.
"""

from __future__ import annotations

import json
import os
import shlex
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

import typer

import pepbench
from pepbench.errors import PepbenchError, PlanError

if TYPE_CHECKING:
    from pepbench.data.dataset import Dataset

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_INTERRUPTED = 130

app = typer.Typer(
    name="pepbench",
    help="How few parameters can a recommender's embedding table have before its predictions get "
    "worse, and which method gets it there?\n\n"
    "Start with: pepbench run",
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
data_app = typer.Typer(
    help="Data sets: add, describe, verify.", no_args_is_help=True, rich_markup_mode=None
)
app.add_typer(data_app, name="data")

AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]
Plugins = Annotated[
    list[Path] | None,
    typer.Option("--plugin", help="A Python file that defines further components; repeatable."),
]


def main() -> NoReturn:
    """Run a command; every error that the user can mend becomes one line and exit code 2."""
    # Batch systems end jobs by SIGTERM: the same as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except PepbenchError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader of a pipe has gone, as with `pepbench list methods | head -1`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)
    except OSError as error:
        # Such as a full disk, or a file that may not be read.
        _fail(f"{error.filename or 'input or output'}: {error.strerror or error}")
    except Exception as error:
        # Typer carries its own copy of click, so usage errors are known by what they can do.
        if not hasattr(error, "format_message"):
            raise
        message = str(error.format_message()).replace("Value error, ", "")
        if message:
            _fail(message)
        sys.exit(EXIT_USAGE)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> NoReturn:
    print(f"pepbench: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(EXIT_USAGE)


def _print_version(wanted: bool) -> None:
    if wanted:
        print(f"pepbench {pepbench.__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_print_version, is_eager=True, help="Print version."),
    ] = False,
) -> None:
    pass


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
        typer.Option(help="Who chooses trials after the default: tpe, random, gp or grid."),
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
    }
    overrides.update({name: value for name, value in numbers.items() if value is not None})
    plan = Plan.load(plan_file, overrides)
    plugins = tuple(plugin or ())
    spelt_out = Catalog(plugins).ungrouped("method", plan.methods)
    plan = plan.model_copy(update={"methods": spelt_out})

    from pepbench import workflow
    from pepbench.harness.environment import cuda_devices
    from pepbench.harness.executors import Limits, Settings
    from pepbench.harness.folder import Shard
    from pepbench.harness.units import parse_bytes, parse_seconds

    settings = Settings(
        jobs=jobs or len(os.sched_getaffinity(0)),
        threads=threads,
        limits=Limits(
            None if trial_timeout is None else parse_seconds(trial_timeout, "--trial-timeout"),
            None if memory_limit is None else parse_bytes(memory_limit, "--memory-limit"),
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
    )
    if dry_run:
        return workflow.dry_run(plan, where, as_json)
    if estimate:
        return workflow.print_estimate(plan, where, as_json)
    command = shlex.join(["pepbench", *sys.argv[1:]])
    return workflow.run(plan, where, as_json=as_json, quiet=quiet, verbose=verbose, command=command)


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
        _fail(f"--tune-batch-size: {text!r} is no list of whole numbers; write, say, 512,1024")


@app.command(
    epilog="Examples:\n\n"
    "  pepbench report runs/synthetic-1a2b3c4d --open\n\n"
    "  pepbench report runs/synthetic-1a2b3c4d --format csv > leaderboard.csv\n\n"
    "  pepbench report runs/synthetic-1a2b3c4d --tuning\n\n"
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
    as_json: AsJson = False,
) -> int:
    """Regenerate tables, charts and report.html from the records of one or several runs."""
    from pepbench.errors import PlanError
    from pepbench.report import command

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
    as_json: AsJson = False,
) -> int:
    """Print the comparison of two methods in full: seed by seed, intervals, p-values, verdict.

    Exit code 1 if a pair could not be compared.
    """
    from pepbench.report import command

    return command.compare(
        folders, (a, b), dataset=dataset, budget=budget, backbone=backbone, as_json=as_json
    )


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


@app.command(
    epilog="Examples:\n\n"
    "  pepbench export runs/synthetic-1a2b3c4d pep-table --method pep --budget 10%\n\n"
    "  pepbench export runs/synthetic-1a2b3c4d pep-model --method pep --budget 10% --onnx\n\n"
    "Then, with numpy and safetensors only:\n\n"
    "  python -c \"import pepbench.serve as s; print(s.load('pep-table').field_names)\""
)
def export(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The new folder to write.")],
    method: Annotated[
        str | None, typer.Option(help="As in the leaderboard; so are the others.")
    ] = None,
    budget: Annotated[str | None, typer.Option(help="Such as 10%.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Needed where the run has several.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Needed where the run has several.")] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="One of the final runs. Default: the best validation AUC."),
    ] = None,
    onnx: Annotated[
        bool, typer.Option("--onnx", help="The backbone too, as model.onnx; needs pepbench[onnx].")
    ] = False,
    allow_different: Annotated[
        bool,
        typer.Option(
            "--allow-different", help="Even if the run now predicts differently than recorded."
        ),
    ] = False,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Write a run's trained table to a folder, ready to be served without torch.

    The run is trained again from its record, which takes as long as it did, and its predictions
    are compared with the recorded ones.
    """
    from pepbench.export.choice import Wanted
    from pepbench.export.command import How, export_run

    wanted = Wanted(dataset, backbone, method, budget, seed)
    how = How(tuple(plugin or ()), onnx, allow_different)
    said = export_run(folder, out, wanted, how, lambda text: print(text, file=sys.stderr))
    if as_json:
        _print_json(said)
        return
    counts = said["counts"]
    same = "as recorded" if said["predictions_as_recorded"] else "not as recorded"
    print(
        f"{out}: {counts['parameters']:,} of {counts['full_parameters']:,} parameters in "
        f"{counts['bytes']:,} bytes; predictions are {same}, served vectors within "
        f"{said['vector_difference']:.0e} of the trained ones"
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
    from pepbench.leaderboards import command
    from pepbench.leaderboards.boards import results_folder

    if verify + overall + tables_only > 1 or (overall and names):
        raise PlanError(
            "--verify, --overall and --tables-only exclude each other, and --overall takes no NAME"
        )
    places = command.Places(
        results_folder(results), work, jobs or len(os.sched_getaffinity(0)), threads
    )
    if verify:
        return command.verify(names or (), places)
    if overall:
        return command.overall(places)
    return command.make(names or (), places, tables_only=tables_only, quiet=quiet)


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
    from pepbench.report.cards import entry_table

    catalog, kind = Catalog(tuple(plugin or ())), kind_of_plural(what)
    entries = list(catalog.entries(kind).values())
    if cards:
        from pepbench.report.pages import cards_page

        print(cards_page(what, [catalog.load(kind, entry.name) for entry in entries]), end="")
    elif as_json:
        _print_json([vars(entry) for entry in entries])
    else:
        _console().print(entry_table(entries))


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
        _print_json(card_json(component))
    else:
        _console().print(card(component))


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
    from pepbench.contract.command import check_methods

    return check_methods(file, tuple(method or ()), as_json)


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
    from pepbench.check import command
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
        jobs=jobs or len(os.sched_getaffinity(0)),
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


@data_app.command(
    "add",
    epilog="Examples:\n\n"
    "  pepbench data add ml-100k --from ~/data/ml-100k\n\n"
    "  pepbench data add criteo --from train.txt --rows 1M\n\n"
    "  pepbench data add synthetic:rows=200000\n\n"
    "  pepbench data add mine --from clicks.parquet --label clicked --fields user,item,city "
    "--numeric price --split-by time\n\n"
    "  pepbench data add mine --from clicks.toml",
)
def data_add(
    name: Annotated[
        str,
        typer.Argument(help="As listed by: pepbench list datasets; or a new one for your own file"),
    ],
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Folder of the raw files; or your own file or description."),
    ] = None,
    rows: Annotated[
        str | None, typer.Option(help="Take so many rows at random, such as 1M; default: all.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Own file: column of the labels.")] = None,
    positive: Annotated[
        str | None, typer.Option(help="Own file: the label that counts as 1, if not 1 or true.")
    ] = None,
    fields: Annotated[
        str | None, typer.Option(help="Own file: columns of categories; default: all others.")
    ] = None,
    numeric: Annotated[
        str | None, typer.Option(help="Own file: columns of numbers to cut into bins.")
    ] = None,
    log: Annotated[
        str | None, typer.Option(help="Own file: columns of counts to bucket by ⌊(ln v)²⌋.")
    ] = None,
    bins: Annotated[int | None, typer.Option(help="Own file: bins of each number; 32.")] = None,
    min_count: Annotated[
        int | None, typer.Option(help="Own file: fewest training rows of a category; 1.")
    ] = None,
    top: Annotated[
        int | None, typer.Option(help="Own file: most categories of a field; default: all.")
    ] = None,
    hashes: Annotated[
        str | None,
        typer.Option("--hash", help="Own file: columns to hash, such as url=100000,query=50000."),
    ] = None,
    split_by: Annotated[
        str | None,
        typer.Option(help="Own file: random, time, user or file, and the column: time:sold_at."),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", help="Own file: csv, tsv, parquet or libfm; default: by name."),
    ] = None,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Read a data set's raw files, encode them and keep them in the cache."""
    from pepbench.catalog import Catalog
    from pepbench.data import command
    from pepbench.data.manage import describe
    from pepbench.report.cards import description

    catalog = Catalog(tuple(plugin or ()))
    options = command.own_options(
        label=label,
        positive=positive,
        fields=fields,
        numeric=numeric,
        log=log,
        bins=bins,
        min_count=min_count,
        top=top,
        hash=hashes,
        split_by=split_by,
        format=form,
    )
    dataset = command.add_named(catalog, name, source, rows, options)
    facts = describe(dataset)
    if as_json:
        _print_json(facts)
    else:
        _console().print(description(facts))


@data_app.command(
    "fetch",
    epilog="Examples:\n\n"
    "  pepbench data fetch ml-100k\n\n"
    "  pepbench data fetch ml-1m-ids --url https://mirror.example/movielens/",
)
def data_fetch(
    name: Annotated[str, typer.Argument(help="As listed by: pepbench list datasets")],
    url: Annotated[
        list[str] | None,
        typer.Option(help="A mirror: address of the file, or of its folder with / at the end."),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Download a data set's raw files, check them, and add it. Its licence is shown first."""
    from pepbench.catalog import Catalog
    from pepbench.data import command
    from pepbench.data.fetch import fetch

    dataset = _dataset(name, plugin)
    print(f"{dataset.title}. Licence: {dataset.licence}\nCite: {dataset.citation}", flush=True)
    folder = fetch(dataset, tuple(url or ()))
    command.add_named(Catalog(tuple(plugin or ())), name, folder, None, {})
    print(f"added {dataset.spec} from {folder}")


@data_app.command("info", epilog="Example:\n\n  pepbench data info anime --json")
def data_info(
    name: Annotated[str, typer.Argument(help="A data set that was added.")],
    split_seed: Annotated[int, typer.Option(help="Seed of the 80/10/10 split.")] = 0,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Describe a data set: rows, fields, how uneven features are, splits, licence, citation."""
    from pepbench.data.manage import describe, frequency_curve
    from pepbench.data.statistics import chart
    from pepbench.report.cards import description

    dataset = _dataset(name, plugin)
    facts = describe(dataset, split_seed)
    points = frequency_curve(dataset, split_seed)
    if as_json:
        _print_json(facts | {"frequency_curve": points})
        return
    _console().print(description(facts))
    most, least = points[0][1], points[-1][1]
    print(f"\nfrequency by rank, both logarithmic: {most:,} {chart(points)} {least:,}")


@data_app.command("export", epilog="Example:\n\n  pepbench data export anime anime.parquet")
def data_export(
    name: Annotated[str, typer.Argument(help="A data set that was added.")],
    out: Annotated[Path, typer.Argument(help="The Parquet file to write.")],
    split_seed: Annotated[int, typer.Option(help="Seed of the 80/10/10 split.")] = 0,
    plugin: Plugins = None,
) -> None:
    """Write a data set's rows with their row numbers, labels and splits to a Parquet file."""
    from pepbench.data.exporting import export
    from pepbench.data.manage import open_table
    from pepbench.data.splits import open_splits

    n_rows = export(open_splits(open_table(_dataset(name, plugin)), split_seed), out)
    print(f"{out}: {n_rows:,} rows")


@data_app.command("list", epilog="Example:\n\n  pepbench data list")
def data_list(plugin: Plugins = None, as_json: AsJson = False) -> None:
    """List all data sets, and which of them are in the cache."""
    from pepbench.catalog import Catalog
    from pepbench.data.description import kept_names
    from pepbench.data.manage import is_added
    from pepbench.report.cards import dataset_table

    catalog = Catalog(tuple(plugin or ()))
    rows = []
    for name in [*catalog.entries("dataset"), *kept_names()]:
        dataset = _dataset(name, plugin)
        state = "built in" if dataset.generated else "added" if is_added(dataset) else "not added"
        rows.append(
            {"name": name, "title": dataset.title, "state": state, "licence": dataset.licence}
        )
    if as_json:
        _print_json(rows)
    else:
        _console().print(dataset_table(rows))


@data_app.command("verify", epilog="Example:\n\n  pepbench data verify ml-100k")
def data_verify(
    name: Annotated[str, typer.Argument(help="A data set that was added.")],
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> int:
    """Recompute the checksums of a data set in the cache; exit code 1 if they differ."""
    from pepbench.data.manage import verify

    problems = verify(_dataset(name, plugin))
    if as_json:
        _print_json({"name": name, "problems": problems})
    elif problems:
        for problem in problems:
            print(f"{name}: {problem}")
        print(f"Add it again: pepbench data add {name} --from FOLDER")
    else:
        print(f"{name}: all checksums agree")
    return EXIT_FAILED if problems else 0


def _dataset(spec: str, plugins: list[Path] | None) -> Dataset:
    from typing import cast

    from pepbench.catalog import Catalog
    from pepbench.data.dataset import Dataset

    selection = Catalog(tuple(plugins or ())).select("dataset", spec)
    return cast(Dataset, selection.default())


def _console() -> Any:
    from rich.console import Console

    return Console()


def _print_json(document: object) -> None:
    print(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))


if __name__ == "__main__":
    main()
