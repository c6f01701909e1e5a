"""What a worker does with a call: see that it has the same code and rows, then run its trials."""

from __future__ import annotations

import socket
from pathlib import Path
from typing import cast

from pepbench.catalog import Catalog
from pepbench.data.dataset import Dataset
from pepbench.data.manage import add, is_added, open_table
from pepbench.errors import DataError
from pepbench.harness.executors.calls import Answer, Answered, Call, refuse_other_versions, versions
from pepbench.harness.trial import run_trials
from pepbench.records import DataSpec


def work(text: str) -> Answer:
    """Run the trials of a call.

    Raises
    ------
    PepbenchError
        If this worker's versions or rows are not the coordinator's. A trial that merely fails is
        an answer.
    """
    call = Call.from_json(text)
    refuse_other_versions({socket.gethostname(): versions()}, call.versions)
    check_rows(call.specs[0].data, Catalog(call.surroundings.plugins), call.raw)
    return [Answered.of(outcome) for outcome in run_trials(call.specs, call.surroundings)]


def check_rows(data: DataSpec, catalog: Catalog, raw: dict[str, str]) -> None:
    """See that this machine's cache has a data set's rows; build them if it can.

    Raises
    ------
    DataError
        If they are not there and cannot be built, or are others than the coordinator's.
    """
    dataset = cast(Dataset, catalog.select("dataset", data.spec).default())
    if not dataset.generated and not is_added(dataset):
        source = Path(raw[dataset.name]) if dataset.name in raw else None
        if source is None or not source.exists():
            where = "no --raw folder was given" if source is None else f"{source} is not here"
            raise DataError(
                f"worker on {socket.gethostname()}: data set {data.spec!r} is not in its cache and "
                f"{where}; let PEPBENCH_CACHE be a shared folder, or give "
                f"--raw {dataset.name}=FOLDER that workers can read"
            )
        add(dataset, source)
    found = open_table(dataset).fingerprint
    if found != data.table_fingerprint:
        raise DataError(
            f"worker on {socket.gethostname()}: data set {data.spec!r} differs from the "
            f"coordinator's: table fingerprint {found}, expected {data.table_fingerprint}; "
            "add it there from the same raw files"
        )
