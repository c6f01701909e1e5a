import errno
import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from pepbench.errors import RecordError
from pepbench.records import (
    ComponentSpec,
    DataSpec,
    Environment,
    KeptRecord,
    Record,
    RecordStore,
    ScoresRecord,
    TrainingSpec,
    TrialSpec,
    best_trial,
    final_runs,
    npy_bytes,
    write_atomically,
)

ENVIRONMENT = Environment(
    python="3", torch="2", numpy="2", pepbench="0", git=None, cpu="c", host="h", threads=1
)
SPEC = TrialSpec(
    data=DataSpec(spec="d", table_fingerprint="t", split_seed=0, split_fingerprint="s", folds=2),
    backbone=ComponentSpec(spec="fm", name="fm", options={}, version=1),
    method=ComponentSpec(spec="m", name="m", options={"x": 1.0}, version=1),
    budget="50%",
    budget_parameters=50,
    full_parameters=100,
    dim=4,
    training=TrainingSpec(
        learning_rate=1e-3, l2=0.0, batch_size=8, epochs=2, patience=1, clip=100.0
    ),
    seed=0,
    role="tuning",
)


def record_of(spec: TrialSpec, auc: float | None = 0.5, **more: Any) -> Record:
    scores = None if auc is None else ScoresRecord(auc=auc, log_loss=0.7)
    status = "ok" if scores else "failed"
    fields = {"status": status, "validation": scores, "environment": ENVIRONMENT, **more}
    return Record(key=spec.key(), spec=spec, created=datetime(2026, 1, 1, tzinfo=UTC), **fields)


def final(store: RecordStore, seed: int = 1) -> Record:
    spec = SPEC.model_copy(update={"role": "final", "seed": seed})
    values = np.arange(5, dtype=np.float32)
    digest = hashlib.sha256(npy_bytes(values)).hexdigest()
    record = record_of(spec, predictions_sha256=digest)
    store.put(record, values)
    return record


@pytest.fixture
def warnings() -> list[str]:
    return []


@pytest.fixture
def store(tmp_path: Path, warnings: list[str]) -> RecordStore:
    return RecordStore(tmp_path, warnings.append)


def leaves(value: dict[str, Any], path: tuple[str, ...] = ()):
    for name, inner in value.items():
        if isinstance(inner, dict) and inner:
            yield from leaves(inner, (*path, name))
        else:
            yield (*path, name), inner


OTHER_CHOICES = {
    "role": "final",
    "optimizer": "lazy-adam",
    "precision": "bfloat16",
    "objective": "logloss",
    "pruning": {"pruner": "median", "complete": ((0.5, 0.6),), "pruned": ()},
}
DECIDES_NOTHING = {"tuned", "source", "training_rows", "split_scheme"}


DECIDING = [path for path, _ in leaves(SPEC.model_dump()) if path[-1] not in DECIDES_NOTHING]


@pytest.mark.parametrize("path", DECIDING)
def test_key_changes_with_everything_that_decides_a_result(path):
    document = SPEC.model_dump()
    inner = document
    for name in path[:-1]:
        inner = inner[name]
    old = inner[path[-1]]
    new: Any
    if path[-1] in OTHER_CHOICES:
        new = OTHER_CHOICES[path[-1]]
    elif isinstance(old, dict):
        new = {"y": 1}
    else:
        new = old + "x" if isinstance(old, str) else old + 1
    inner[path[-1]] = new
    assert TrialSpec.model_validate(document).key() != SPEC.key()


def test_key_is_stable():
    # A change here makes every record ever written worthless: raise PROTOCOL_VERSION instead.
    assert TrialSpec.model_validate_json(SPEC.model_dump_json()).key() == SPEC.key()
    assert len(SPEC.key()) == 64


def test_record_and_predictions_come_back(store, warnings):
    record = final(store)
    assert store.get(record.key) == record
    assert list(store) == [record]
    assert store.load_predictions(record.key).tolist() == [0, 1, 2, 3, 4]
    assert warnings == []


