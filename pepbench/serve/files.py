"""The two files of an export: checked when opened, memory-mapped, never executed."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from pepbench.errors import ServeError

TABLE_FILE = "table.safetensors"
META_FILE = "meta.json"
FORMAT = "pepbench-table"
VERSION = 1
"""Of the format. Others are refused."""

_DTYPES = {
    "F64": "<f8",
    "F32": "<f4",
    "F16": "<f2",
    "I8": "|i1",
    "U8": "|u1",
    "U16": "<u2",
    "U32": "<u4",
    "U64": "<u8",
}


def read_meta(folder: Path) -> dict[str, Any]:
    """Read ``meta.json``.

    Raises
    ------
    ServeError
        If it is missing, damaged, or of another format or version.
    """
    path = folder / META_FILE
    try:
        meta = json.loads(path.read_bytes())
    except OSError as error:
        raise ServeError(
            f"{path} cannot be read: {error.strerror}; give the folder that pepbench export wrote"
        ) from None
    except (ValueError, RecursionError):
        raise ServeError(f"{path} is damaged: it is not JSON; export the table again") from None
    if not isinstance(meta, dict) or meta.get("format") != FORMAT:
        raise ServeError(f"{path} is not the description of an exported table")
    if meta.get("version") != VERSION:
        raise ServeError(
            f"{path} is of version {meta.get('version')!r}, this pepbench reads version {VERSION}; "
            "export the table again, or use the pepbench that wrote it"
        )
    return meta


def open_tensors(path: Path, sha256: str | None) -> dict[str, NDArray[np.generic]]:
    """All tensors of a safetensors file, memory-mapped and read-only.

    Parameters
    ----------
    path
        The file.
    sha256
        Checksum (hex) that it must have; None skips it, so that a file of many gigabytes opens at
        once. The header is checked in any case.

    Raises
    ------
    ServeError
        If the file is missing, has another checksum, or its header does not fit its content.
    """
    try:
        if sha256 is not None:
            _check_sha256(path, sha256)
        # The library checks the header: that tensors are inside the file and fill it.
        with safe_open(path, framework="numpy"):
            pass
        with path.open("rb") as file:
            length = int.from_bytes(file.read(8), "little")
            header = json.loads(file.read(length))
        content = np.memmap(path, dtype=np.uint8, mode="r", offset=8 + length)
    except OSError as error:
        raise ServeError(f"{path} cannot be read: {error.strerror or error}") from None
    except (SafetensorError, ValueError) as error:
        # A ValueError: an empty file cannot be mapped.
        raise ServeError(f"{path} is damaged: {error}; export the table again") from None
    return {
        name: _tensor(content, entry, f"{path}, tensor {name!r}")
        for name, entry in header.items()
        if name != "__metadata__"
    }


def _check_sha256(path: Path, wanted: str) -> None:
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if found != wanted:
        raise ServeError(
            f"{path} does not match the checksum in {META_FILE}: it was cut off or changed; "
            "copy it again, or export the table again"
        )


def _tensor(
    content: NDArray[np.uint8], entry: Mapping[str, Any], where: str
) -> NDArray[np.generic]:
    dtype = _DTYPES.get(entry["dtype"])
    begin, end = entry["data_offsets"]
    shape = tuple(entry["shape"])
    if dtype is None:
        raise ServeError(f"{where} has the type {entry['dtype']}, which no form uses")
    inside = 0 <= begin <= end <= len(content)
    if not inside or end - begin != math.prod(shape) * np.dtype(dtype).itemsize:
        raise ServeError(f"{where} is not inside the file; export the table again")
    flat: NDArray[np.generic] = content[begin:end].view(dtype)
    # Plain arrays over the mapping: a memmap's own bookkeeping slows small lookups.
    return np.asarray(flat).reshape(shape)
