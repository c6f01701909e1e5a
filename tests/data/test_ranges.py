import numpy as np
import pytest
from small_dataset import random_rows, small

from pepbench.data import row_checks
from pepbench.data.manage import add, open_table
from pepbench.data.splits import open_splits
from pepbench.errors import DataError


def overwrite(path, row, field, value):
    array = np.load(path)
    array[row, field] = value
    path.unlink()
    np.save(path, array)


@pytest.fixture
def dataset():
    return small(*random_rows())


@pytest.mark.parametrize("value", [40, -1, 2**31 - 1])
def test_code_out_of_range_is_named_when_the_table_is_opened(dataset, value):
    overwrite(add(dataset, None).folder / "codes.npy", 150, 1, value)
    with pytest.raises(
        DataError, match=rf"codes.npy, row 151: {value} in field 'b' is outside 0 to"
    ):
        open_table(dataset)


@pytest.mark.parametrize("part", ["train", "validation", "test"])
def test_id_of_another_field_is_named_when_the_split_is_opened(dataset, part):
    splits = open_splits(add(dataset, None), 0)
    overwrite(splits.folder / f"{part}-ids.npy", 3, 0, splits.fields.offsets[1])
    with pytest.raises(DataError, match=rf"{part}-ids.npy, row 4: \d+ in field 'a' .* made anew"):
        open_splits(splits.table, 0)


def test_arrays_are_looked_through_once(dataset, monkeypatch):
    splits = open_splits(add(dataset, None), 0)

    def refuse(*_):
        raise AssertionError("looked again")

    monkeypatch.setattr(row_checks, "first_outside", refuse)
    open_table(dataset)
    open_splits(splits.table, 0)
    (splits.folder / "train-ids.checked").unlink()
    with pytest.raises(AssertionError):
        open_splits(splits.table, 0)


def test_finished_files_are_read_only(dataset):
    splits = open_splits(add(dataset, None), 0)
    for folder in (splits.folder, splits.table.folder):
        files = [path for path in folder.iterdir() if path.suffix in (".npy", ".json", ".parquet")]
        assert files
        assert not any(path.stat().st_mode & 0o222 for path in files)
