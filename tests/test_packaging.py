"""What is installed is what works: the wheel, in an environment of its own."""

import json
import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

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
    for path in (ROOT / "pepbench/report/templates").iterdir():
        expected.add(path.relative_to(ROOT).as_posix())
    for folder, below in (("pepbench", ""), ("baselines", "pepbench/"), ("datasets", "pepbench/")):
        for path in (ROOT / folder).rglob("*.py"):
            expected.add(below + path.relative_to(ROOT).as_posix())
    assert expected <= set(names)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel, dependencies borrowed from this one."""
    folder = tmp_path_factory.mktemp("venv")
    venv.create(folder, with_pip=True)
    pip = [folder / "bin/python", "-m", "pip", "install", "-q", "--no-deps", wheel]
    subprocess.run(pip, check=True, timeout=120)
    (site,) = folder.glob("lib/python*/site-packages")
    # A plain path: the .pth files there, such as that of an editable install, are not read.
    (site / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return folder / "bin"


def test_installed_program_runs_from_an_empty_folder(installed, tmp_path):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    environment["PEPBENCH_CACHE"] = str(tmp_path / "cache")
    (tmp_path / "empty").mkdir()

    def output(*command: str) -> str:
        return subprocess.run(
            [str(installed / command[0]), *command[1:]],
            check=True,
            cwd=tmp_path / "empty",
            env=environment,
            capture_output=True,
            text=True,
            timeout=240,
        ).stdout

    where = output("python", "-c", "import pepbench.baselines as b; print(b.__file__)")
    assert Path(where.strip()).is_relative_to(installed.parent)
    assert output("pepbench", "--version").startswith("pepbench ")
    assert "uniform" in output("pepbench", "list", "methods")
    run = [
        "run",
        *TINY.split(),
        "--methods=pep:max_steps=20,uniform,full",
        "--budgets=50%",
        "--jobs=2",
    ]
    document = json.loads(output("pepbench", *run, "--out=out", "--json"))
    assert {cell["status"] for cell in document["cells"]} == {"ok"}
