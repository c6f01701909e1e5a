"""Contents of the page's tables: dictionaries of text, for a template to lay out."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import chain
from os.path import relpath
from pathlib import Path
from typing import Any

import pandas as pd

from pepbench.analysis.cells import mean_size
from pepbench.analysis.frames import by_block
from pepbench.analysis.leaderboard import compression_at_parity
from pepbench.analysis.metrics import (
    METRICS,
    Metric,
    measured_delta,
    measured_figure,
    metric_of,
    objective_name,
)
from pepbench.analysis.runs import Runs
from pepbench.analysis.tuning import by_cell
from pepbench.records import CELL_COLUMNS, CellName, DataSpec, Record, is_extract
from pepbench.report.findings import Findings
from pepbench.report.phrases import (
    NOT_COMPARED,
    block_title,
    outcome,
    percent,
    short_count,
    summary,
    verdict_note,
    with_interval,
)
from pepbench.report.table_rows import (
    chance,
    comparison_rows,
    contrast_sentence,
    contrast_table,
    hypervolume_sentence,
    not_compared,
    rank_pair_rows,
    rank_rows,
    rank_test_sentences,
    size_rows,
    units,
    units_sentences,
)
from pepbench.units import duration

Row = dict[str, Any]

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


def leaderboard_rows(frame: pd.DataFrame, runs: Runs, folder: Path) -> list[Row]:
    """A row for each cell: ``text`` to read, ``sort`` to sort by, links to its final runs.

    Parameters
    ----------
    frame
        Of :func:`with_detail`.
    runs
        Where the records are.
    folder
        Where the page will be: links are relative to it.
    """
    finals = {
        name: [record for record in members if record.test is not None]
        for name, members in by_cell(runs.records).items()
    }
    budgets = {budget: place for place, budget in enumerate(dict.fromkeys(frame["budget"]))}
    metric, rows = metric_of(frame), []
    for cell in frame.to_dict("records"):
        row = cell_row(cell, metric)
        row["chance"] = cell["parameters_front"]
        row["runs"] = _links(finals.get(CellName.of_row(cell), []), runs, folder)
        row["sort"]["budget"] = sort_number(-budgets[cell["budget"]])
        row["sort"]["chance"] = sort_number(cell["front_probability"])
        rows.append(row)
    return rows


def cell_row(cell: Mapping[Any, Any], metric: Metric) -> Row:
    """What the leaderboard says of a cell, in words; ``sort`` has numbers to sort by."""
    known = not pd.isna(cell["parameters"])
    seconds, memory = cell["search_seconds"] + cell["train_seconds"], cell["peak_memory_mib"]
    numbers = {
        "parameters": cell["parameters"],
        "share": cell["share"],
        "bytes": cell["bytes"],
        "figure": cell[METRICS[metric].figure],
        "delta": cell[f"delta_{metric}"],
        "p_holm": cell["p_holm"],
        "cpu": cell["cpu_seconds"],
        "seconds": seconds,
        "memory": memory,
    }
    return {
        **{key: cell[key] for key in (*CELL_COLUMNS, "reason")},
        "verdict": outcome(cell),
        "parameters": f"{cell['parameters']:,}" if known else "",
        "share": percent(cell["share"]) if known else "",
        "bytes": "" if pd.isna(cell["bytes"]) else f"{short_count(cell['bytes'])}B",
        "figure": with_interval(*measured_figure(cell, METRICS[metric])),
        "delta": with_interval(*measured_delta(cell, metric), sign=True),
        "p_holm": _figure(cell["p_holm"], ".2g"),
        "cpu": time(cell["cpu_seconds"]),
        "seconds": time(seconds),
        "memory": "" if pd.isna(memory) else f"{memory:,.0f}",
        "front": bool(cell["on_front"]),
        "sort": {key: sort_number(value) for key, value in numbers.items()},
    }


def sort_number(value: Any) -> str:
    """A number for sorting; nothing where it is not known."""
    return "" if pd.isna(value) else f"{float(value):.10g}"


def time(seconds: float) -> str:
    """A time in words; nothing where it is not known."""
    return "" if math.isnan(seconds) else duration(seconds)


def verdict_matrices(frame: pd.DataFrame) -> list[Row]:
    """For each data set and backbone: methods down, budgets across, a verdict in each place.

    None for those on which nothing was compared.
    """
    matrices = []
    for name, block in by_block(frame):
        judged = block[block["verdict"] != "reference"]
        budgets = list(dict.fromkeys(judged["budget"]))
        rows: list[Row] = []
        for method, cells in judged.groupby("method", sort=True):
            by_budget = {cell["budget"]: cell for cell in cells.to_dict("records")}
            places = [_place(by_budget.get(budget), metric_of(block)) for budget in budgets]
            rows.append({"method": method, "places": places})
        found = {place["verdict"] for row in rows for place in row["places"]}
        if found - {"", NOT_COMPARED}:
            matrices.append({"title": block_title(name), "budgets": budgets, "rows": rows})
    return matrices


def gain_rows(gains: pd.DataFrame) -> list[Row]:
    """Gain of tuning in each cell, in words."""
    return [
        {
            **{key: row[key] for key in (*CELL_COLUMNS, "settings")},
            "trials": f"{row['ok']} of {row['trials']}",
            "default": _figure(row["default_score"], ".4f"),
            "best": _figure(row["best_score"], ".4f"),
            "gain": _figure(row["gain"], "+.4f"),
            "best_trial": "" if pd.isna(row["best_trial"]) else str(row["best_trial"]),
        }
        for row in gains.to_dict("records")
    ]


def protocol_rows(records: Sequence[Record]) -> list[Row]:
    """What was held the same for each data set and backbone, under each protocol."""
    rows = []
    groups: dict[tuple[str, str], list[list[Record]]] = {}
    for name, members in by_cell(records).items():
        groups.setdefault(name[:2], []).append(members)
    for (dataset, backbone), cells in groups.items():
        specs = [record.spec for members in cells for record in members]
        data = specs[0].data
        whole = [members for members in cells if not is_extract(members)] or cells
        roles = [
            Counter(record.spec.role for record in members if record.spec.data.fold == fold)
            for members in whole
            for fold in {record.spec.data.fold for record in members}
        ]
        # Cells that cannot be tuned have fewer trials: the same one is drawn again.
        roles = [count for count in roles if count["final"]] or roles
        full = mean_size({spec.data.fold: spec.full_parameters for spec in specs})
        each = "a cell" if data.folds == 1 else "a cell and fold"
        rows.append(
            {
                "dataset": dataset,
                "backbone": backbone,
                "facts": {
                    "width D": str(specs[0].dim),
                    "full table": f"{full:,} parameters",
                    "table fingerprint": data.table_fingerprint,
                    "split": f"{_split(data)} (seed {data.split_seed})",
                    f"trials {each}": _range({count["tuning"] for count in roles}),
                    f"runs of finalists {each}": _range({count["finalist"] for count in roles}),
                    f"final runs {each}": _range({count["final"] for count in roles} - {0} or {0}),
                    "chosen by": f"validation {objective_name(chain.from_iterable(cells))}",
                    "most epochs": _range({spec.training.epochs for spec in specs}),
                    "batch size": _range({spec.training.batch_size for spec in specs}),
                    "device": ", ".join(sorted({spec.device for spec in specs})),
                },
            }
        )
    return rows


def machine_rows(records: Sequence[Record]) -> list[dict[str, str]]:
    """The programs and machines that made the records, each once."""
    seen: Counter[tuple[tuple[str, str], ...]] = Counter()
    for record in records:
        facts = record.environment.model_dump()
        facts["git"] = facts["git"] or "no repository"
        seen[tuple((name, str(value)) for name, value in facts.items())] += 1
    return [{**dict(key), "records": f"{count:,}"} for key, count in sorted(seen.items())]


def summaries(findings: Findings) -> dict[tuple[str, str], list[str]]:
    """The summary's sentences, the hypervolume with its interval, and what they generalise over."""
    sentences = summary(findings.frame, findings.fronts, findings.leading, findings.margin)
    for row in findings.analysis.fronts.summary.to_dict("records"):
        sentences[row["dataset"], row["backbone"]].append(hypervolume_sentence(row))
    for name, block in by_block(findings.comparisons):
        sentences[name] += units_sentences(units(block))
    return sentences


