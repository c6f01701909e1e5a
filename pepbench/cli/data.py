"""``pepbench data``: add, fetch, describe, export, list and verify data sets."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pepbench.cli.program import AsJson, Plugins, app, console
from pepbench.errors import EXIT_FAILED
from pepbench.printing import print_json
from pepbench.records import MOST_FOLDS

if TYPE_CHECKING:
    from pepbench.data.dataset import Dataset

data_app = typer.Typer(
    help="Add, fetch, describe, export and verify data sets.",
    no_args_is_help=True,
    rich_markup_mode=None,
)
app.add_typer(data_app, name="data")


@data_app.command(
    "add",
    epilog="Examples:\n\n"
    "  pepbench data add ml-100k --from ~/data/ml-100k\n\n"
    "  pepbench data add criteo --from train.txt --rows 1M\n\n"
    "  pepbench data add synthetic:rows=200000\n\n"
    "  pepbench data add mine --from a.parquet --label clicked --fields user,item\n\n"
    "  pepbench data add mine --from a.parquet --label clicked --split-by time\n\n"
    "  pepbench data add mine --from clicks.toml",
)
def data_add(
    name: Annotated[
        str,
        typer.Argument(help="A name from: pepbench list datasets; or a new one for your file."),
    ],
    source: Annotated[
        Path | None,
        typer.Option("--from", help="Folder of the raw files; or your own file or description."),
    ] = None,
    rows: Annotated[
        str | None, typer.Option(help="Number of rows to take at random, such as 1M; default: all.")
    ] = None,
    label: Annotated[str | None, typer.Option(help="Own file: column of the labels.")] = None,
    positive: Annotated[
        str | None, typer.Option(help="Own file: the label that counts as 1; default: 1 or true.")
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
    multi: Annotated[
        str | None,
        typer.Option(
            help="Own file: columns of several values a row, with their separator, such as "
            "'genres:|,tags:;'; just the name for a column of lists."
        ),
    ] = None,
    pool: Annotated[
        str | None,
        typer.Option(
            help="Own file: how the vectors of several values become one: mean (default), sum or "
            "sqrtn, such as genres:sum."
        ),
    ] = None,
    max_values: Annotated[
        int | None,
        typer.Option(help="Own file: most values of a row that are kept; default: 8."),
    ] = None,
    dense: Annotated[
        str | None,
        typer.Option(
            help="Own file: columns of numbers that backbones read as they are, standardised, or "
            "by log1p, such as age,price:log1p."
        ),
    ] = None,
    bins: Annotated[
        int | None, typer.Option(help="Own file: bins of each column of numbers; default: 32.")
    ] = None,
    min_count: Annotated[
        int | None, typer.Option(help="Own file: fewest training rows of a category; default: 1.")
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
        typer.Option(help="Own file: random, time, user or file; with a column: time:sold_at."),
    ] = None,
    missing: Annotated[
        str | None,
        typer.Option(help=r"Own file: words that stand for a missing value, such as NA,NULL,\N."),
    ] = None,
    form: Annotated[
        str | None,
        typer.Option("--format", help="Own file: csv, tsv, parquet or libfm; default: by suffix."),
    ] = None,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Read a data set's raw files, encode them and store them in the cache."""
    from pepbench.catalog import Catalog
    from pepbench.data.adding import add_named, own_options
    from pepbench.data.describe import describe
    from pepbench.report.cards import description

    catalog = Catalog(tuple(plugin or ()))
    options = own_options(
        label=label,
        positive=positive,
        fields=fields,
        numeric=numeric,
        log=log,
        multi=multi,
        pool=pool,
        max_values=max_values,
        dense=dense,
        bins=bins,
        min_count=min_count,
        top=top,
        hash=hashes,
        split_by=split_by,
        missing=missing,
        format=form,
    )
    dataset = add_named(catalog, name, source, rows, options)
    facts = describe(dataset)
    if as_json:
        print_json(facts)
    else:
        console().print(description(facts))


