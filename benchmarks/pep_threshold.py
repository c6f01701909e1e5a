"""PEP's soft threshold, and the gate that moves it, as one picture.

``python -m benchmarks.pep_threshold --picture docs/pep-threshold`` draws it as SVG and PNG. Curves
and slopes are what :mod:`pepbench.pep` and autograd compute, not a sketch.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
import torch

from pepbench.pep import ThresholdedTable, Thresholds
from pepbench.tables.fields import Fields

SHOWN = (-4.0, -1.0, 0.0)
STARTS = {-15.0: "start at −15, the default", -8.0: "start at −8", 0.0: "0, where L2 pulls to"}
COLOURS = ["#0072B2", "#E69F00", "#D55E00"]
MOST = 1.0


def pruned(raw: float) -> pd.DataFrame:
    """V̂ over V at the raw threshold s, through the function that training uses."""
    values = torch.linspace(-MOST, MOST, 401)[:, None]
    fields = Fields(("entry",), (len(values),), np.ones(len(values), dtype=np.int64))
    table = ThresholdedTable(values, Thresholds("global", fields, 1, raw))
    kept = table.thresholded().detach()
    label = f"s = {raw:g}".replace("-", "−")
    return pd.DataFrame({"v": values[:, 0].numpy(), "kept": kept[:, 0].numpy(), "s": label})


def gate() -> pd.DataFrame:
    """σ(s) and its derivative, which every gradient of s is multiplied by."""
    raw = torch.linspace(-16.0, 12.0, 561, requires_grad=True)
    opened = torch.sigmoid(raw)
    (slope,) = torch.autograd.grad(opened.sum(), raw)
    curves = {"σ(s), the threshold": opened.detach(), "σ′(s), what reaches s": slope}
    return pd.concat(
        pd.DataFrame({"s": raw.detach().numpy(), "y": curve.numpy(), "curve": name})
        for name, curve in curves.items()
    )


def starts() -> pd.DataFrame:
    """Where searches start and where they end, on the gate's curve."""
    raw = np.array(list(STARTS))
    return pd.DataFrame({"s": raw, "y": 1 / (1 + np.exp(-raw)), "name": list(STARTS.values())})


def chart() -> alt.HConcatChart:
    """Left the soft threshold at three s, right the gate on a logarithmic scale."""
    curves = pd.concat(pruned(raw) for raw in SHOWN)
    left = (
        alt.Chart(curves, title="an entry, pruned")
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("v:Q", title="value V", axis=alt.Axis(values=[-1, -0.5, 0, 0.5, 1])),
            y=alt.Y("kept:Q", title="what the model sees of it"),
            color=alt.Color("s:N", title=None, sort=None, scale=alt.Scale(range=COLOURS)),
            strokeDash=alt.StrokeDash(
                "s:N", sort=None, scale=alt.Scale(range=[[1, 0], [6, 3], [2, 2]])
            ),
        )
    )
    levels = alt.Scale(type="log", domain=[1e-7, 1])
    lines = (
        alt.Chart(gate(), title="its threshold")
        .mark_line(strokeWidth=2, clip=True)
        .encode(
            x=alt.X("s:Q", title="trained number s"),
            y=alt.Y(
                "y:Q",
                title=None,
                scale=levels,
                axis=alt.Axis(values=[10.0**-power for power in range(8)], format="~e"),
            ),
            color=alt.Color("curve:N", title=None, scale=alt.Scale(range=["#000000", "#CC79A7"])),
            strokeDash=alt.StrokeDash("curve:N", scale=alt.Scale(range=[[1, 0], [6, 3]])),
        )
    )
    spots = alt.Chart(starts()).encode(x="s:Q", y=alt.Y("y:Q", scale=levels))
    names = spots.mark_text(align="left", dx=9, dy=5).encode(text="name:N")
    right = lines + spots.mark_point(filled=True, size=60, color="#000000") + names
    panels = [panel.properties(width=300, height=240) for panel in (left, right)]
    return alt.hconcat(*panels).resolve_scale(color="independent", strokeDash="independent")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--picture",
        type=Path,
        default=Path("pep-threshold"),
        help="write PICTURE.svg and PICTURE.png",
    )
    picture = parser.parse_args().picture
    drawn = chart()
    drawn.save(picture.with_suffix(".svg"))
    drawn.save(picture.with_suffix(".png"), scale_factor=2.0)


if __name__ == "__main__":
    main()
