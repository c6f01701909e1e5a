"""Fetching from a server on the loopback that can misbehave."""

import hashlib
import io
import stat
import threading
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pepbench.datasets.ml_100k import MovieLens100K

from pepbench.catalog import Catalog
from pepbench.data.dataset import Block, Dataset, Download
from pepbench.data.fetch import fetch, unpack
from pepbench.data.manage import add, open_table
from pepbench.errors import DataError


class Server(ThreadingHTTPServer):
    """Serves ``files``; what ``misbehave`` says for a path comes first."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.cut_after: dict[str, int] = {}
        self.requests: list[tuple[str, str | None]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def do_GET(self) -> None:
        path, ranged = self.path, self.headers.get("Range")
        self.server.requests.append((path, ranged))
        if path in self.server.redirects:
            self.send_response(302)
            self.send_header("Location", self.server.redirects[path])
            self.end_headers()
            return
        if path not in self.server.files:
            self.send_error(404)
            return
        content = self.server.files[path]
        begin = int(ranged.removeprefix("bytes=").removesuffix("-")) if ranged else 0
        if begin >= len(content):
            self.send_error(416)
            return
        self.send_response(206 if ranged else 200)
        self.send_header("Content-Length", str(len(content) - begin))
        self.end_headers()
        end = self.server.cut_after.pop(path, len(content))
        self.wfile.write(content[begin:end])

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch) -> Iterator[Server]:
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as running:
        threading.Thread(target=running.serve_forever, daemon=True).start()
        yield running
        running.shutdown()


def zipped(entries: dict[str, str | bytes], link: str | None = None) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if name == link:
                info.external_attr = (stat.S_IFLNK | 0o777) << 16
            archive.writestr(info, content)
    return buffer.getvalue()


LETTERS = "\n".join("aBcD" * 30) + "\n"
GOOD = zipped({"letters/letters.txt": LETTERS, "letters/README": "hello"})


@pytest.fixture
def letters(server) -> Callable[..., Dataset]:
    def make(content: bytes = GOOD, checksum: str | None = None, largest: int = 10**6) -> Dataset:
        server.files["/letters.zip"] = content
        digest = checksum or hashlib.sha256(content).hexdigest()
        download = Download(f"{server.url}/letters.zip", f"sha256:{digest}", "letters", largest)

        @dataclass(frozen=True)
        class Letters(Dataset):
            name = "letters"
            title = "Letters"
            licence = "CC0"
            citation = "none"
            url = "https://letters.example"
            files = ("letters.txt",)
            downloads = (download,)

            def blocks(self, source: Path | None):
                lines = (source / "letters.txt").read_text().split()
                labels = np.array([line.isupper() for line in lines])
                yield Block({"letter": pa.array(lines)}, labels)

        return Letters()

    return make


def test_fetched_files_are_added(letters, cache):
    folder = fetch(letters())
    assert folder == cache / "raw" / "letters"
    assert add(letters(), folder).meta.n_rows == 120
    assert sorted(path.name for path in folder.iterdir()) == ["letters.txt", "letters.zip"]


def test_what_is_there_is_not_fetched_again(letters, server):
    fetch(letters())
    fetch(letters())
    assert len(server.requests) == 1


def test_other_file_than_the_published_one_is_refused(letters, cache):
    with pytest.raises(DataError, match=r"letters\.zip: its checksum is not sha256:0000") as caught:
        fetch(letters(checksum="0" * 64))
    assert "\n" not in str(caught.value)
    assert not list((cache / "raw" / "letters").iterdir())


def test_checksum_nobody_published_is_noted_and_held_to(letters, server, cache, capsys):
    dataset = letters()
    unknown = replace(dataset.downloads[0], checksum=None)
    type(dataset).downloads = (unknown,)
    digest = f"sha256:{hashlib.sha256(GOOD).hexdigest()}"
    fetch(dataset)
    warning = capsys.readouterr().err
    assert (
        f"nobody has published a checksum of letters.zip; the one that came has {digest}" in warning
    )
    fetch(dataset)
    assert capsys.readouterr().err == ""
    assert len(server.requests) == 1
    (cache / "raw" / "letters" / "letters.zip").unlink()
    server.files["/letters.zip"] = zipped({"letters.txt": LETTERS.upper()})
    with pytest.raises(DataError, match=f"its checksum is not {digest}"):
        fetch(dataset)


def test_cut_connection_is_resumed(letters, server, cache):
    noise = np.random.default_rng(0).bytes(200_000)
    dataset = letters(zipped({"letters.txt": LETTERS, "noise": noise}))
    server.cut_after["/letters.zip"] = 100_000
    with pytest.raises(DataError, match=r"the connection was cut.*try again, which resumes"):
        fetch(dataset)
    begun = (cache / "raw" / "letters" / "letters.zip.part").stat().st_size
    assert 80_000 < begun <= 100_000
    fetch(dataset)
    assert server.requests[-1] == ("/letters.zip", f"bytes={begun}-")
    assert add(dataset, cache / "raw" / "letters").meta.n_rows == 120


def test_a_part_that_is_too_long_is_begun_anew(letters, cache):
    folder = cache / "raw" / "letters"
    folder.mkdir(parents=True)
    (folder / "letters.zip.part").write_bytes(bytes(len(GOOD)))
    fetch(letters())
    assert (folder / "letters.txt").read_text() == LETTERS


def test_missing_file_and_dead_server_are_named(letters, server):
    dataset = letters()
    del server.files["/letters.zip"]
    with pytest.raises(DataError, match="the server says 404 Not Found"):
        fetch(dataset)
    with pytest.raises(DataError, match=r"127\.0\.0\.1:1/letters\.zip: no connection; http"):
        fetch(dataset, ["http://127.0.0.1:1/"])


def test_mirror_and_redirect_lead_to_the_file(letters, server):
    dataset = letters()
    server.files["/mirror/letters.zip"] = server.files.pop("/letters.zip")
    server.redirects["/moved/letters.zip"] = f"{server.url}/mirror/letters.zip"
    fetch(dataset, [f"{server.url}/nothing/", f"{server.url}/moved/"])
    assert [path for path, _ in server.requests] == [
        "/nothing/letters.zip",
        "/moved/letters.zip",
        "/mirror/letters.zip",
    ]


HOSTILE = [
    (zipped({"../letters.txt": LETTERS}), r"'\.\./letters\.txt' is a name that leads out"),
    (zipped({"/etc/letters.txt": LETTERS}), "leads out of the folder"),
    (zipped({"..\\letters.txt": LETTERS}), "leads out of the folder"),
    (zipped({"C:letters.txt": LETTERS}), "leads out of the folder"),
    (zipped({"letters.txt": "/etc/passwd"}, link="letters.txt"), "'letters.txt' is a link"),
    (zipped({"letters.txt": bytes(2 * 10**6)}), r"unpacks to 2\.0 MB, more than the 1\.0 MB"),
    (zipped({"other.txt": LETTERS}), r"lacks letters\.txt"),
]


@pytest.mark.parametrize(("content", "message"), HOSTILE)
def test_hostile_archives_are_not_unpacked(letters, cache, tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        fetch(letters(content))
    assert [path.name for path in (cache / "raw" / "letters").iterdir()] == ["letters.zip"]
    assert not (tmp_path / "letters.txt").exists()


def test_archive_whose_index_lies_about_the_size_is_refused(tmp_path):
    content = zipped({"letters.txt": bytes(50_000)})
    size = (50_000).to_bytes(4, "little")
    (tmp_path / "a.zip").write_bytes(content.replace(size, (10).to_bytes(4, "little")))
    with pytest.raises(DataError, match=r"damaged|more than its index"):
        unpack(tmp_path / "a.zip", ["letters.txt"], tmp_path, 10**6)
    assert not (tmp_path / "letters.txt").exists()


def test_data_set_without_an_address_says_where_to_get_it(command):
    ran = command("data", "fetch", "criteo")
    assert ran.code == 2
    assert "get it from https://ailab.criteo.com" in ran.err
    assert "Licence: Criteo: research use" in ran.out


def test_licence_comes_first_and_movielens_is_fetched_and_added(command, server, raw, monkeypatch):
    names = MovieLens100K.files
    content = zipped({f"ml-100k/{name}": (raw("ml-100k") / name).read_bytes() for name in names})
    server.files["/ml-100k.zip"] = content
    checksum = f"sha256:{hashlib.sha256(content).hexdigest()}"
    download = Download(f"{server.url}/ml-100k.zip", checksum, "ml-100k")
    monkeypatch.setattr(MovieLens100K, "downloads", (download,))
    ran = command("data", "fetch", "ml-100k")
    assert ran.code == 0, ran.err
    assert ran.out.startswith("MovieLens 100K, encoded as in the PEP paper. Licence: GroupLens")
    assert open_table(MovieLens100K()).fingerprint == "4dace3254ade1e55"


def test_published_addresses_are_complete():
    datasets = [Catalog().load("dataset", name) for name in Catalog().entries("dataset")]
    downloads = [download for dataset in datasets for download in dataset.downloads]
    folders = {download.folder for download in downloads}
    assert folders == {"ml-100k", "ml-1m", "frappe", "adult", "complete-journey"}
    unknown = [download.name for download in downloads if download.checksum is None]
    assert unknown == ["frappe.train.libfm"]
    for download in downloads:
        assert download.url.startswith("https://")
        if download.checksum is None:
            continue
        kind, _, digest = download.checksum.partition(":")
        assert len(digest) == {"md5": 32, "sha256": 64}[kind]
