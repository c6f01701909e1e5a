"""Raw files: what must be where, and their checksums."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pepbench.data.arrays import file_digest
from pepbench.data.line_blocks import readable
from pepbench.errors import DataError


def files_in(folder: Path, files: Sequence[str]) -> dict[str, Path]:
    """The paths of all ``files`` in a folder, by name.

    Raises
    ------
    DataError
        If the folder lacks one, or one is empty.
    """
    expected = f"expected a folder with {', '.join(files)}"
    if not existing(folder, expected).is_dir():
        raise DataError(f"{folder} is not a folder; {expected}")
    missing = [name for name in files if not existing(folder / name).is_file()]
    if missing:
        raise DataError(f"{folder} lacks {', '.join(missing)}; {expected}")
    return {name: not_empty(folder / name) for name in files}


def one_file(source: Path, candidates: Sequence[str]) -> Path:
    """The file ``source`` itself, or the first of the ``candidates`` in the folder ``source``.

    Raises
    ------
    DataError
        If there is none, or it is empty.
    """
    expected = f"expected a file, or a folder with one of {', '.join(candidates)}"
    if existing(source, expected).is_dir():
        found = [source / name for name in candidates if existing(source / name).is_file()]
        if not found:
            raise DataError(f"{source} holds none of {', '.join(candidates)}; {expected}")
        source = found[0]
    return not_empty(source)


def existing(path: Path, expected: str = "") -> Path:
    """The path, resolved once; raises :class:`DataError` for loops of symbolic links.

    With ``expected``, for paths that do not exist too.
    """
    try:
        path.stat()
    except FileNotFoundError:
        if expected:
            raise DataError(f"{path} does not exist; {expected}") from None
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}; give another path") from None
    return path


def not_empty(path: Path) -> Path:
    """The path; raises :class:`DataError` if the file is empty or no plain file."""
    if not path.is_file():
        raise DataError(f"{path} is not a plain file; give a file")
    if path.stat().st_size == 0:
        raise DataError(f"{path} is empty; get it again")
    return path


def digests_of(files: Mapping[str, Path]) -> dict[str, str]:
    """SHA-256 (hex) of each file."""
    digests = {}
    for name, path in files.items():
        with readable(path):
            digests[name] = file_digest(path)
    return digests
