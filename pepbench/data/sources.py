"""Folders of raw files: what must be in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from pepbench.data.arrays import file_digest
from pepbench.errors import DataError


def check_folder(folder: Path, files: Sequence[str]) -> dict[str, str]:
    """Make sure that a folder holds all ``files``, none of them empty.

    Returns
    -------
    SHA-256 (hex) of each file.

    Raises
    ------
    DataError
        If it does not.
    """
    expected = f"expected a folder with {', '.join(files)}"
    if not folder.exists():
        raise DataError(f"{folder} does not exist; {expected}")
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder; {expected}")
    missing = [name for name in files if not (folder / name).is_file()]
    if missing:
        raise DataError(f"{folder} lacks {', '.join(missing)}; {expected}")
    for name in files:
        if (folder / name).stat().st_size == 0:
            raise DataError(f"{folder / name} is empty; get it again")
    return {name: file_digest(folder / name) for name in files}