def size_tables(findings: Findings) -> list[dict[str, Any]]:
    """For each data set and backbone: AUC at sizes, and compression at parity."""
    tables, parity = findings.analysis.fronts, compression_at_parity(findings.comparisons)
    return [
        {"title": block_title(name), "rows": rows}
        for name in zip(tables.summary["dataset"], tables.summary["backbone"], strict=True)
        if (rows := size_rows(tables, parity, name))
    ]


def comparison_tables(findings: Findings) -> list[dict[str, Any]]:
    """For each data set and backbone: comparisons in full, and by reason what has none."""
    return [
        {
            "title": block_title(name),
            "units": units(block),
            "rows": comparison_rows(block[block["verdict"] != ""]),
            "left_out": {
                note: ", ".join(cells["method"] + " at " + cells["budget"])
                for note, cells in block[block["verdict"] == ""].groupby("note")
            },
        }
        for name, block in by_block(findings.comparisons)
    ]


def contrast_tables(findings: Findings) -> list[dict[str, Any]]:
    """For each data set and backbone with primary contrasts: rows, and what they hold over."""
    return [
        {
            "title": block_title(name),
            "rows": rows,
            "words": f"{contrast_sentence(block)} {not_compared(block)}",
        }
        for name, block in by_block(findings.contrasts)
        if (rows := contrast_table(block))
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


def _links(records: Sequence[Record], runs: Runs, folder: Path) -> list[str]:
    return [
        Path(
            relpath(runs.folder_of[record.key], folder), "records", f"{record.key}.json"
        ).as_posix()
        for record in sorted(records, key=lambda record: (record.spec.seed, record.key))
    ]


def _place(cell: dict[Any, Any] | None, metric: Metric) -> Row:
    if cell is None:
        return {"verdict": "", "delta": "", "note": "", "reason": ""}
    verdict = outcome(cell)
    delta = with_interval(*measured_delta(cell, metric), sign=True)
    return {
        "verdict": verdict or NOT_COMPARED,
        "delta": delta,
        "note": cell["verdict_note"],
        "reason": cell["reason"],
    }


def _figure(value: float, form: str) -> str:
    return "" if math.isnan(value) else format(value, form)


def _split(data: DataSpec) -> str:
    return data.split_fingerprint if data.folds == 1 else f"{data.folds} folds"


def _range(values: set[int]) -> str:
    low, high = min(values), max(values)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"
