"""The wheel works in an environment of its own, and gets along with a clone of the repository."""

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from check_helpers import PLAN

from pepbench.leaderboards.boards import SUBMISSIONS
from pepbench.leaderboards.extract import extract
from pepbench.leaderboards.record_packing import EXTRACT_FILE, RECORDS_FILE, packed, unpacked

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
TINY = "--datasets=synthetic:rows=2000:features=60:fields=4 --dim=4 --epochs=1 --trials=1 --seeds=1"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert len(list(folder.glob("*.tar.gz"))) == 1
    (built,) = folder.glob("*.whl")  # made from the sdist
    return built


def test_wheel_holds_one_package_with_all_rooms(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"pepbench"}
    expected = {"pepbench/py.typed"}
    for path in (ROOT / "pepbench/report/page/templates").iterdir():
        expected.add(path.relative_to(ROOT).as_posix())
    for folder, below in (("pepbench", ""), ("baselines", "pepbench/"), ("datasets", "pepbench/")):
        for path in (ROOT / folder).rglob("*.py"):
            expected.add(below + path.relative_to(ROOT).as_posix())
    assert expected <= set(names)


def test_wheel_holds_plan_and_extract_of_each_board_within_5_mb(wheel):
    below = "pepbench/results/"
    sizes = {
        info.filename.removeprefix(below): info.file_size
        for info in zipfile.ZipFile(wheel).infolist()
        if info.filename.startswith(below)
    }
    results = ROOT / "results"
    expected = {
        path.relative_to(results).as_posix()
        for path in (*results.rglob("plan.toml"), *results.rglob(EXTRACT_FILE))
        if SUBMISSIONS not in path.parts
    }
    assert set(sizes) == expected
    written = [path.parent for path in results.rglob(EXTRACT_FILE)]
    for path in results.rglob(RECORDS_FILE):
        if path.parent not in written and SUBMISSIONS not in path.parts:
            sizes[path.as_posix()] = len(packed(extract(unpacked(path))))
    assert sum(sizes.values()) < 5e6


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel, dependencies borrowed from this one."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=True)
    pip = [folder / "bin/python", "-m", "pip", "install", "-q", "--no-deps", wheel]
    subprocess.run(pip, check=True, timeout=120)
    (site,) = folder.glob("lib/python*/site-packages")
    # Plain paths: the .pth files there, such as that of an editable install, are not read.
    borrowed = [path for path in sys.path if path.endswith("site-packages")]
    (site / "borrowed.pth").write_text("\n".join(borrowed) + "\n")
    return folder / "bin"


@pytest.fixture
def output(installed: Path, tmp_path: Path) -> Callable[..., str]:
    """Call a program of the environment in a folder, and return what it prints."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment["PEPBENCH_CACHE"] = str(tmp_path / "cache")

    def call(folder: Path, program: str, *arguments: str) -> str:
        done = subprocess.run(
            [installed / program, *arguments],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=1200,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return call


RUN = [
    "run",
    *TINY.split(),
    "--methods=pep:max_steps=20,uniform,full",
    "--budgets=50%",
    "--jobs=2",
    "--json",
]


def test_installed_program_runs_from_an_empty_folder(output, installed, tmp_path):
    empty = tmp_path / "empty"
    empty.mkdir()
    where = output(empty, "python", "-c", "import pepbench.baselines as b; print(b.__file__)")
    assert Path(where.strip()).is_relative_to(installed.parent)
    assert output(empty, "pepbench", "--version").startswith("pepbench ")
    assert "uniform" in output(empty, "pepbench", "list", "methods")
    document = json.loads(output(empty, "pepbench", *RUN, "--out=out"))
    assert {cell["status"] for cell in document["cells"]} == {"ok"}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sources as a fresh clone has them."""
    folder = tmp_path_factory.mktemp("clone")
    for name in ("pepbench", "baselines", "datasets", "tests"):
        ignored = shutil.ignore_patterns("__pycache__")
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    return folder


PROGRAMS = {"installed": ["pepbench"], "checkout": ["python", "-m", "pepbench"]}


@pytest.mark.timeout(2400)  # two minutes on two idle cores
@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_commands_work_from_the_root_of_a_clone(program, output, clone, tmp_path):
    (clone / "plan.toml").write_text(PLAN)
    baseline = str(tmp_path / "baseline.json")
    # Timing takes a minute: once is enough.
    timed = ("--repetitions=5",) if program == PROGRAMS["installed"] else ("--time=never",)
    assert "uniform" in output(clone, *program, "list", "methods")
    assert output(clone, *program, "test-method", "--method=uniform")
    document = json.loads(output(clone, *program, *RUN, f"--out={tmp_path / 'run'}"))
    assert {cell["status"] for cell in document["cells"]} == {"ok"}
    assert output(clone, *program, "check", "--record", baseline, "--plan=plan.toml", *timed)
    assert output(clone, *program, "check", baseline, "--time=never")


def test_a_process_that_times_cells_runs_the_package_of_its_parent(output, installed, clone):
    """Not the clone in whose root it starts."""
    show = "import pepbench; print(pepbench.__file__)"
    code = (
        "import subprocess; from pepbench.check.timing import _python; "
        f"subprocess.run(_python({show!r}))"
    )
    found = output(clone, "python", "-P", "-c", code)
    assert Path(found.strip()).is_relative_to(installed.parent)


def test_a_checkout_works_without_installation(output, clone, tmp_path):
    code = (
        f"import sys; sys.path[:0] = [{str(clone)!r}]; import pepbench.datasets.synthetic; "
        "import pepbench.baselines; print(pepbench.__file__, pepbench.baselines.__file__)"
    )
    assert set(output(tmp_path, "python", "-c", code).split()) == {
        str(clone / name / "__init__.py") for name in ("pepbench", "baselines")
    }


def test_nothing_else_of_a_checkout_is_in_the_package(output, clone, tmp_path):
    code = f"import sys; sys.path[:0] = [{str(clone)!r}]; import pepbench.tests"
    with pytest.raises(AssertionError, match=r"No module named 'pepbench\.tests'"):
        output(tmp_path, "python", "-c", code)
