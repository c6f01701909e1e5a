import json
from pathlib import Path

import numpy as np
import pytest
from check_helpers import a_baseline
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import rankdata

from pepbench.check.baseline import Ranks, read_baseline, refuse_other_files, write_baseline
from pepbench.check.findings import Tolerance
from pepbench.check.run_check import CheckOptions, record, run_check
from pepbench.errors import PlanError, RecordError

SCORES = st.lists(
    st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3), min_size=1, max_size=4
)


@settings(deadline=None)
@given(SCORES)
def test_ranks_keep_the_order_and_the_ties_of_scores(lines):
    scores = np.array(lines, np.float32)
    restored = Ranks.of(scores).scores()
    np.testing.assert_array_equal(rankdata(restored, axis=1), rankdata(scores, axis=1))


def test_more_distinct_scores_than_fit_sixteen_bits_are_kept_apart():
    scores = np.random.default_rng(0).permutation(70_000)[None].astype(np.float64)
    np.testing.assert_array_equal(Ranks.of(scores).scores(), scores)


def test_a_small_content_that_unpacks_to_more_than_it_says_is_refused():
    much = Ranks.of(np.zeros((1, 100_000)))
    with pytest.raises(ValueError, match="bytes of ranks"):
        much.model_copy(update={"rows": 10}).scores()


def test_a_baseline_comes_back_as_it_was_written(tmp_path):
    path = tmp_path / "baseline.json"
    write_baseline(path, a_baseline())
    assert read_baseline(path) == a_baseline()


def cut(path):
    path.write_bytes(path.read_bytes()[:-200])


def edit(path):
    path.write_text(path.read_text().replace("0.75", "0.76"))


def change(**values):
    def rewrite(path):
        path.write_text(json.dumps(json.loads(path.read_text()) | values))

    return rewrite


@pytest.mark.parametrize(
    ("damage", "reason"),
    [
        (cut, "not whole JSON"),
        (edit, "checksum differs"),
        (change(kind="shopping list"), "is no baseline"),
        (change(schema_version=99), "version 99"),
        (lambda path: path.write_text("[1, 2]"), "is no baseline"),
        (lambda path: path.write_bytes(b"\xff\x00"), "not whole JSON"),
        (Path.unlink, "No such file"),
    ],
)
def test_a_damaged_or_foreign_file_is_refused_in_one_line_with_the_remedy(damage, reason, tmp_path):
    path = tmp_path / "baseline.json"
    write_baseline(path, a_baseline())
    damage(path)
    with pytest.raises(RecordError, match=reason) as refused:
        read_baseline(path)
    assert str(path) in str(refused.value)
    assert "pepbench check --record" in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("content", ['methods = ["pep"]', '{"kind": "shopping list"}', ""])
def test_a_baseline_is_not_recorded_over_another_file(content, tmp_path):
    path = tmp_path / "plan.toml"
    path.write_text(content)
    with pytest.raises(PlanError, match="something else than a baseline"):
        record(path, None, CheckOptions())
    assert path.read_text() == content
    write_baseline(path, a_baseline())
    refuse_other_files(path)


def test_files_that_cannot_be_written_are_refused_before_any_run(tmp_path):
    gone = tmp_path / "gone" / "file"
    with pytest.raises(PlanError, match="gone/file cannot be written"):
        record(gone, None, CheckOptions())
    wanted = {"json_wanted": False, "junit": None, "summary": None, "history": None}
    for option in ("junit", "summary", "history"):
        with pytest.raises(PlanError, match="gone/file cannot be written"):
            run_check(tmp_path, Tolerance(), CheckOptions(), **{**wanted, option: gone})


def test_ranks_that_are_not_what_they_say_are_refused_although_the_checksum_agrees(tmp_path):
    path = tmp_path / "baseline.json"
    (cell,) = a_baseline().cells
    for change in ({"content": "AAAA"}, {"content": "no base64!"}, {"rows": 3}, {"seeds": 2}):
        broken = cell.model_copy(update={"ranks": cell.ranks.model_copy(update=change)})
        write_baseline(path, a_baseline([broken]))
        with pytest.raises(RecordError, match=r"baseline\.json"):
            read_baseline(path)
