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
    "  pepbench run --methods pep:granularity=feature,full --dry-run"
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
    device: Annotated[str | None, typer.Option(help="cpu or cuda.")] = None,
    precision: Annotated[
        str | None, typer.Option(help="float32, or bfloat16 for mixed precision on CUDA.")
    ] = None,
    jobs: Annotated[
        int | None, typer.Option(min=1, help="Worker processes. Default: the cores at hand.")
    ] = None,
    threads: Annotated[int, typer.Option(min=1, help="Torch threads of each worker.")] = 1,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of the results. Default: one for each plan, under ./runs"),
    ] = None,
    plugin: Plugins = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print the cells and an estimate of the time.")
    ] = False,
    as_json: AsJson = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="A line for each trial.")
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
        "seeds": seeds,
        "dim": dim,
        "epochs": epochs,
        "patience": patience,
        "batch_size": batch_size,
        "split_seed": split_seed,
        "seed": seed,
        "device": device,
        "optimizer": optimizer,
        "precision": precision,
    }
    overrides.update({name: value for name, value in numbers.items() if value is not None})
    plan = Plan.load(plan_file, overrides)
    plugins = tuple(plugin or ())
    spelt_out = Catalog(plugins).ungrouped("method", plan.methods)
    plan = plan.model_copy(update={"methods": spelt_out})

    from pepbench import workflow

    where = workflow.Where(
        folder=out or workflow.default_folder(plan),
        jobs=jobs or len(os.sched_getaffinity(0)),
        threads=threads,
        plugins=plugins,
    )
    if dry_run:
        return workflow.dry_run(plan, where, as_json)
    command = shlex.join(["pepbench", *sys.argv[1:]])
    return workflow.run(plan, where, as_json=as_json, quiet=quiet, verbose=verbose, command=command)


@app.command(
    epilog="Examples:\n\n"
    "  pepbench report runs/synthetic-1a2b3c4d\n\n"
    "  pepbench report runs/synthetic-1a2b3c4d --format csv > leaderboard.csv"
)
def report(
    folder: Annotated[Path, typer.Argument(help="The folder of a run.")],
    form: Annotated[
        Literal["terminal", "markdown", "csv"],
        typer.Option("--format", help="What to print; the files are written in any case."),
    ] = "terminal",
    as_json: AsJson = False,
) -> int:
    """Regenerate tables and charts from a run's records."""
    from pepbench import workflow

    return workflow.report(folder, "json" if as_json else form)


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
