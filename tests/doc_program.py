"""The program as the documentation's commands call it in tests: the same, on less work.

Every ``pepbench run`` gets the options of ``DOC_OPTIONS`` last and draws nothing (charts take
longer than all else, and ``pepbench report`` draws them), the built-in data are small, and PEP's
search is short. ``pepbench check`` measures no times, for which it starts a dozen processes.
"""

import os
import sys
from dataclasses import replace

from undrawn import draw_nothing

from pepbench.cli import main
from pepbench.method import Fitted, Task
from pepbench.pep import PEP

SYNTHETIC = "synthetic:rows=2000:features=60:fields=4"

search = PEP.fit


def short_search(method: PEP, task: Task, budget: int) -> Fitted:
    return search(replace(method, max_steps=min(method.max_steps, 60)), task, budget)


def shortened(arguments: list[str]) -> list[str]:
    if arguments[:1] == ["check"]:
        return [*arguments, "--time=never"]
    if arguments[:1] != ["run"]:
        return arguments
    options = [*arguments, *os.environ["DOC_OPTIONS"].split()]
    has_plan = any(word.endswith(".toml") for word in arguments[1:2])
    if "--datasets" not in options and not has_plan:
        options += ["--datasets", "synthetic"]
    return [SYNTHETIC if word == "synthetic" else word for word in options]


if __name__ == "__main__":
    PEP.fit = short_search
    if sys.argv[1:2] == ["run"]:
        draw_nothing()
    sys.argv[1:] = shortened(sys.argv[1:])
    main()