def test_missing_record_is_none(store):
    assert store.get("0" * 64) is None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b"\xff", b'{"key": 1}'])
def test_what_is_no_record_is_set_aside(store, warnings, content):
    record = final(store)
    path = store.records / f"{record.key}.json"
    path.write_bytes(content)
    assert store.get(record.key) is None
    assert path.with_name(path.name + ".damaged").read_bytes() == content
    assert not path.exists()
    assert len(warnings) == 1
    assert path.name in warnings[0]


def test_record_under_another_key_is_set_aside(store, warnings):
    one, two = final(store, seed=1), final(store, seed=2)
    content = (store.records / f"{one.key}.json").read_bytes()
    (store.records / f"{two.key}.json").write_bytes(content)
    assert store.get(two.key) is None
    assert store.get(one.key) == one
    assert "another trial" in warnings[0]


def test_record_of_another_version_is_refused_and_left_alone(store):
    record = final(store)
    path = store.records / f"{record.key}.json"
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 2'))
    with pytest.raises(RecordError, match=r"version 2.*--out"):
        store.get(record.key)
    assert path.exists()


def test_damaged_and_missing_predictions_ask_for_another_run(store, warnings):
    record = final(store)
    path = store.prediction_path(record.key)
    path.write_bytes(path.read_bytes()[:-1])
    assert store.get(record.key) is None
    assert path.with_name(path.name + ".damaged").exists()
    assert store.get(record.key) is None
    assert "missing" in warnings[1]
    final(store)
    assert store.get(record.key) == record


def test_file_is_there_whole_or_not_at_all(tmp_path, monkeypatch):
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def fail(_: int) -> None:
        raise OSError(errno.ENOSPC, "disk full")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(OSError, match="disk full") as caught:
        write_atomically(path, b"new")
    assert caught.value.filename == str(path)
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    assert path.read_bytes() == b"old"


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_record_refuses_what_json_cannot_say(value):
    with pytest.raises(ValidationError, match="finite"):
        record_of(SPEC, auc=value)


def test_best_trial_is_the_highest_validation_auc_of_tuning():
    specs = [SPEC.model_copy(update={"seed": seed}) for seed in range(4)]
    tuning = [record_of(s, a) for s, a in zip(specs, (0.5, 0.7, None, 0.7), strict=True)]
    rivals = sorted((tuning[1], tuning[3]), key=lambda record: record.key)
    assert best_trial(tuning) == best_trial(tuning[::-1]) == rivals[0]
    assert best_trial(tuning[2:3]) is None


def test_final_runs_are_those_of_the_best_trial_by_seed():
    other = SPEC.model_copy(
        update={"method": SPEC.method.model_copy(update={"options": {"x": 2.0}})}
    )
    finals = [SPEC.model_copy(update={"role": "final", "seed": seed}) for seed in (9, 3)]
    stray = other.model_copy(update={"role": "final", "seed": 1})
    records = [record_of(SPEC, 0.8), record_of(other, 0.6), *map(record_of, [*finals, stray])]
    assert [record.spec.seed for record in final_runs(records)] == [3, 9]


def test_keys_stay_what_they_were_when_later_options_are_not_used():
    """Records of older folders are found again."""
    single = SPEC.model_copy(update={"data": SPEC.data.model_copy(update={"folds": 1})})
    assert single.key() == "ee527b3c27a08f974c1b371bff276044382bf0972c92360d05a1361ddc7ad9a6"


def test_pruning_curve_is_kept_and_records_made_before_there_was_one_are_read(store):
    points = [KeptRecord(step=0, parameters=100), KeptRecord(step=9, parameters=50)]
    record = record_of(SPEC, kept=points)
    store.put(record)
    assert store.get(record.key).kept == points
    path = store.records / f"{record.key}.json"
    old = json.loads(path.read_text())
    del old["kept"]
    path.write_text(json.dumps(old))
    assert store.get(record.key) == record_of(SPEC)
