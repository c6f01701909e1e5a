"""The records of trials and the folder in which they are stored.

A :class:`TrialSpec` holds everything that determines a result, a :class:`Record` the result, and a
:class:`RecordStore` the records of a run's folder.
"""

from pepbench.records.files import npy_bytes, npy_sha256, write_atomically
from pepbench.records.record import (
    SCHEMA_VERSION,
    Environment,
    EpochRecord,
    KeptRecord,
    PhaseSeconds,
    Record,
    ScoresRecord,
    Status,
    best_trial,
    figures_of,
    final_runs,
    now,
    parse_record,
    tuning_used,
)
from pepbench.records.spec import (
    CELL_COLUMNS,
    DEFAULT_L2,
    DEFAULT_LEARNING_RATE,
    MARGIN,
    PROTOCOL_VERSION,
    CellName,
    ComponentSpec,
    DataSpec,
    OptimizerKind,
    Precision,
    PrunerKind,
    PruningSpec,
    Role,
    TrainingSpec,
    TrialSpec,
)
from pepbench.records.store import RecordStore

__all__ = [
    "CELL_COLUMNS",
    "DEFAULT_L2",
    "DEFAULT_LEARNING_RATE",
    "MARGIN",
    "PROTOCOL_VERSION",
    "SCHEMA_VERSION",
    "CellName",
    "ComponentSpec",
    "DataSpec",
    "Environment",
    "EpochRecord",
    "KeptRecord",
    "OptimizerKind",
    "PhaseSeconds",
    "Precision",
    "PrunerKind",
    "PruningSpec",
    "Record",
    "RecordStore",
    "Role",
    "ScoresRecord",
    "Status",
    "TrainingSpec",
    "TrialSpec",
    "best_trial",
    "figures_of",
    "final_runs",
    "now",
    "npy_bytes",
    "npy_sha256",
    "parse_record",
    "tuning_used",
    "write_atomically",
]
