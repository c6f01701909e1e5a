from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from check_helpers import ENVIRONMENT

from pepbench.check.findings import Finding
from pepbench.check.history import (
    COLUMNS,
    append_history,
    history_chart,
    read_history,
    with_sizes,
)
from pepbench.errors import RecordError
from pepbench.report.charts.panels import svg_bytes

START = datetime(2026, 1, 1, tzinfo=UTC)


def finding(change=0.0, kind="accuracy", **changes):
    values = {"kind": kind, "subject": "a", "verdict": "identical", "failed": False}
    return Finding(**values | {"change": change, "unit": "AUC", "current": 0.7} | changes)


def append(path, day, *findings):
    append_history(path, START + timedelta(days=day), ENVIRONMENT, findings or [finding()])


def test_checks_come_back_oldest_first(tmp_path):
    path = tmp_path / "deep" / "history.jsonl"
    append(path, 2, finding(-0.5, verdict="worse", failed=True))
    append(path, 1)
    frame = read_history(path)
    assert tuple(frame.columns) == COLUMNS
    assert frame["change"].tolist() == [0.0, -0.5]
    assert frame["failed"].tolist() == [False, True]


def test_many_who_append_at_once_lose_nothing(tmp_path):
    path = tmp_path / "history.jsonl"
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda day: append(path, day), range(40)))
    assert len(read_history(path, pytest.fail)) == 40


def test_a_line_cut_short_is_left_out_and_does_not_swallow_the_next(tmp_path):
    path = tmp_path / "history.jsonl"
    append(path, 1)
    path.write_bytes(path.read_bytes()[:-30])
    append(path, 2)
    warnings = []
    assert len(read_history(path, warnings.append)) == 1
    assert warnings == [f"{path}: line 1 is no whole check; left out"]


@pytest.mark.parametrize("content", [None, b"", b"\xff\n", b"{}\n"])
def test_a_file_without_a_check_is_refused(content, tmp_path):
    path = tmp_path / "history.jsonl"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(RecordError, match=str(path)):
        read_history(path)


CELL = "data, fm, pep, 10%"


def a_history(path):
    """Three checks: all well, a phase a fifth slower, a loss with another size."""
    calm = finding(subject=CELL, baseline=0.7, unit="AUC")
    search = finding(0.02, "time", subject=f"{CELL}: search", unit="steps/s")
    append(path, 1, calm, search)
    slow = finding(0.2, "time", subject=f"{CELL}: search", verdict="slower", failed=True, unit="")
    append(path, 2, calm, slow)
    lost = finding(-0.004, subject=CELL, verdict="worse", failed=True, baseline=0.7, current=0.696)
    sized = finding(None, "size", subject=CELL, verdict="changed", failed=True, unit="bytes")
    append(path, 3, lost, sized, search)
    return read_history(path)


def test_the_picture_has_a_row_for_each_cell_and_for_what_else_there_is(tmp_path):
    picture = svg_bytes(history_chart(a_history(tmp_path / "history.jsonl"))).decode()
    for words in ("pep, 10%", "AUC", "cost of a step", "0123456", "size, 0123456"):
        assert words in picture
    assert "peak memory" not in picture
    append(tmp_path / "history.jsonl", 4, finding(), finding(0.1, "memory", subject="peak"))
    picture = svg_bytes(history_chart(read_history(tmp_path / "history.jsonl"))).decode()
    assert "peak memory" in picture


def test_checks_without_times_are_drawn(tmp_path):
    append(tmp_path / "history.jsonl", 1, finding(subject=CELL))
    picture = svg_bytes(history_chart(read_history(tmp_path / "history.jsonl"))).decode()
    assert "AUC" in picture
    assert "cost of a step" not in picture


def test_a_cell_that_failed_is_drawn_at_the_baseline_and_marked(tmp_path):
    path = tmp_path / "history.jsonl"
    died = {"verdict": "ok became failed", "failed": True, "baseline": 0.7, "current": None}
    append(path, 1, finding(None, subject=CELL, **died))
    (row,) = with_sizes(read_history(path).assign(revision="r")).itertuples()
    assert (row.shown, row.alarm) == (0.7, True)
