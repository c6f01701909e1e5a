import pytest
from check_helpers import PLAN

from pepbench.check.run_check import CheckOptions, record

pytest_plugins = ["pytester"]


@pytest.fixture(scope="module", autouse=True)
def modules(session_cache, tmp_path_factory):
    """Load what a check imports: pytester unloads modules, and torch cannot load some again."""
    folder = tmp_path_factory.mktemp("check")
    (folder / "plan.toml").write_text(PLAN)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEPBENCH_CACHE", str(session_cache))
        options = CheckOptions(time="never", quiet=True)
        record(folder / "baseline.json", folder / "plan.toml", options)


@pytest.fixture
def project(pytester, tiny_cache):  # noqa: ARG001
    pytester.makefile(".toml", plan=PLAN)
    pytester.makepyfile(
        """
        def test_my_method_has_not_got_worse(pepbench_check):
            pepbench_check("baseline.json", plan="plan.toml")
        """
    )
    return pytester


def test_a_method_is_recorded_once_and_compared_from_then_on(project):
    project.runpytest("--pepbench-record").assert_outcomes(passed=1)
    assert (project.path / "baseline.json").exists()
    project.runpytest().assert_outcomes(passed=1)


def test_without_a_baseline_it_says_how_to_record_one(project):
    result = project.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*no baseline; record it: pytest --pepbench-record*"])


def test_a_regression_is_told_as_a_table(project):
    from pepbench.check.baseline import read_baseline, write_baseline

    project.runpytest("--pepbench-record").assert_outcomes(passed=1)
    path = project.path / "baseline.json"
    baseline = read_baseline(path)
    cells = [cell.model_copy(update={"n_bytes": [1, 1]}) for cell in baseline.cells]
    write_baseline(path, baseline.model_copy(update={"cells": cells}))
    result = project.runpytest()
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*| size * | *changed*"])
