import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from small_dataset import Small, overwrite, random_rows, small

from pepbench.data.cache import cache_root, scratch, table_folder
from pepbench.data.dataset import Block, Dataset
from pepbench.data.describe import describe
from pepbench.data.manage import add, is_added, open_table, verify
from pepbench.data.splits import open_splits
from pepbench.errors import DataError


@dataclass(frozen=True)
class Letters(Dataset):
    """Reads ``letters.txt``: a letter a line, capital ones are positive."""

    name = "letters"
    title = "Letters"
    licence = "none"
    citation = "none"
    url = "none"
    files = ("letters.txt",)

    def blocks(self, source: Path | None):
        lines = (source / "letters.txt").read_text().split()
        yield Block({"letter": pa.array(lines)}, np.array([line.isupper() for line in lines]))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    (tmp_path / "raw").mkdir()
    (tmp_path / "raw" / "letters.txt").write_text("a B c D\n" * 30)
    return tmp_path / "raw"


def test_cache_is_where_the_environment_says(cache):
    assert cache_root() == cache


def test_cache_may_be_in_the_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PEPBENCH_CACHE", "~/kept")
    assert cache_root() == tmp_path / "kept"


def test_data_set_not_added_says_how_to_add_it():
    assert not is_added(Letters())
    assert verify(Letters()) == ["data set 'letters' is not in the cache"]
    with pytest.raises(
        DataError,
        match="data set 'letters' is not in the cache; "
        "add it with: pepbench data add letters --from FOLDER",
    ):
        open_table(Letters())


def test_added_data_set_opens_and_records_its_sources(source):
    table = add(Letters(), source)
    assert is_added(Letters())
    assert open_table(Letters()).fingerprint == table.fingerprint
    assert list(table.meta.sources) == ["letters.txt"]
    assert len(table.meta.sources["letters.txt"]) == 64


def test_same_files_are_not_read_twice_and_other_files_replace_the_table(source):
    first = add(Letters(), source)
    made = (first.folder / "meta.json").stat().st_mtime_ns
    add(Letters(), source)
    assert (first.folder / "meta.json").stat().st_mtime_ns == made
    splits = open_splits(first, 0)
    (source / "letters.txt").write_text("a B\n" * 30)
    second = add(Letters(), source)
    assert second.fingerprint != first.fingerprint
    assert open_splits(second, 0).fingerprint != splits.fingerprint


def test_damaged_table_says_how_to_add_it_again(source):
    table = add(Letters(), source)
    overwrite(table.folder / "codes.npy", b"")
    assert not is_added(Letters())
    assert verify(Letters())
    with pytest.raises(DataError, match=r"damaged.*pepbench data add letters"):
        open_table(Letters())
    add(Letters(), source)
    assert verify(Letters()) == []


def test_generated_table_is_built_when_opened_and_again_when_damaged():
    dataset = small(*random_rows())
    table = open_table(dataset)
    assert is_added(dataset)
    (table.folder / "codes.npy").unlink()
    assert open_table(dataset).codes.shape == (200, 2)


def test_verify_looks_into_splits_too(source):
    splits = open_splits(add(Letters(), source), 4)
    path = splits.folder / "train-labels.npy"
    content = path.read_bytes()
    overwrite(path, content[:-1] + bytes([1 - content[-1]]))
    assert [problem for problem in verify(Letters()) if "train-labels" in problem]


def test_description_is_json_and_adds_up(source):
    add(Letters(), source)
    described = json.loads(json.dumps(describe(Letters(), split_seed=2)))
    assert described["rows"] == sum(described["split_rows"].values()) == 120
    assert described["positive_share"] == 0.5
    assert described["features"] == sum(described["fields"].values()) == 5
    assert described["unseen_share"] == {"validation": 0.0, "test": 0.0}
    assert described["bytes"] > 1_000
    assert "bayes_auc" not in described


LETTERS, ONES = pa.array(["a", "b"]), np.array([0, 1])


