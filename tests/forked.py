"""The command line in processes of their own that have imported everything already.

A process forked from one that holds torch begins at once, where ``python -m pepbench`` takes
seconds to import. Such processes can be interrupted and killed like any other.
"""

import multiprocessing
import os
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

FORKING = multiprocessing.get_context("forkserver")
FORKING.set_forkserver_preload(
    # The last is what torch imports when the first optimizer is made.
    ["pepbench.cli", "pepbench.api", "pepbench.report.write", "torch._dynamo"]
)

CHANGES = {"open", "os.rename", "os.remove", "os.mkdir", "os.truncate"}
"""Audit events by which a folder's content changes."""


@dataclass(frozen=True)
class Fate:
    """Counts the changes that a process makes to a folder, and may end it before one of them.

    Between two changes the folder is what it was, so these are all the moments that a killed
    process can be told by.
    """

    folder: Path
    tally: Path
    """Where the number of changes is written in the end."""
    killed_at: int | None = None
    """Of the change that never comes, from 1."""


@dataclass(eq=False)
class Command:
    """A started command, used like a :class:`subprocess.Popen`."""

    process: multiprocessing.process.BaseProcess
    out: Path
    err: Path
    pid: int = field(init=False)

    def __post_init__(self) -> None:
        self.process.start()
        self.pid = self.process.pid

    @property
    def returncode(self) -> int | None:
        return self.process.exitcode

    def poll(self) -> int | None:
        return self.process.exitcode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        self.process.join(timeout)
        assert self.process.exitcode is not None, f"still at work after {timeout} s"
        return self.out.read_text(), self.err.read_text()

    def send_signal(self, number: int) -> None:
        os.kill(self.pid, number)

    def kill(self) -> None:
        with suppress(ProcessLookupError):
            self.send_signal(signal.SIGKILL)


def command(
    arguments: Sequence[object], streams: Path, *, drawn: bool = False, fate: Fate | None = None
) -> Command:
    """Start ``pepbench`` with arguments, in a session of its own.

    Parameters
    ----------
    arguments
        Without the program's name.
    streams
        Folder for what it prints.
    drawn
        Whether charts and the page are drawn and the machine's speed is taken, which takes longer
        than a tiny run.
    fate
        When it dies.
    """
    streams.mkdir(parents=True, exist_ok=True)
    number = sum(1 for _ in streams.iterdir())
    out, err = streams / f"{number}.out", streams / f"{number}.err"
    texts = [str(argument) for argument in arguments]
    cache = os.environ["PEPBENCH_CACHE"]
    process = FORKING.Process(target=_run, args=(texts, cache, out, err, drawn, fate))
    return Command(process, out, err)


def _run(
    arguments: list[str], cache: str, out: Path, err: Path, drawn: bool, fate: Fate | None
) -> None:
    os.setsid()
    for descriptor, path in ((1, out), (2, err)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC), descriptor)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.environ["PEPBENCH_CACHE"] = cache
    sys.argv = ["pepbench", *arguments]

    from undrawn import draw_nothing

    import pepbench.cli

    if not drawn:
        draw_nothing()
    count = (lambda: 0) if fate is None else _watched(fate)
    try:
        pepbench.cli.main()
    finally:
        if fate is not None:
            fate.tally.write_text(str(count()))


def _watched(fate: Fate) -> Callable[[], int]:
    """Count changes from now on; dies before the one that is its fate."""
    inside, live = str(fate.folder), str(fate.folder / "live")
    made = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal made
        if event not in CHANGES or not isinstance(arguments[0], str | os.PathLike):
            return
        path = os.fspath(arguments[0])
        # The status file is written by the clock.
        if not path.startswith(inside) or path.startswith(live):
            return
        if event == "open" and not int(arguments[2]) & (os.O_WRONLY | os.O_RDWR):
            return
        made += 1
        if made == fate.killed_at:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)
    return lambda: made
