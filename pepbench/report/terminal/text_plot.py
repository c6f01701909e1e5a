"""A small picture of a front in letters, for terminals without any graphics."""

from __future__ import annotations

import math
from string import ascii_letters, digits

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pepbench.report.phrases import paired_by_auc, short_count

_WIDTH, _HEIGHT = 52, 10
_LETTERS = ascii_letters[:26] + digits
_CROWDED = "+"
_APART = 0.2
"""How far left of the others, as a share of their range, are those without any parameters."""
_NEAR = (0, 1, -1, 2, -2, 3)


def front_plot(block: pd.DataFrame) -> list[str]:
    """Lines of text: a heading, and AUC upwards, parameters to the right (log).

    AUC is drawn as the difference to the full table where it is known, which is a dotted line.
    There is a letter for each method, capitals on the front. Those that meet are set side by
    side, ``+`` where they are too many. ASCII only, apart from the names of methods.

    Parameters
    ----------
    block
        Rows of the leaderboard of one data set and backbone.

    Returns
    -------
    list of str
        Empty with fewer than two points: there is nothing to see.
    """
    drawn = block[(block["status"] == "ok") & block["parameters"].notna() & block["auc"].notna()]
    reference = drawn["verdict"] == "reference"
    paired = paired_by_auc(drawn) and bool(reference.any())
    drawn = drawn[drawn["delta_auc"].notna() | reference] if paired else drawn
    if len(drawn) < 2:
        return []
    parameters = drawn["parameters"].to_numpy(dtype=np.float64)
    across = np.log10(parameters.clip(min=1.0))
    if (none := parameters == 0).any() and not none.all():
        least = across[~none].min()
        across[none] = least - _APART * max(1.0, across.max() - least)
    aucs = drawn["delta_auc"].fillna(0.0) if paired else drawn["auc"]
    columns, rows = (
        _scaled(across, _WIDTH),
        _HEIGHT - 1 - _scaled(aucs.to_numpy(dtype=np.float64), _HEIGHT),
    )
    names = sorted(set(drawn["method"]))
    letters = {name: _LETTERS[place % len(_LETTERS)] for place, name in enumerate(names)}
    grid = [[" "] * _WIDTH for _ in range(_HEIGHT)]
    for row, column, name, on_front in zip(
        rows, columns, drawn["method"], drawn["on_front"], strict=True
    ):
        letter = letters[name].upper() if on_front else letters[name]
        _put(grid[row], int(column), letter)
    form = "+.4f" if paired else ".4f"
    marks = {0: f"{aucs.max():{form}}", _HEIGHT - 1: f"{aucs.min():{form}}"}
    if paired:
        zero = int(rows[(drawn["verdict"] == "reference").to_numpy()].max(initial=0))
        grid[zero] = ["." if letter == " " else letter for letter in grid[zero]]
        marks[zero] = "0"
    lines = [f"{marks.get(place, ''):>7} |{''.join(line)}" for place, line in enumerate(grid)]
    low, high = (short_count(value) for value in (parameters.min(), parameters.max()))
    lines.append(" " * 8 + "+" + "-" * _WIDTH)
    lines.append(" " * 9 + low + f"{high:>{_WIDTH - len(low)}}")
    heading = "AUC minus the full table's" if paired else "AUC"
    heading += ", by parameters (log scale); capitals: on the front"
    crowded = {"several": _CROWDED} if any(_CROWDED in line for line in grid) else {}
    return [heading, *(line.rstrip() for line in lines), *_key(letters | crowded)]


def _put(line: list[str], column: int, letter: str) -> None:
    """Set a letter at a column, or at the nearest free one: methods often meet at a budget."""
    for step in _NEAR:
        place = column + step
        if 0 <= place < len(line) and line[place] == " ":
            line[place] = letter
            return
    line[column] = _CROWDED


def _key(letters: dict[str, str]) -> list[str]:
    """What the letters stand for, in lines of at most 78 characters where names allow."""
    lines = [""]
    for name, letter in letters.items():
        entry = f"{letter} {name}"
        if lines[-1] and len(lines[-1]) + len(entry) + 3 > 78:
            lines.append("")
        lines[-1] += ("   " if lines[-1] else "") + entry
    return lines


def _scaled(values: NDArray[np.float64], size: int) -> NDArray[np.int64]:
    low, span = float(values.min()), float(values.max() - values.min())
    if math.isclose(span, 0.0, abs_tol=1e-12):
        return np.full(len(values), size // 2, dtype=np.int64)
    return np.rint((values - low) / span * (size - 1)).astype(np.int64)