@pytest.mark.parametrize(
    ("block", "message"),
    [
        ({"a": LETTERS}, "yields dict, expected Block"),
        (Block({"a": LETTERS}, [0, 1]), "gives 'labels' as list, expected an array of numpy"),
        (Block({"a": LETTERS}, ONES[:, None]), "'labels' as ndarray, .* with a number a row"),
        (Block({"a": np.array(["a", "b"])}, ONES), r"'a' as ndarray, .*pyarrow\.array\(values\)"),
        (Block({"a": pa.chunked_array([LETTERS])}, ONES), "'a' as ChunkedArray"),
        (Block({"a": pa.array([{"b": 1}, {"b": 2}])}, ONES), "'a' as struct<b: int64>"),
        (Block({"a": LETTERS}, ONES, split_key=ONES), "'split_key' as ndarray"),
        (Block({"a": LETTERS}, ONES, dense={"x": [0.5, 1.5]}), "'x' as list"),
    ],
)
def test_what_a_plug_in_yields_wrongly_is_named(block, message):
    dataset = type("Given", (type(small({}, [])),), {"blocks": lambda *_: iter([block])})()
    with pytest.raises(DataError, match=f"data set 'small': blocks.*{message}"):
        add(dataset, None)


@pytest.mark.parametrize("had", [False, True])
def test_failing_build_leaves_the_cache_as_it_was(had):
    columns, labels = random_rows()
    if had:
        add(small(columns, labels), None)
    folder = table_folder(small(columns, labels))
    if had:
        (folder / "codes.npy").unlink()
    with pytest.raises(RuntimeError, match="the reader broke"):
        add(small(columns, labels, block_rows=50, fail_at=100), None)
    assert folder.exists() == had
    left = [path.name for path in folder.parent.iterdir() if not path.name.endswith(".lock")]
    assert left == ([folder.name] if had else [])


def test_what_a_killed_build_left_behind_is_removed():
    dataset = small(*random_rows())
    folder = table_folder(dataset)
    leftover = folder.parent / f".{folder.name}.abc.tmp"
    leftover.mkdir(parents=True)
    add(dataset, None)
    assert not leftover.exists()


def test_a_scratch_folder_that_a_killed_process_left_is_removed_one_in_use_is_not(tmp_path):
    left = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, sys; from pathlib import Path; from pepbench.data.cache import scratch\n"
            "with scratch(Path(sys.argv[1]), 'rows') as folder: print(folder); os._exit(9)",
            str(tmp_path),
        ],
        stdout=subprocess.PIPE,
        check=False,
    )
    assert left.returncode == 9
    (folder,) = tmp_path.glob(".rows-*")
    with scratch(tmp_path, "rows") as first, scratch(tmp_path, "rows") as second:
        assert not folder.exists()
        assert first != second
        assert list(first.iterdir()) == list(second.iterdir()) == []
    assert not list(tmp_path.glob(".rows-*"))


def test_cache_that_cannot_be_written_is_a_data_error(cache):
    cache.write_text("a file where the folder should be")
    with pytest.raises(DataError, match="cannot add data set 'small'"):
        open_table(small(*random_rows()))
    assert not is_added(small(*random_rows()))


@pytest.mark.slow
def test_two_processes_build_once(tmp_path):
    script = tmp_path / "both.py"
    script.write_text(
        "import sys, time\n"
        f"sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from small_dataset import Small, random_rows\n"
        "from pepbench.data.manage import add\n"
        "class Slow(Small):\n"
        "    columns, labels = random_rows()\n"
        "    def blocks(self, source):\n"
        "        print('building', flush=True)\n"
        "        time.sleep(1)\n"
        "        yield from super().blocks(source)\n"
        "print(add(Slow(), None).fingerprint)\n"
    )
    both = [
        subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    outputs = [process.communicate(timeout=60)[0].split() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted(map(len, outputs)) == [1, 2]
    assert outputs[0][-1] == outputs[1][-1]


def test_source_folder_is_checked(source, tmp_path):
    with pytest.raises(DataError, match=r"needs a folder with letters\.txt"):
        add(Letters(), None)
    with pytest.raises(DataError, match="does not exist"):
        add(Letters(), tmp_path / "nowhere")
    with pytest.raises(DataError, match="is not a folder"):
        add(Letters(), source / "letters.txt")
    with pytest.raises(DataError, match=r"lacks letters\.txt; expected a folder with letters\.txt"):
        add(Letters(), tmp_path)
    (source / "letters.txt").write_text("")
    with pytest.raises(DataError, match=r"letters\.txt is empty"):
        add(Letters(), source)
    with pytest.raises(DataError, match="is generated"):
        add(Small(), source)


def test_data_code_does_not_import_torch():
    code = "import sys, pepbench.data.manage; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
