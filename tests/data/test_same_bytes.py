"""The same rows give the same bytes, whatever the machine does with them."""

import os
import subprocess
import sys

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pepbench.datasets.criteo import Criteo
from pepbench.datasets.own import Own

from pepbench.data import pipeline
from pepbench.data.file_description import FileDescription
from pepbench.data.manage import add
from pepbench.data.readers import delimited
from pepbench.data.readers.raw_files import line_blocks
from pepbench.data.splits import open_splits

CRITEO = ("87edd66f6e67576e", "10ec01376d0b834d")
CITIES = "b339ff7ad2a87e08"


def fingerprints(dataset, source):
    table = add(dataset, source)
    return table.fingerprint, open_splits(table, 0).fingerprint


@pytest.mark.parametrize("threads", [1, 2, 5])
@pytest.mark.parametrize("block_bytes", [700, 10_000, 1 << 22])
@pytest.mark.slow
def test_threads_and_block_size_do_not_matter(raw, monkeypatch, threads, block_bytes):
    monkeypatch.setattr(pipeline, "usable_threads", lambda: threads)
    monkeypatch.setattr("pepbench.data.build_table.usable_threads", lambda: threads)
    monkeypatch.setattr(delimited, "line_blocks", lambda path, _: line_blocks(path, block_bytes))
    assert fingerprints(Criteo(), raw("criteo")) == CRITEO


@pytest.mark.parametrize("locale", ["C", "POSIX", "tr_TR.UTF-8", "de_DE.ISO-8859-1"])
@pytest.mark.slow
def test_locale_does_not_matter(raw, cache, locale):
    command = [sys.executable, "-m", "pepbench", "data", "add", "criteo", "--json"]
    environment = {**os.environ, "PEPBENCH_CACHE": str(cache), "LC_ALL": locale, "LANG": locale}
    ran = subprocess.run(
        [*command, "--from", raw("criteo")], env=environment, capture_output=True, check=True
    )
    assert CRITEO[0] in ran.stdout.decode()
    assert CRITEO[1] in ran.stdout.decode()


STRINGS = ["object", "string[python]", "string[pyarrow]", "str", "category"]


@pytest.mark.parametrize("kind", STRINGS)
def test_pandas_and_arrow_string_types_do_not_matter(tmp_path, kind):
    rng = np.random.default_rng(0)
    cities = pd.Series(
        np.array(["Ulm", "Köln", None, "Bonn"], dtype=object)[rng.integers(0, 4, 200)]
    )
    frame = pd.DataFrame({"y": rng.integers(0, 2, 200), "city": cities.astype(kind)})
    frame.to_parquet(tmp_path / "c.parquet")
    own = Own.described("mine", FileDescription(format="parquet", label="y", fields=("city",)))
    assert fingerprints(own, tmp_path / "c.parquet")[0] == CITIES


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(),
        pa.large_string(),
        pa.string_view(),
        pa.binary(),
        pa.dictionary(pa.int8(), pa.string()),
    ],
    ids=str,
)
def test_arrow_types_and_row_groups_do_not_matter(tmp_path, kind):
    rng = np.random.default_rng(0)
    cities = np.array(["Ulm", "Köln", None, "Bonn"], dtype=object)[rng.integers(0, 4, 200)]
    own = Own.described("mine", FileDescription(format="parquet", label="y", fields=("city",)))
    rows = pa.table(
        {"y": rng.integers(0, 2, 200), "city": pa.array(cities, pa.string()).cast(kind)}
    )
    for size in (7, 200):
        pq.write_table(rows, tmp_path / "c.parquet", row_group_size=size)
        assert fingerprints(own, tmp_path / "c.parquet")[0] == CITIES


text = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n\x1f\t"), max_size=6
)


@given(st.lists(st.tuples(text, text, st.booleans()), min_size=2, max_size=30), st.integers(1, 40))
def test_any_text_survives_reading_in_any_chunks(tmp_path_factory, rows, chunk_bytes):
    path = tmp_path_factory.mktemp("text") / "c.tsv"
    lines = [f"{int(y)}\t{a}\t{b}\n" for a, b, y in rows]
    path.write_bytes("".join(lines).encode())
    names = ("y", "a", "b")
    chunks = list(delimited.read_chunks(path, names, separator="\t", chunk_bytes=chunk_bytes))
    for i, name in enumerate(("a", "b")):
        assert [v for chunk in chunks for v in chunk[name].to_pylist()] == [row[i] for row in rows]
    assert [chunk.first_row for chunk in chunks] == [
        1 + sum(map(len, chunks[:i])) for i in range(len(chunks))
    ]


quoted = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\r\n"), max_size=6)


@given(st.lists(st.tuples(quoted, quoted), min_size=1, max_size=30), st.integers(1, 40))
def test_quotes_and_separators_within_quotes_survive(tmp_path_factory, rows, chunk_bytes):
    path = tmp_path_factory.mktemp("text") / "c.csv"
    lines = [",".join('"' + v.replace('"', '""') + '"' for v in row) + "\n" for row in rows]
    path.write_bytes("".join(lines).encode())
    chunks = delimited.read_chunks(
        path, ("a", "b"), separator=",", quotes=True, chunk_bytes=chunk_bytes
    )
    found = [
        pair
        for chunk in chunks
        for pair in zip(chunk["a"].to_pylist(), chunk["b"].to_pylist(), strict=True)
    ]
    assert found == rows
