"""What the page adds to the leaderboard: notes of verdicts, chances, sizes, ranks."""

from __future__ import annotations

from typing import Any

import pandas as pd

from pepbench.analysis.leaderboard import compression_at_parity
from pepbench.records import CELL_COLUMNS
from pepbench.report.detail import (
    chance,
    comparison_rows,
    hypervolume_sentence,
    rank_pair_rows,
    rank_rows,
    rank_test_sentences,
    size_rows,
    units,
    units_sentences,
)
from pepbench.report.findings import Findings
from pepbench.report.phrases import summary, verdict_note

_SHORT = {
    "front_probability": "parameters_front",
    "bytes_front_probability": "bytes_front",
    "time_front_probability": "time_front",
}


def with_detail(findings: Findings) -> pd.DataFrame:
    """The leaderboard with ``verdict_note``, ``front_probability``, and chances in words.

    The latter are ``parameters_front``, ``bytes_front`` and ``time_front``; a text is empty where
    nothing is known.
    """
    points = findings.analysis.fronts.points
    chances = points[[*CELL_COLUMNS, "front_probability"]].assign(
        **{short: points[column].map(chance) for column, short in _SHORT.items()}
    )
    comparisons = findings.comparisons
    notes = comparisons[CELL_COLUMNS].assign(
        verdict_note=[
            verdict_note(row["verdict"], row["direction"], row["seeds_to_decide"], row["basis"])
            for row in comparisons.to_dict("records")
        ]
    )
    joined = findings.frame
    for more in (notes, chances):
        joined = joined.merge(more.astype(object), on=CELL_COLUMNS, how="left", validate="1:1")
    texts = ["verdict_note", *_SHORT.values()]
    return joined.assign(**{name: joined[name].fillna("") for name in texts})


def summaries(findings: Findings) -> dict[tuple[str, str], list[str]]:
    """The summary's sentences, the hypervolume with its interval, and over what it all holds."""
    sentences = summary(findings.frame, findings.fronts, findings.leading, findings.margin)
    for row in findings.analysis.fronts.summary.to_dict("records"):
        sentences[row["dataset"], row["backbone"]].append(hypervolume_sentence(row))
    for (dataset, backbone), block in findings.comparisons.groupby(["dataset", "backbone"]):
        sentences[str(dataset), str(backbone)] += units_sentences(units(block))
    return sentences


def size_tables(findings: Findings) -> list[dict[str, Any]]:
    """For each data set and backbone: AUC at sizes, and compression at parity."""
    tables, parity = findings.analysis.fronts, compression_at_parity(findings.comparisons)
    return [
        {"title": f"{name[0]} · {name[1]}", "rows": rows}
        for name in zip(tables.summary["dataset"], tables.summary["backbone"], strict=True)
        if (rows := size_rows(tables, parity, name))
    ]


def comparison_tables(findings: Findings) -> list[dict[str, Any]]:
    """For each data set and backbone: comparisons in full, and by reason what has none."""
    return [
        {
            "title": f"{dataset} · {backbone}",
            "units": units(block),
            "rows": comparison_rows(block[block["verdict"] != ""]),
            "left_out": {
                note: ", ".join(cells["method"] + " at " + cells["budget"])
                for note, cells in block[block["verdict"] == ""].groupby("note")
            },
        }
        for (dataset, backbone), block in findings.comparisons.groupby(
            ["dataset", "backbone"], sort=False
        )
    ]


def rank_section(findings: Findings) -> dict[str, Any]:
    """Ranks over data sets: tested with their pairs, and descriptive; empty lists if none."""
    ranks = findings.analysis.ranks
    return {
        "tests": rank_test_sentences(ranks.tests),
        "tested": rank_rows(ranks, False),
        "pairs": rank_pair_rows(ranks),
        "descriptive": rank_rows(ranks, True),
    }
