"""The entry point of ``pepbench``: runs a command and turns errors into exit codes."""

from __future__ import annotations

import io
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn

from pepbench.cli.program import app
from pepbench.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, FULL_DISK, PepbenchError


def main() -> NoReturn:
    """Run a command; errors that the user can fix become one line and exit code 2."""
    _usable_streams()
    # Batch systems end jobs with SIGTERM: treat it as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
        sys.stdout.flush()
    except PepbenchError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader of the pipe is gone, as with `pepbench list methods | head -1`.
        _discard_output()
        sys.exit(EXIT_FAILED)
    except MemoryError as error:
        _fail(f"not enough memory: {error or 'take fewer rows, features or columns'}")
    except OSError as error:
        # Such as a full disk, or a file that may not be read.
        if error.filename is None:
            _discard_output()
        is_full = error.filename is not None and error.errno in FULL_DISK
        remedy = "; make room, then give the same command again" if is_full else ""
        _fail(f"{error.filename or 'input or output'}: {error.strerror or error}{remedy}")
    except Exception as error:
        # Usage errors; Typer may bundle its own click, whose classes cannot be imported.
        if not hasattr(error, "format_message"):
            raise
        message = str(error.format_message()).replace("Value error, ", "")
        if message:
            _fail(message)
        sys.exit(EXIT_USAGE)
    sys.exit(code if isinstance(code, int) else 0)


def _usable_streams() -> None:
    """Make closed standard streams the null device, and replace characters that one cannot show.

    With a descriptor closed, the next file to be opened would take its number and receive what
    libraries print.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            # The lowest free number, which is this one.
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    null = Path(os.devnull)
    sys.stdin = sys.stdin or null.open(encoding="utf-8")
    sys.stdout = sys.stdout or null.open("w", encoding="utf-8")
    sys.stderr = sys.stderr or null.open("w", encoding="utf-8")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


def _discard_output() -> None:
    """Send what is still to be written nowhere, so that nothing fails again at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(message: str) -> NoReturn:
    print(f"pepbench: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(EXIT_USAGE)
