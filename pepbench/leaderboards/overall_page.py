"""The pages over all leaderboards: contrasts and what they show; list, mean ranks, parity."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pandas as pd

from pepbench.analysis.leaderboard import compression_at_parity
from pepbench.analysis.ranks import FEWEST_BLOCKS, RankTables, rank_tables, sources_of
from pepbench.analysis.significance import ALPHA
from pepbench.leaderboards.across_boards import (
    best_methods,
    contrasts_section,
    primary_contrasts,
    sentences_across,
)
from pepbench.leaderboards.board_page import cpu_seconds, markdown
from pepbench.leaderboards.board_results import BoardResults, margins
from pepbench.leaderboards.boards import Board
from pepbench.report.charts.contrasts import CONTRASTS
from pepbench.report.markdown import escape
from pepbench.report.phrases import times
from pepbench.units import Budget, dataset_title, duration

LEADERBOARDS_MD = "leaderboards.md"
"""Generated page beside the results' README."""


def overall_summary(
    boards: list[Board], published: Mapping[str, BoardResults], contrasts: pd.DataFrame
) -> str:
    """The generated part of the results' README, as Markdown: contrasts, picture, what they show.

    Parameters
    ----------
    boards
        All that have a plan.
    published
        Results by leaderboard name, of those that are published.
    contrasts
        Of :func:`contrasts_across`.
    """
    parts: list[str] = []
    if len(contrasts):
        shown = sentences_across(contrasts, margins(published.values()))
        parts += [
            *contrasts_section(contrasts, best_methods(published, contrasts)),
            f"![Differences of AUC on all leaderboards over folds]({CONTRASTS}.png)",
            "## What it shows",
            "\n".join(f"* {sentence}" for sentence in shown),
        ]
    done = sum(board.name in published for board in boards)
    parts.append(
        f"[All leaderboards]({LEADERBOARDS_MD}), {done} of {len(boards)} run, with mean ranks and "
        "compression at parity."
    )
    return "\n\n".join(parts)


def leaderboards_page(boards: list[Board], published: Mapping[str, BoardResults]) -> str:
    """The page that the results' README links: all leaderboards, mean ranks, parity."""
    parts = ["# The leaderboards", _boards_table(boards, published)]
    counted = _counted(boards, published)
    if counted:
        frame = pd.concat([results.frame for results in counted.values()], ignore_index=True)
        compared = pd.concat([each.comparisons for each in counted.values()], ignore_index=True)
        parts += ["## Mean ranks", *_ranks(rank_tables(frame, _sources(counted)))]
        within = margins(counted.values())
        parts += [
            "## Compression at parity",
            *parity_section(compression_at_parity(compared), within),
        ]
    return "\n\n".join(parts) + "\n"


def contrasts_across(boards: list[Board], published: Mapping[str, BoardResults]) -> pd.DataFrame:
    """The primary contrasts of all leaderboards over folds that count across leaderboards."""
    counted = _counted(boards, published)
    return primary_contrasts(counted, _sources(counted))


def _counted(boards: list[Board], published: Mapping[str, BoardResults]) -> dict[str, BoardResults]:
    return {b.name: published[b.name] for b in boards if b.name in published and b.counts}


def _sources(counted: Mapping[str, BoardResults]) -> dict[str, str]:
    data = [record.spec.data for results in counted.values() for record in results.records]
    return sources_of((of.spec, of) for of in data)


def _boards_table(boards: list[Board], published: Mapping[str, BoardResults]) -> str:
    rows = []
    for board in boards:
        results = published.get(board.name)
        if results is None:
            link = f"[{board.name}]({board.name}/plan.toml)"
            rows.append([link, "planned", "", "", "", ""])
            continue
        frame = results.frame
        rows.append(
            [
                f"[{board.name}]({board.name}/README.md)",
                escape("; ".join(map(dataset_title, dict.fromkeys(frame["dataset"])))),
                escape(", ".join(dict.fromkeys(frame["backbone"]))),
                f"{frame['method'].nunique()}",
                f"{len(results.records):,}",
                duration(cpu_seconds(results.records)),
            ]
        )
    headings = ("leaderboard", "data sets", "backbones", "methods", "trials", "CPU time")
    return markdown(rows, headings, texts=3)


def _ranks(tables: RankTables) -> Iterator[str]:
    ranks = tables.ranks[tables.ranks["blocks"] >= FEWEST_BLOCKS]
    if ranks.empty:
        yield (
            "Methods are ranked where two or more of them were run on all of at least "
            f"{FEWEST_BLOCKS} sources of data at the same budget; there is no such budget."
        )
        return
    wide = ranks.pivot_table("mean_rank", "method", "budget")
    blocks = dict(zip(map(str, ranks["budget"]), ranks["blocks"], strict=True))
    largest_first = sorted(blocks, key=lambda budget: -Budget(budget).order)
    wide = wide[largest_first]
    order = wide.mean(axis=1).sort_values(kind="stable").index
    rows = [
        [escape(str(method))]
        + ["" if pd.isna(rank) else f"{rank:.2f}" for rank in wide.loc[method]]
        for method in order
    ]
    headings = [
        "method",
        *(f"{budget} (of {blocks[budget]} sources)" for budget in largest_first),
    ]
    yield (
        "1 is the best AUC of a budget. A source of data counts once, by its mean over encodings "
        "and backbones. Only methods that are ok on every source at a budget are ranked there."
    )
    yield markdown(rows, headings, texts=1)
    if tables.tests.empty:
        yield ("With fewer than three methods ranks are descriptive: no difference is tested.")
        return
    rows = [
        [
            escape(row["budget"]),
            f"{row['methods']}",
            f"{row['blocks']}",
            f"{row['p']:.2g}",
            f"{row['critical_difference']:.2f}",
        ]
        for row in tables.tests.to_dict("records")
    ]
    yield (
        f"Where p is below {ALPHA:g} (Friedman's test), two methods differ if their mean ranks do "
        "by the critical difference or more (Nemenyi)."
    )
    yield markdown(
        rows, ("budget", "methods", "sources", "p of no difference", "critical difference"), 1
    )


def parity_section(parity: pd.DataFrame, within: str) -> Iterator[str]:
    """Compression at parity by method and data set, in Markdown.

    Parameters
    ----------
    parity
        Of :func:`pepbench.analysis.leaderboard.compression_at_parity`.
    within
        The margin, in words.
    """
    yield (
        "How many times fewer parameters than the full table still keep its AUC, shown within "
        f"{within}."
    )
    for backbone, block in parity.groupby("backbone"):
        yield f"**{escape(str(backbone))}**"
        compression = {
            (row["method"], row["dataset"]): row["compression"] for row in block.to_dict("records")
        }
        datasets = sorted(set(block["dataset"]))
        rows = [
            [escape(method)]
            + [_factor(compression.get((method, dataset), "")) for dataset in datasets]
            for method in sorted(set(block.loc[block["compression"].notna(), "method"]))
        ]
        if rows:
            names = [escape(dataset_title(name)) for name in datasets]
            yield markdown(rows, ["method", *names], texts=1)
            yield "–: not shown at any budget; empty: not run. All other methods: not shown."
        else:
            yield "Shown for no method on any data set."


def _factor(value: float | str) -> str:
    if isinstance(value, str):
        return value
    return "–" if pd.isna(value) else times(value)