@data_app.command(
    "fetch",
    epilog="Examples:\n\n"
    "  pepbench data fetch ml-100k\n\n"
    "  pepbench data fetch ml-1m-ids --url https://mirror.example/movielens/",
)
def data_fetch(
    name: Annotated[str, typer.Argument(help="A name from: pepbench list datasets.")],
    url: Annotated[
        list[str] | None,
        typer.Option(help="A mirror: address of the file, or of its folder, ending in /."),
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Download a data set's raw files, verify them, and add it; shows its licence first."""
    from pepbench.catalog import Catalog
    from pepbench.data.adding import add_named
    from pepbench.data.fetch import fetch

    dataset = _dataset(name, plugin)
    print(f"{dataset.title}. Licence: {dataset.licence}\nCite: {dataset.citation}", flush=True)
    folder = fetch(dataset, tuple(url or ()))
    add_named(Catalog(tuple(plugin or ())), name, folder, None, {})
    print(f"added {dataset.spec} from {folder}")


@data_app.command("info", epilog="Example:\n\n  pepbench data info anime --json")
def data_info(
    name: Annotated[str, typer.Argument(help="A data set that was added.")],
    split_seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    folds: Annotated[
        int, typer.Option(min=1, max=MOST_FOLDS, help="Describe each of so many folds, too.")
    ] = 1,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Describe a data set: rows, fields, how uneven features are, splits, licence, citation."""
    from pepbench.data.describe import chart, describe, describe_folds, frequency_curve
    from pepbench.report.cards import description

    dataset = _dataset(name, plugin)
    facts = describe(dataset, split_seed)
    points = frequency_curve(dataset, split_seed)
    if folds > 1:
        facts["folds"] = describe_folds(dataset, split_seed, folds)
    if as_json:
        print_json(facts | {"frequency_curve": points})
        return
    console().print(description(facts))
    most, least = points[0][1], points[-1][1]
    print(f"\nfrequency by rank, both logarithmic: {most:,} {chart(points)} {least:,}")


@data_app.command("export", epilog="Example:\n\n  pepbench data export anime anime.parquet")
def data_export(
    name: Annotated[str, typer.Argument(help="A data set that was added.")],
    out: Annotated[Path, typer.Argument(help="The Parquet file to write.")],
    split_seed: Annotated[int, typer.Option(help="Seed of the split.")] = 0,
    fold: Annotated[
        str | None, typer.Option(help="Parts of a fold: 3/10 is the third of ten.")
    ] = None,
    plugin: Plugins = None,
) -> None:
    """Write a data set's rows to a Parquet file, with row numbers, labels and splits."""
    from pepbench.data.exporting import export
    from pepbench.data.manage import open_table
    from pepbench.data.split_schemes import Fold
    from pepbench.data.splits import open_splits
    from pepbench.units import parse_part

    number, of = parse_part(fold or "1/1")
    table = open_table(_dataset(name, plugin))
    n_rows = export(open_splits(table, split_seed, Fold(number - 1, of)), out)
    print(f"{out}: {n_rows:,} rows")


@data_app.command("list", epilog="Example:\n\n  pepbench data list")
def data_list(plugin: Plugins = None, as_json: AsJson = False) -> None:
    """List all data sets, and whether they are in the cache."""
    from pepbench.catalog import Catalog
    from pepbench.data.file_description import saved_names
    from pepbench.data.manage import is_added
    from pepbench.errors import DataError
    from pepbench.report.cards import dataset_table

    catalog = Catalog(tuple(plugin or ()))
    rows = []
    for name in [*catalog.entries("dataset"), *saved_names()]:
        dataset = _dataset(name, plugin)
        try:
            state = (
                "built in" if dataset.generated else "added" if is_added(dataset) else "not added"
            )
        except DataError as error:
            print(f"pepbench: {error}", file=sys.stderr)
            state = "damaged"
        rows.append(
            {"name": name, "title": dataset.title, "state": state, "licence": dataset.licence}
        )
    if as_json:
        print_json(rows)
    else:
        console().print(dataset_table(rows))


@data_app.command("verify", epilog="Example:\n\n  pepbench data verify ml-100k")
def data_verify(
    name: Annotated[str, typer.Argument(help="A data set that was added.")],
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> int:
    """Recompute the checksums of a data set in the cache; exit code 1 if one differs."""
    from pepbench.data.manage import verify

    problems = verify(_dataset(name, plugin))
    if as_json:
        print_json({"name": name, "problems": problems})
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
