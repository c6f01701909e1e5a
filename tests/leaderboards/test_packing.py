"""Records in one Parquet file: nothing is lost, and files of older versions are read."""

import io
from datetime import UTC, datetime

import pyarrow.parquet as pq
import pytest

from pepbench.leaderboards.record_packing import packed, unpacked
from pepbench.records import (
    ComponentSpec,
    DataSpec,
    Environment,
    EpochRecord,
    KeptRecord,
    Record,
    ScoresRecord,
    TrainingSpec,
    TrialSpec,
)

SPEC = TrialSpec(
    data=DataSpec(spec="d", table_fingerprint="t", split_seed=0, split_fingerprint="s"),
    backbone=ComponentSpec(spec="fm", name="fm", options={}, version=1),
    method=ComponentSpec(spec="m", name="m", options={}, version=1),
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


@pytest.fixture
def record():
    environment = Environment(
        python="3", torch="2", numpy="2", pepbench="0", git=None, cpu="c", host="h", threads=1
    )
    return Record(
        key=SPEC.key(),
        spec=SPEC,
        status="ok",
        validation=ScoresRecord(auc=0.7, log_loss=0.5),
        curve=[EpochRecord(epoch=1, train_loss=0.6, auc=0.7, log_loss=0.5)],
        kept=[KeptRecord(step=8 * k, parameters=100 - k) for k in range(50)],
        environment=environment,
        created=datetime(2026, 1, 1, tzinfo=UTC),
    )


def test_both_curves_are_columns_and_come_back(record, tmp_path):
    path = tmp_path / "records.parquet"
    path.write_bytes(packed([record]))
    assert unpacked(path) == [record]
    row = pq.read_table(path).to_pylist()[0]
    assert row["kept"][1] == {"step": 8, "parameters": 99}
    assert '"kept"' not in row["record"]


def test_files_made_before_pruning_curves_are_read(record, tmp_path):
    plain = record.model_copy(update={"kept": []})
    table = pq.read_table(io.BytesIO(packed([plain])))
    pq.write_table(table.drop_columns(["kept"]), tmp_path / "records.parquet")
    assert unpacked(tmp_path / "records.parquet") == [plain]
