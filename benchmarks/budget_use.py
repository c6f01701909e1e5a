"""Share of its budget that each method uses, on several data sets.

``python -m benchmarks.budget_use --write`` replaces the table in ``docs/accounting.md``; without
``--write`` it prints it. Methods whose shape is fixed before training are counted untrained, on all
``--datasets``. Searches are run on :data:`DRAWN` alone, at their defaults but for :data:`SHORT`;
what trains until a stop on validation AUC, before a search or after it, has one epoch.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from tabulate import tabulate

from benchmarks.studies import new_task, open_dataset
from pepbench.catalog import Catalog
from pepbench.component import Value
from pepbench.data.splits import Splits
from pepbench.errors import Infeasible
from pepbench.method import Embedding, Method, why_unused
from pepbench.plan import Plan

SHARES = (0.5, 0.2, 0.1, 0.05, 0.02, 0.01)
DRAWN = "synthetic:rows=6000:features=2000"
DATASETS = (
    DRAWN,
    "synthetic:rows=6000:features=400:fields=20",
    "ml-100k",
    "ml-100k-ids",
    "ml-1m",
    "ml-1m-ids",
    "anime",
    "ciao",
    "complete-journey",
    "epinions",
    "frappe-log",
)
SHORT: dict[str, dict[str, Value]] = {"pep": {"max_steps": 60, "init": -4.0}}
"""Options that cut a search short, by method."""
PAGE = Path(__file__).parents[1] / "docs" / "accounting.md"
BEGIN, END = "<!-- benchmarks.budget_use: begin -->", "<!-- benchmarks.budget_use: end -->"


@dataclass(frozen=True)
class Use:
    """How much of a budget a method uses on a data set."""

    share: float
    """Parameters over those allowed."""
    reason: str
    """Why it is not 90 %, if it is not."""


def use_of(method: Method, splits: Splits, dim: int, share: float, search: bool) -> Use | None:
    """What ``method`` uses of ``share`` of the full table.

    None if it is infeasible, or must be trained and ``search`` is false.
    """
    allowed = int(splits.fields.n_features * dim * share)
    try:
        embedding = _untrained(method, splits, dim, allowed)
        if embedding is not None:
            count, reason = embedding.n_parameters(), why_unused(embedding, allowed)
        elif search:
            plan = Plan(dim=dim, epochs=1, patience=1)
            fitted = method.fit(new_task(splits, plan, seed=0), allowed)
            count = fitted.model.embedding.n_parameters()
            reason = str(fitted.notes.get("unused_budget", ""))
        else:
            return None
    except Infeasible:
        return None
    return Use(count / allowed, reason)


def _untrained(method: Method, splits: Splits, dim: int, allowed: int) -> Embedding | None:
    """The embedding before training; None for a search."""
    if type(method).embedding is not Method.embedding:
        return method.embedding(splits.fields, dim, allowed)
    # Quantisers train a table of a form that is fixed beforehand.
    if hasattr(method, "training_table"):
        return cast(Embedding, method.training_table(splits.fields, dim, allowed))
    return None


def rows_of(datasets: Sequence[str], dim: int) -> Iterator[dict[str, str]]:
    """A row of the table for each method."""
    catalog = Catalog()
    opened = {name: open_dataset(name) for name in datasets}
    for name in sorted(catalog.entries("method")):
        kind = cast(type[Method], catalog.load("method", name))
        if kind.fixed_size:
            continue
        method = kind.from_options(SHORT.get(name, {}))
        row, reasons = {"method": f"`{name}`"}, set()
        for share in SHARES:
            uses = [
                use_of(method, splits, dim, share, search=dataset == DRAWN)
                for dataset, splits in opened.items()
            ]
            row[f"{share:.0%}"] = described(uses)
            reasons |= {use.reason for use in uses if use is not None}
        yield row | {"why below 90 %": "; ".join(sorted(reasons - {""}))}


def described(uses: Sequence[Use | None]) -> str:
    """Percentages from the least to the most used; a dash if no data set has any.

    >>> described([Use(0.934, ""), Use(1.0, ""), None])
    '93 to 100'
    """
    found = sorted({f"{use.share:4.0%}"[:-1] for use in uses if use is not None})
    return " to ".join(text.strip() for text in dict.fromkeys([*found[:1], *found[-1:]])) or "–"


def page_with(page: str, table: str) -> str:
    """``page`` with ``table`` between its marks."""
    before, rest = page.split(BEGIN)
    return f"{before}{BEGIN}\n\n{table}\n\n{END}{rest.split(END)[1]}"


def main() -> None:
    """Print the table, or write it into the page."""
    parser = argparse.ArgumentParser(description="Share of its budget that each method uses.")
    parser.add_argument("--datasets", default=",".join(DATASETS), help="names, with commas")
    parser.add_argument("--dim", type=int, default=16)
    parser.add_argument("--write", action="store_true", help=f"into {PAGE.name}")
    arguments = parser.parse_args()
    rows = list(rows_of(arguments.datasets.split(","), arguments.dim))
    table = tabulate(rows, headers="keys", tablefmt="github", disable_numparse=True)
    names = ", ".join(f"`{name}`" for name in arguments.datasets.split(","))
    table = f"Data sets: {names}; D = {arguments.dim}. Searches: `{DRAWN}`.\n\n{table}"
    if arguments.write:
        PAGE.write_text(page_with(PAGE.read_text(), table))
    else:
        print(table)


if __name__ == "__main__":
    main()
