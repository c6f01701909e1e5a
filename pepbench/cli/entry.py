"""The entry point of ``pepbench``: runs a command and turns errors into exit codes."""

from __future__ import annotations

import os
import signal
import sys
from typing import NoReturn

from pepbench.cli.program import app
from pepbench.errors import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_USAGE, PepbenchError


def main() -> NoReturn:
    """Run a command; errors that the user can fix become one line and exit code 2."""
    # Batch systems end jobs with SIGTERM: treat it as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        code = app(sys.argv[1:] or ["--help"], standalone_mode=False)
    except PepbenchError as error:
        _fail(str(error))
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)
    except BrokenPipeError:
        # The reader of the pipe is gone, as with `pepbench list methods | head -1`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_FAILED)
    except OSError as error:
        # Such as a full disk, or a file that may not be read.
        _fail(f"{error.filename or 'input or output'}: {error.strerror or error}")
    except Exception as error:
        # Usage errors; Typer may bundle its own click, whose classes cannot be imported.
        if not hasattr(error, "format_message"):
            raise
        message = str(error.format_message()).replace("Value error, ", "")
        if message:
            _fail(message)
        sys.exit(EXIT_USAGE)
    sys.exit(code if isinstance(code, int) else 0)


def _fail(message: str) -> NoReturn:
    print(f"pepbench: {' '.join(message.split())}", file=sys.stderr)
    sys.exit(EXIT_USAGE)
