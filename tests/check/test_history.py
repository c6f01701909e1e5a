from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest
from check_helpers import ENVIRONMENT

from pepbench.check.findings import Finding
from pepbench.check.history import COLUMNS, append_history, history_chart, read_history
from pepbench.errors import RecordError
from pepbench.report.style import svg_bytes

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


def test_the_picture_has_a_panel_for_each_kind_there_is(tmp_path):
    path = tmp_path / "history.jsonl"
    append(path, 1, finding(), finding(0.02, "time", subject="b"))
    append(path, 2, finding(), finding(0.2, "time", subject="b", verdict="slower", failed=True))
    picture = svg_bytes(history_chart(read_history(path))).decode()
    assert "ΔAUC against the baseline" in picture
    assert "cost of a step against the baseline" in picture
    assert "peak memory" not in picture
