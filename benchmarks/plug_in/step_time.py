"""CPU time of a training step before and after compression, in turns: least of some epochs.

python -m benchmarks.plug_in.step_time deepctr
"""

from __future__ import annotations

import argparse
import time

from benchmarks.plug_in.models import SUBJECTS, Subject
from pepbench.nn import compress

BUDGET = "20%"


def prepared(name: str, method: str) -> Subject:
    """A new model, compressed by ``method``; ``pep`` is at the start of its search."""
    subject = SUBJECTS[name](0)
    if method != "full":
        steps = {"search_steps": 10**6} if method == "pep" else {}
        compress(subject.model, BUDGET, method, include=subject.include, **steps)
    subject.prepare()
    return subject


def step_times(name: str, methods: list[str], rounds: int) -> dict[str, float]:
    """Milliseconds of CPU time per step, for each method."""
    subjects = {method: prepared(name, method) for method in methods}
    least = dict.fromkeys(methods, float("inf"))
    for _ in range(rounds):
        for method, subject in subjects.items():
            start = time.process_time()
            subject.epoch()
            spent = 1000 * (time.process_time() - start) / subject.steps_per_epoch
            least[method] = min(least[method], spent)
    return least


def main() -> None:
    """Print the times of the model that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", choices=SUBJECTS)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    for method, spent in step_times(
        given.model, ["full", "magnitude", "pep", "qr"], given.rounds
    ).items():
        print(f"{given.model} {method} {spent:.1f} ms")


if __name__ == "__main__":
    main()
