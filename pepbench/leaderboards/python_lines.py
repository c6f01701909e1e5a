"""Lines of Python that use a recommended method in a model of one's own."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast

import torch
from torch import nn

from pepbench.catalog import Catalog
from pepbench.component import split_spec
from pepbench.errors import Infeasible, PlanError
from pepbench.method import Method
from pepbench.nn import CompressError, compress
from pepbench.nn.compress import MissingFrequencies, refuse_method
from pepbench.pep import PEP


def python_lines(
    spec: str, budget: str, catalog: Catalog
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Lines that use ``pepbench.nn``, and notes on them."""
    (name, options), suffix = split_spec(spec), ""
    if "+" in name:
        name, suffix = name.split("+", 1)
        spec = spec.replace(f"+{suffix}", "")
    notes = (f"+{suffix}: round the table when it has been trained",) if suffix else ()
    try:
        kind = cast(type[Method], catalog.load("method", name))
    except PlanError:
        return (), ()  # What is wrong with the spec is said where its options are.
    first = "import pepbench.nn as pnn"
    if name == "pep":
        return (first, *_pep_lines(options, budget)), notes
    if name == "magnitude":
        line = f'pnn.compress(model, "{budget}", method="magnitude")'
        return (first, f"{line}  # after training; then train on"), notes
    given, then = "", "then train, with a new optimizer"
    try:
        if kind.embedding is Method.embedding or name == "full":
            raise CompressError("it has no shape that is fixed beforehand")
        refuse_method(spec)
        table = nn.Embedding(64, 16, _weight=torch.zeros(64, 16))
        compress(nn.ModuleDict({"table": table}), "50%", spec, seed=0)
    except MissingFrequencies:
        given = ", frequencies=counts"
        then = "counts: for each module's name, how often each id occurs in the training rows"
    except Infeasible:
        pass  # whether a table is large enough only the reader's model can tell
    except CompressError as error:
        return (), (
            *notes,
            f"{name} is not in pepbench.nn ({error}); train it with pepbench run, and ship the "
            "table with pepbench export",
        )
    return (first, f'pnn.compress(model, "{budget}", method="{spec}"{given})  # {then}'), notes


def _pep_lines(options: Mapping[str, str], budget: str) -> tuple[str, ...]:
    by_epochs = options.get("schedule") == "epochs"
    # Each table of a model is one field.
    same = {"field": "global", "field_dim": "dimension"}
    read = ("granularity", "init", *(("threshold_target",) if by_epochs else ()))
    spec = ":".join(["pep", *(f"{k}={same.get(v, v)}" for k, v in options.items() if k in read)])
    start = options.get("retrain", "searched" if by_epochs else "initial")
    values = ', values="searched"' if start == "searched" else ""
    prune = (
        f'pnn.prune(model, "{budget}"{values})  # once pnn.reached(model, "{budget}"); train again'
    )
    call = f'pnn.compress(model, "{budget}", method="{spec}"'
    if not by_epochs:
        return f"{call})  # then train with Adam and weight decay: this is the search", prune
    epochs = options.get("search_epochs", str(PEP.search_epochs))
    return (
        f"steps = {epochs} * 1000  # {epochs} epochs; 1000 stands for your steps of an epoch",
        f"{call}, search_steps=steps)  # of a trained model; then train: this is the search",
        prune,
    )
