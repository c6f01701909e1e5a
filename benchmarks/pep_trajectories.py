"""How many entries PEP's search has left after each step: dense against by rows, one picture.

``python -m benchmarks.pep_trajectories --datasets ml-100k,anime --picture docs/pep-trajectories``
draws the chart as SVG and PNG; ``--json`` prints the counts.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import altair as alt
import pandas as pd

from benchmarks.studies import new_task, open_dataset
from pepbench.method import OptimizerKind, xavier_uniform
from pepbench.pep import PEP
from pepbench.pep_search import new_search
from pepbench.plan import Plan

INIT = -8.0
DENSE, BY_ROWS = "dense", "by rows"
KINDS: dict[str, OptimizerKind] = {DENSE: "adam", BY_ROWS: "lazy-adam"}
COLOURS = {DENSE: "#000000", BY_ROWS: "#D55E00"}


def trajectory(name: str, work: str, seed: int, steps: int, every: int) -> list[dict[str, Any]]:
    """Share of entries left, exactly counted, every so many steps."""
    splits, plan = open_dataset(name), Plan()
    task = new_task(splits, plan, seed)
    method = PEP(init=INIT)
    initial = xavier_uniform(splits.fields.n_features, plan.dim)
    search = new_search(method, task, method.thresholded(task, initial), KINDS[work])
    points = []
    for _ in search.steps():
        if search.updates % every == 0:
            left = search.count() / initial.numel()
            points.append({"dataset": name, "work": work, "step": search.updates, "left": left})
        if search.updates >= steps:
            return points
    raise AssertionError("a search has no end of its own")


def chart(points: list[dict[str, Any]]) -> alt.FacetChart:
    """A panel for each data set; dense solid, by rows dashed over it."""
    frame = pd.DataFrame(points)
    return (
        alt.Chart(frame)
        .mark_line(strokeWidth=2)
        .encode(
            x=alt.X("step:Q", title="steps of the search"),
            y=alt.Y("left:Q", title="entries left", axis=alt.Axis(format="%")),
            color=alt.Color(
                "work:N", scale=alt.Scale(domain=list(KINDS), range=list(COLOURS.values()))
            ),
            strokeDash=alt.StrokeDash(
                "work:N", scale=alt.Scale(domain=list(KINDS), range=[[1, 0], [6, 5]])
            ),
        )
        .properties(width=300, height=220)
        .facet(column=alt.Column("dataset:N", title=None))
        .resolve_scale(x="independent")
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--datasets", default="ml-100k,anime")
    parser.add_argument("--steps", type=int, default=15_000)
    parser.add_argument("--every", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--picture", type=Path, help="write PICTURE.svg and PICTURE.png")
    parser.add_argument("--json", action="store_true", help="print all counts")
    arguments = parser.parse_args()
    points = [
        point
        for name in arguments.datasets.split(",")
        for work in KINDS
        for point in trajectory(name, work, arguments.seed, arguments.steps, arguments.every)
    ]
    if arguments.picture:
        picture = chart(points)
        picture.save(arguments.picture.with_suffix(".svg"))
        picture.save(arguments.picture.with_suffix(".png"), scale_factor=2.5)
    if arguments.json:
        print(json.dumps(points))
        return
    frame = pd.DataFrame(points)
    wide = frame.pivot_table(index=["dataset", "step"], columns="work", values="left")
    apart = (wide[BY_ROWS] - wide[DENSE]).abs().groupby("dataset").max()
    for name, difference in apart.items():
        print(f"{name}: dense and by rows are at most {difference:.2%} of the table apart")


if __name__ == "__main__":
    main()
