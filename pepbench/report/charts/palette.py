"""One colour and shape for each method, the same in every chart."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass

# Okabe & Ito's palette, told apart with every common colour vision deficiency; its yellow is
# darkened so that a thin line shows on white. Shapes carry the same information in greyscale.
_COLOURS = (
    "#0072B2",  # blue
    "#D55E00",  # vermilion
    "#009E73",  # green
    "#CC79A7",  # pink
    "#E69F00",  # orange
    "#000000",  # black
    "#56B4E9",  # sky blue
    "#A08C00",  # dark yellow
)
_SHAPES = (
    "circle",
    "square",
    "triangle-up",
    "diamond",
    "triangle-down",
    "cross",
    "triangle-right",
    "triangle-left",
)

DARK = {
    "#0072B2": "#4FB3E8",
    "#D55E00": "#FF8A3D",
    "#009E73": "#2FCF9F",
    "#CC79A7": "#E9A3C9",
    "#E69F00": "#FFC44D",
    "#000000": "#F5F5F5",
    "#56B4E9": "#A7DBFF",
    "#A08C00": "#D6C438",
    "#555555": "#B5BAC2",
    "#E6E6E6": "#3A404A",
    "#222222": "#E4E6EA",
    "white": "#14171C",
}
"""What each colour of a chart becomes on a dark page."""


@dataclass(frozen=True)
class Mark:
    """How a method is drawn."""

    colour: str
    shape: str


def marks(methods: Iterable[str]) -> dict[str, Mark]:
    """Assign marks to methods.

    A method's place follows from a checksum of its name, so that it looks the same whatever else
    is drawn; only where two methods of one chart fall on the same place does the later in the
    alphabet move to the next one that is free. No two methods share a mark up to 64 of them, and
    no two share a colour up to 8.

    Parameters
    ----------
    methods
        Names (specs), in any order, duplicates allowed.

    Returns
    -------
    dict
        In alphabetical order.
    """
    names = sorted(set(methods))
    places = len(_COLOURS)
    taken: set[int] = set()
    assigned: dict[str, Mark] = {}
    for number, name in enumerate(names):
        place = zlib.crc32(name.encode()) % places
        turn = number // places
        if number % places == 0:
            taken.clear()
        while place in taken:
            place = (place + 1) % places
        taken.add(place)
        # From the ninth method on, colours come back with another shape.
        assigned[name] = Mark(_COLOURS[place], _SHAPES[(place + turn) % len(_SHAPES)])
    return assigned
