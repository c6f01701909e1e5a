"""Download raw files from their publishers: resumed, verified, and unpacked safely.

Proxies are taken from the usual environment variables (``HTTPS_PROXY``, ``NO_PROXY`` …).
"""

from __future__ import annotations

import shutil
import stat
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path, PurePosixPath
from typing import IO, Any

import pooch
import requests

from pepbench.data.cache import cache_root, locked
from pepbench.data.dataset import Dataset, Download
from pepbench.data.progress import progress_line
from pepbench.data.readers.raw_files import file_digest
from pepbench.errors import DataError
from pepbench.records import write_atomically
from pepbench.units import byte_size

TIMEOUT = 30.0
"""Seconds without an answer after which a download fails."""
CHUNK_BYTES = 1 << 14
"""At most this much is lost when a connection is cut."""
PARTIAL, OUT_OF_RANGE = 206, 416


def fetch(dataset: Dataset, mirrors: Sequence[str] = ()) -> Path:
    """Download a data set's raw files into the cache; files that are there are not fetched again.

    Parameters
    ----------
    dataset
        The data set.
    mirrors
        Addresses to try before the publisher's: of the file, or, with a slash at the end, of its
        folder.

    Returns
    -------
    The folder of raw files.

    Raises
    ------
    DataError
        If there is nothing to fetch, a file cannot be downloaded or has another checksum, or an
        archive is not safe to unpack.
    """
    if not dataset.downloads:
        raise DataError(
            f"data set {dataset.name!r} cannot be fetched: its licence or its publisher does not "
            f"allow it; get it from {dataset.url} and add it with --from"
        )
    pooch.get_logger().setLevel("WARNING")
    folder = cache_root() / "raw" / dataset.downloads[0].folder
    try:
        with locked(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for download in dataset.downloads:
                path = _fetched(download, mirrors, folder)
                if zipfile.is_zipfile(path):
                    unpack(path, dataset.files, folder, download.largest)
    except OSError as error:
        raise DataError(f"cannot fetch data set {dataset.name!r}: {error}") from error
    return folder


def unpack(archive: Path, wanted: Sequence[str], folder: Path, largest: int) -> None:
    """Unpack some files of a zip archive, from any of its folders.

    Parameters
    ----------
    archive
        The archive.
    wanted
        Names of the files.
    folder
        Where to put them.
    largest
        Largest size of the unpacked archive, in bytes.

    Raises
    ------
    DataError
        If any entry has an absolute name, a name with ``..``, or is a link; if the archive holds
        more than ``largest`` bytes, lacks a file, or is damaged.
    """
    try:
        with zipfile.ZipFile(archive) as opened:
            entries = opened.infolist()
            for entry in entries:
                _refuse_unsafe(archive, entry)
            total = sum(entry.file_size for entry in entries)
            if total > largest:
                raise DataError(
                    f"{archive} unpacks to {byte_size(total)}, more than the {byte_size(largest)} "
                    "allowed; it was not unpacked"
                )
            found = {PurePosixPath(entry.filename).name: entry for entry in entries}
            missing = [name for name in wanted if name not in found]
            if missing:
                raise DataError(f"{archive} lacks {', '.join(missing)}; it was not unpacked")
            for name in wanted:
                unfinished = folder / f".{name}.tmp"
                with opened.open(found[name]) as source, unfinished.open("wb") as target:
                    _copy_at_most(source, target, found[name].file_size, archive)
                unfinished.replace(folder / name)
    except (zipfile.BadZipFile, RuntimeError, NotImplementedError, EOFError) as error:
        raise DataError(f"{archive} is damaged: {error}; remove it and fetch it again") from None
    finally:
        for leftover in folder.glob(".*.tmp"):
            leftover.unlink()


def _fetched(download: Download, mirrors: Sequence[str], folder: Path) -> Path:
    """The file of a download, from the first address that has it.

    If no checksum is published, the one of the first download is noted next to the file, and later
    downloads must have it.
    """
    noted = folder / f"{download.name}.sha256"
    checksum = download.checksum or (noted.read_text().strip() if noted.exists() else None)
    addresses = [
        f"{mirror}{download.name}" if mirror.endswith("/") else mirror for mirror in mirrors
    ]
    failures = []
    for address in [*addresses, download.url]:
        try:
            path = pooch.retrieve(
                address,
                known_hash=checksum,
                fname=download.name,
                path=folder,
                downloader=_resuming(folder / f"{download.name}.part"),
            )
            if checksum is None:
                _note_checksum(Path(path), noted)
            return Path(path)
        except requests.RequestException as error:
            failures.append(f"{address}: {_in_words(error)}")
        except ValueError:
            # From pooch: the checksum differs.
            failures.append(f"{address}: its checksum is not {checksum}")
    raise DataError(
        f"{download.name} could not be fetched ({'; '.join(failures)}); try again, which resumes, "
        "or another --url; or download it by hand and add it with --from"
    )


def _note_checksum(path: Path, noted: Path) -> None:
    """Note the checksum of a first download, and warn that it was not verified."""
    checksum = f"sha256:{file_digest(path)}"
    write_atomically(noted, f"{checksum}\n".encode())
    print(
        f"warning: nobody has published a checksum of {path.name}; the one that came has "
        f"{checksum}, which is noted and asked of later ones: compare it with a colleague's",
        file=sys.stderr,
    )


def _resuming(partial: Path) -> Callable[[str, str, Any], None]:
    """A downloader for pooch that resumes an earlier attempt, left in ``partial``."""

    def download(url: str, output_file: str, _: Any) -> None:
        begun = partial.stat().st_size if partial.exists() else 0
        headers = {"Range": f"bytes={begun}-", "Accept-Encoding": "identity"} if begun else {}
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            if answer.status_code == OUT_OF_RANGE:
                partial.unlink()
                download(url, output_file, None)
                return
            answer.raise_for_status()
            goes_on = answer.status_code == PARTIAL
            begun = begun if goes_on else 0
            length = answer.headers.get("Content-Length")
            total = begun + int(length) if length else None
            with (
                partial.open("ab" if goes_on else "wb") as file,
                progress_line(f"fetching {url}", total, "bytes") as progress,
            ):
                for chunk in answer.iter_content(CHUNK_BYTES):
                    file.write(chunk)
                    progress(file.tell())
        shutil.move(partial, output_file)

    return download


def _refuse_unsafe(archive: Path, entry: zipfile.ZipInfo) -> None:
    # Backslashes and drive letters are separators to some systems.
    path = PurePosixPath(entry.filename.replace("\\", "/"))
    unsafe = path.is_absolute() or ".." in path.parts or ":" in entry.filename
    link = stat.S_ISLNK(entry.external_attr >> 16)
    if unsafe or link:
        what = "a link" if link else "a name that leads out of the folder"
        raise DataError(f"{archive}: entry {entry.filename!r} is {what}; it was not unpacked")


def _copy_at_most(source: IO[bytes], target: IO[bytes], size: int, archive: Path) -> None:
    """Copy; raise :class:`DataError` beyond the size in the archive's index."""
    copied = 0
    while chunk := source.read(CHUNK_BYTES):
        copied += len(chunk)
        if copied > size:
            raise DataError(f"{archive} holds more than its index says; it was not unpacked")
        target.write(chunk)


def _in_words(error: requests.RequestException) -> str:
    if error.response is not None:
        return f"the server says {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection was cut"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    return " ".join(str(error).split())
