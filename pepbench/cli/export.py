"""``pepbench export``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from pepbench.cli.program import AsJson, Plugins, app
from pepbench.printing import print_json, prints_to_stderr


@app.command(
    epilog="Examples:\n\n"
    "  pepbench export runs/mine table --method pep --budget 10%\n\n"
    "  pepbench export runs/mine model --method pep --budget 10% --onnx\n\n"
    "Then, with numpy and safetensors only:\n\n"
    "  python -c \"import pepbench.serve as s; print(s.load('table').field_names)\""
)
def export(
    folder: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The new folder to write.")],
    method: Annotated[
        str | None, typer.Option(help="A method, as named in the leaderboard.")
    ] = None,
    budget: Annotated[str | None, typer.Option(help="Such as 10%.")] = None,
    dataset: Annotated[str | None, typer.Option(help="Required if the run has several.")] = None,
    backbone: Annotated[str | None, typer.Option(help="Required if the run has several.")] = None,
    seed: Annotated[
        int | None,
        typer.Option(help="Seed of a final run. Default: the best on validation rows."),
    ] = None,
    fold: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Export the model of this fold. Default, of several folds: train the options of "
            "the fold with the median validation figure on all rows but its validation rows.",
        ),
    ] = None,
    onnx: Annotated[
        bool,
        typer.Option(
            "--onnx", help="Also write the backbone as model.onnx; requires pepbench[onnx]."
        ),
    ] = False,
    allow_different: Annotated[
        bool,
        typer.Option(
            "--allow-different", help="Export even if predictions differ from the recorded ones."
        ),
    ] = False,
    plugin: Plugins = None,
    as_json: AsJson = False,
) -> None:
    """Export a run's trained table to a folder that can be served without torch.

    The run is trained again from its record, which takes as long as before, and its predictions
    are compared with the recorded ones. Of a run with folds, a last model is trained, with test
    rows, too: the AUC to expect of it is the leaderboard's mean over folds.
    """
    from pepbench.data.file_description import full_spec
    from pepbench.export.export_run import CellFilter, ExportOptions, export_run

    cell_filter = CellFilter(dataset and full_spec(dataset), backbone, method, budget, seed, fold)
    options = ExportOptions(tuple(plugin or ()), onnx, allow_different)
    with prints_to_stderr():
        said = export_run(folder, out, cell_filter, options, print)
    if as_json:
        print_json(said)
        return
    counts = said["counts"]
    if (last := said.get("last_training")) is None:
        same = "as recorded" if said["predictions_as_recorded"] else "not as recorded"
        known = f"predictions are {same}"
    else:
        known = f"mean test AUC over {last['folds']} folds {last['mean_test_auc']:.4f}"
    print(
        f"{out}: {counts['parameters']:,} of {counts['full_parameters']:,} parameters in "
        f"{counts['bytes']:,} bytes; {known}, served vectors within "
        f"{said['vector_difference']:.0e} of the trained ones"
    )
