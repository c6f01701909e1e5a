"""Records packed into Parquet: the same store, fewer files."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from test_records import SPEC, final, record_of

from pepbench.errors import RecordError
from pepbench.records import RecordStore, figures_of
from pepbench.records.segments import ROWS_AT_ONCE, Segment, segment_bytes


def records_of(count: int):
    return [record_of(SPEC.model_copy(update={"seed": seed}), auc=0.5) for seed in range(count)]


@pytest.fixture
def said() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, said: list[str]) -> RecordStore:
    return RecordStore(tmp_path, said.append)


def test_packed_store_holds_what_the_loose_one_held(store):
    for record in records_of(7):
        store.put(record)
    kept = final(store, seed=50)
    before, whole = list(store), list(store.with_incomplete())
    assert store.pack(at_least=9) == 0
    assert store.pack(at_least=1) == 8
    assert not list(store.records.glob("*.json"))
    assert len(list(store.segments.iterdir())) == 1
    for opened in (store, RecordStore(store.folder)):
        assert list(opened) == before
        assert list(opened.with_incomplete()) == whole
        assert opened.get(kept.key) == kept
        assert opened.get("0" * 64) is None


def test_failed_records_stay_loose_and_a_loose_record_hides_a_packed_one(store):
    failed = record_of(SPEC, auc=None)
    store.put(failed)
    (other,) = records_of(2)[1:]
    store.put(other)
    assert store.pack(at_least=1) == 1
    assert [path.stem for path in store.records.glob("*.json")] == [failed.key]
    again = other.model_copy(update={"n_parameters": 3})
    store.put(again)
    assert store.get(other.key) == again
    figures = store.figures()
    assert figures["key"].tolist() == sorted([failed.key, other.key])
    assert figures.set_index("key").loc[other.key, "n_parameters"] == 3


def test_figures_are_those_of_the_records_packed_or_not(store):
    for record in records_of(5):
        store.put(record)
    loose = store.figures()
    store.pack(at_least=1)
    packed = store.figures()
    assert loose.equals(packed)
    by_key = {record.key: record for record in store}
    for row in packed.to_dict("records"):
        record = by_key[row["key"]]
        assert (row["method"], row["seed"]) == (record.spec.method.spec, record.spec.seed)
        assert row["validation_auc"] == record.validation.auc


def test_packed_final_run_without_its_predictions_has_to_run_again(store, said):
    kept = final(store)
    store.pack(at_least=1)
    store.prediction_path(kept.key).unlink()
    assert store.get(kept.key) is None
    assert list(store.with_incomplete()) == [kept]
    assert "predictions are missing" in said[0]


@pytest.mark.parametrize("damage", ["cut", "flip"])
def test_damaged_segment_is_set_aside_and_its_trials_run_again(store, said, damage):
    kept = records_of(3)
    for record in kept:
        store.put(record)
    store.pack(at_least=1)
    (path,) = store.segments.iterdir()
    content = bytearray(path.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    else:
        place = content.index(b"\x28\xb5\x2f\xfd") + 20  # within a compressed page
        content[place : place + 40] = bytes(byte ^ 255 for byte in content[place : place + 40])
    path.write_bytes(content)
    fresh = RecordStore(store.folder, warn=said.append)
    assert [fresh.get(record.key) for record in kept] == [None] * 3
    assert path.with_name(path.name + ".damaged").exists()
    assert "set aside" in said[0]
    fresh.put(kept[0])
    assert list(fresh) == [kept[0]]


def test_records_are_found_across_row_groups(tmp_path):
    template = figures_of(record_of(SPEC))
    keys = [hashlib.sha256(str(n).encode()).hexdigest() for n in range(2 * ROWS_AT_ONCE + 10)]
    rows = [template | {"key": key, "record": key.encode()} for key in keys]
    path = tmp_path / "a.parquet"
    path.write_bytes(segment_bytes(rows))
    segment = Segment(path)
    assert segment.keys.tolist() == sorted(key.encode() for key in keys)
    for key in np.random.default_rng(0).choice(keys, 50).tolist():
        assert segment.text(key) == key.encode()
    assert segment.text("f" * 64) is None
    path.write_bytes(b"no parquet")
    with pytest.raises(RecordError, match=r"a\.parquet"):
        Segment(path)
