"""Measure models from outside before and after compression.

    python -m benchmarks.plug_in.measure deepctr [--seeds 3] [--methods magnitude,pep,qr]

The full model is trained with early stopping on validation rows. ``magnitude`` and ``pep`` go on
from it; other methods are trained anew. Figures are of test rows, times are CPU time.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from typing import Any

import torch

from benchmarks.plug_in.models import SUBJECTS, Subject
from pepbench.errors import Infeasible
from pepbench.nn import Report, compress, prune, reached, report

PATIENCE = 2
SEARCH_EPOCHS = 20


def trained(subject: Subject, most_epochs: int = 40) -> float:
    """Train until validation no longer improves, restore the best epoch: CPU ms per step."""
    subject.prepare()
    best, state, waited, spent, steps = -math.inf, {}, 0, 0.0, 0
    for _ in range(most_epochs):
        start = time.process_time()
        subject.epoch()
        spent += time.process_time() - start
        steps += subject.steps_per_epoch
        score = subject.score(1)
        waited = 0 if score > best else waited + 1
        if score > best:
            best, state = score, copy.deepcopy(subject.model.state_dict())
        if waited > PATIENCE:
            break
    subject.model.load_state_dict(state)
    return 1000 * spent / steps


def compressed(subject: Subject, method: str, budget: str) -> Report:
    """Compress the model of ``subject``, with PEP's search if that is the method."""
    if method != "pep":
        return compress(subject.model, budget, method, include=subject.include)
    steps = SEARCH_EPOCHS * subject.steps_per_epoch
    compress(subject.model, budget, method, include=subject.include, search_steps=steps)
    subject.prepare()
    for _ in range(SEARCH_EPOCHS):
        subject.epoch()
        if reached(subject.model, budget):
            break
    prune(subject.model, budget, values="searched")
    return report(subject.model)


def measured(name: str, seed: int, methods: list[str], budgets: list[str]) -> list[dict[str, Any]]:
    """One row for the full model, and one for each method and budget."""
    full = SUBJECTS[name](seed)
    torch.manual_seed(seed)
    milliseconds = trained(full)
    found = [row(name, seed, "full", "100%", full, report(full.model), milliseconds)]
    for method in methods:
        for budget in budgets:
            subject = SUBJECTS[name](seed)
            if method in ("magnitude", "pep"):
                subject.model.load_state_dict(full.model.state_dict())
            torch.manual_seed(seed)
            try:
                counted = compressed(subject, method, budget)
            except Infeasible as infeasible:
                print(f"{name} {budget} {infeasible}", flush=True)
                continue
            milliseconds = trained(subject)
            found.append(row(name, seed, method, budget, subject, counted, milliseconds))
    return found


def row(
    name: str,
    seed: int,
    method: str,
    budget: str,
    subject: Subject,
    counted: Report,
    milliseconds: float,
) -> dict[str, Any]:
    """Print and return what was measured."""
    wide = [table for table in counted.tables if table.dim > 1]
    result = {
        "model": name,
        "seed": seed,
        "method": method,
        "budget": budget,
        subject.figure: round(subject.score(2), 4),
        "parameters": sum(table.n_parameters for table in wide),
        "bytes": sum(table.n_bytes for table in wide),
        "ms_per_step": round(milliseconds, 1),
    }
    print(json.dumps(result), flush=True)
    return result


def main() -> None:
    """Measure the models that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=SUBJECTS)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--methods", default="magnitude,pep,qr")
    parser.add_argument("--budgets", default="20%,5%")
    given = parser.parse_args()
    for seed in range(given.seeds):
        measured(given.model, seed, given.methods.split(","), given.budgets.split(","))


if __name__ == "__main__":
    main()
