"""Trials and gains of tuning, on a terminal."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from pepbench.analysis.finalists import finalists_frame
from pepbench.analysis.tuning import (
    LEAST_TRIALS,
    by_cell_and_fold,
    gains_frame,
    importances,
    trials_frame,
)
from pepbench.records import CELL_COLUMNS, Record
from pepbench.report.terminal.leaderboard_view import symbols_for

_STRIP = 40


@dataclass(frozen=True)
class TuningView:
    """What ``pepbench report --tuning`` prints.

    For each cell: the trials as a strip from the worst to the best score, the best so far,
    what the best trial gained over the default, and which settings mattered. At the end, what
    finalists changed.

    Parameters
    ----------
    records
        Of one run, or of several.
    """

    records: Sequence[Record]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Cell by cell, then the gains over all cells."""
        symbols = symbols_for(options)
        trials = trials_frame(self.records)
        gains = gains_frame(trials)
        for (name, fold), members in by_cell_and_fold(self.records).items():
            of_cell = (trials[CELL_COLUMNS] == list(name)).all(axis=1) & (trials["fold"] == fold)
            tried = trials[of_cell]
            folds = members[0].spec.data.folds
            heading = f"{symbols.title(name[:3])} at {name[3]}"
            heading += f", fold {fold + 1}/{folds}" if folds > 1 else ""
            yield Text(symbols.text(heading), "bold")
            gain = gains_frame(tried).iloc[0].to_dict()
            if math.isnan(gain["best_score"]):
                yield Text(f"  none of {gain['trials']} trials ended well", "magenta")
                continue
            yield Text(f"  {_strip(tried)}")
            best = ", ".join(f"{score:.4f}" for score in _steps(tried["best_so_far"]))
            yield Text(f"  {gain['ok']} of {gain['trials']} trials ok; best so far: {best}")
            yield Text(symbols.text(f"  {_bought(gain)}"))
            yield Text(symbols.text(f"  {_mattered(members)}"), "dim")
        known = gains["gain"].dropna()
        if len(known):
            goal = symbols.text(" or ".join(trials["objective"].unique()).replace("−", "-"))
            yield Text()
            yield Text(
                f"Tuning bought {known.median():+.4f} validation {goal} in the median cell "
                f"({known.min():+.4f} to {known.max():+.4f}, {len(known)} cells). The best of "
                "several trials is chosen on the same rows, so this is optimistic."
            )
        for choice in finalists_frame(self.records).to_dict("records"):
            yield Text(symbols.text(_chosen(choice)))


def _strip(tried: pd.DataFrame) -> str:
    """``0`` the default, ``*`` the best, ``o`` others, between the lowest and highest score."""
    scores = tried["score"].dropna()
    low, span = float(scores.min()), float(scores.max() - scores.min()) or 1.0
    line = ["."] * _STRIP
    ordered = tried.assign(_rank=tried["best"] * 2 + tried["default"] * 1).sort_values("_rank")
    columns = (ordered[name] for name in ("score", "best", "default"))
    for score, best, default in zip(*columns, strict=True):
        if not math.isnan(score):
            place = round((score - low) / span * (_STRIP - 1))
            line[place] = "*" if best else "0" if default else "o"
    return f"{low:.4f} [{''.join(line)}] {low + span:.4f}"


def _steps(best_so_far: pd.Series[float]) -> list[float]:
    """The best so far, each value once."""
    return [float(value) for value in dict.fromkeys(best_so_far.dropna())]


def _bought(gain: Mapping[Any, Any]) -> str:
    if math.isnan(gain["default_score"]):
        return "the default trial did not end well, so nothing is said about gains"
    if gain["best_trial"] == 0:
        return f"the default is the best: {gain['settings']}"
    return f"bought {gain['gain']:+.4f} over the default by trial {gain['best_trial']}: " + str(
        gain["settings"]
    )


def _chosen(choice: Mapping[Any, Any]) -> str:
    cell = f"{choice['dataset']}, {choice['backbone']}, {choice['method']} at {choice['budget']}"
    return (
        f"{cell}: finalists chose another trial than the best in {choice['changed']} of "
        f"{choice['choices']} fold(s); the chosen one's mean validation figure over seeds differs "
        f"by {-choice['fall']:+.4f} from its trial's"
    )


def _mattered(members: Sequence[Record]) -> str:
    found = importances(members)
    if not found:
        return f"importance: not estimated with fewer than {LEAST_TRIALS} finished trials"
    return "importance: " + ", ".join(f"{name} {100 * share:.0f}%" for name, share in found.items())
