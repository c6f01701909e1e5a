import errno
import itertools
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock
from run_helpers import leaderboard, predictions

NAMES = "did you mean '{}'?"


def assert_refused(ran, *words: str) -> None:
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err.count("\n") == 1
    assert "Traceback" not in ran.err
    for word in words:
        assert word in ran.err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--methods=peb"], ["'peb'", NAMES.format("pep")]),
        (["--datasets=anme"], ["'anme'", NAMES.format("anime")]),
        (["--backbones=fmm"], ["'fmm'", NAMES.format("fm")]),
        (["--methods=pep:granularty=feature"], ["'granularty'", NAMES.format("granularity")]),
        (["--methods=pep:granularity=featur"], ["granularity", NAMES.format("feature")]),
        (["--methods=pep:init=abc"], ["init='abc'", "float"]),
        (["--methods=pep:init=nan"], ["init=nan", "-200 to 10"]),
        (["--methods=pep:init"], ["name:option=value"]),
        (["--methods=pep:init=-8:init=-9"], ["'init' is given twice"]),
        (["--methods=pep,pep"], ["'pep' is listed twice"]),
        (["--budgets=5%,20%,5.0%"], ["'5.0%' is the budget '5%' again"]),
        (["--budgets=2MB,500K"], ["'500K' is the budget '2MB' again"]),
        (["--methods="], ["--methods", "at least one"]),
        (["--budgets=0%"], ["--budgets", "'0%'", "above zero"]),
        (["--budgets=101%"], ["'101%'", "above the full table"]),
        (["--budgets=abc"], ["'abc'", "5%", "50k", "2MB"]),
        (["--budgets", "-5"], ["'-5'"]),
        (["--methods=uniform", "--budgets=1M"], ["'1M'", "above the full table's"]),
        (["--methods=uniform", "--budgets=50%,5"], ["5 of ", "write 5% for a share", "0.005k"]),
        (["--dry-run", "--estimate"], ["--dry-run and --estimate exclude each other"]),
        (["--quiet", "--verbose"], ["--quiet and --verbose exclude each other"]),
        (["--trials=0"], ["--trials", "0"]),
        (["--seeds=0"], ["--seeds"]),
        (["--trials=abc"], ["--trials", "integer"]),
        (["--jobs=0"], ["--jobs"]),
        (["--device=tpu"], ["'tpu'", "cuda"]),
        (["--device=cuda:99"], ["'cuda:99'", "--device cpu"]),
        (["--device=cuda:99", "--dry-run"], ["'cuda:99'", "--device cpu"]),
        (["--device=cuda:99", "--estimate"], ["'cuda:99'", "--device cpu"]),
        (["--methds=pep"], ["--methds", "--methods"]),
        (["--datasets=anime"], ["not in the cache", "pepbench data add anime --from FOLDER"]),
        (["nowhere.toml"], ["nowhere.toml", "No such file"]),
        (["--plugin=nowhere.py"], ["nowhere.py"]),
    ],
)
def test_run_refuses_in_one_line_and_writes_nothing(pepbench, tmp_path, arguments, words):
    tiny = ["--datasets=synthetic:rows=2000:features=60:fields=4"]
    if any(argument.startswith("--datasets") for argument in arguments):
        tiny = []
    assert_refused(pepbench("run", *tiny, *arguments, "--out=out"), *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["show", "method", "uniforn"], [NAMES.format("uniform")]),
        (["show", "thing", "pep"], ["'thing'", "method"]),
        (["list", "methods", "--cards", "--json"], ["--cards and --json exclude each other"]),
        (["list", "things"], ["'things'", "methods"]),
        (["data", "add", "anme"], [NAMES.format("anime")]),
        (["data", "add", "anime"], ["--from FOLDER"]),
        (["data", "add", "anime", "--from=nowhere"], ["nowhere", "does not exist"]),
        (["data", "info", "anime"], ["data add anime"]),
        (["report", "nowhere"], ["nowhere", "no such folder"]),
        (["report", "."], ["no records", "pepbench run"]),
        (["report"], ["FOLDER"]),
        (["report", ".", "--json", "--format=csv"], ["--json and --format csv exclude"]),
        (["report", ".", "--tuning", "--json"], ["--tuning prints tables alone; leave out --json"]),
        (["leaderboard", "--json"], ["--trust and --json go with --verify"]),
        (["frobnicate"], ["frobnicate"]),
    ],
)
def test_other_commands_refuse_in_one_line(pepbench, tmp_path, arguments, words):
    assert_refused(pepbench(*arguments), *words)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('methds = ["pep"]', ["unknown key 'methds'", NAMES.format("methods")]),
        ('methods = "pep"', ["methods", '["pep"]']),
        ("methods = [1]", ["methods", "string"]),
        ("trials = true", ["trials", "integer"]),
        ('trials = "5"', ["trials", "integer"]),
        ("clip = nan", ["clip", "finite"]),
        ('budgets = ["200%"]', ["budgets", "'200%'"]),
        ('methods = ["pep"', ["not valid TOML"]),
        ("\xff", ["not valid TOML"]),
    ],
)
def test_plan_files_are_refused_with_file_and_key(pepbench, tmp_path, content, words):
    plan = tmp_path / "plan.toml"
    plan.write_bytes(content.encode("latin-1"))
    assert_refused(pepbench("run", plan, "--out=out"), str(plan), *words)
    assert list(tmp_path.iterdir()) == [plan]


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def (", ["SyntaxError"]),
        ("raise ValueError('a\\nb')", ["ValueError: a b"]),
        ("import sys; sys.exit(0)", ["SystemExit"]),
        ("x = 1", ["no method"]),
        (
            "from pepbench.method import Method\nclass A(Method):\n    name = 'a'",
            ["@dataclass(frozen=True)"],
        ),
    ],
)
def test_plug_ins_that_cannot_be_used_are_refused(pepbench, tmp_path, source, words):
    plugin = tmp_path / "mine.py"
    plugin.write_text(source)
    ran = pepbench("run", "--methods=a", "--plugin", plugin, "--out=out")
    assert_refused(ran, str(plugin), *words)
    assert not (tmp_path / "out").exists()


def test_a_full_disk_is_named_with_the_remedy(tiny_run, monkeypatch):
    written = itertools.count(1)

    def fail(_: int) -> None:
        if next(written) > 3:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    assert tiny_run("--methods=uniform", "--dry-run").code == 0  # Makes the table.
    monkeypatch.setattr("os.fsync", fail)
    ran = tiny_run("--methods=uniform", "--out=out", "--quiet")
    assert_refused(ran, "out/", "No space left on device; make room, then give the same command")


def test_a_folder_whose_name_is_no_text_is_refused(tiny_run, tmp_path):
    ran = tiny_run("--methods=uniform", "--out=" + os.fsdecode(b"caf\xe9"))
    assert_refused(ran, "the name is no UTF-8 text")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("out", ["file", "file/below", "/proc/nowhere"])
def test_folder_that_cannot_be_made_is_refused(tiny_run, tmp_path, out):
    (tmp_path / "file").write_text("mine")
    assert_refused(tiny_run("--methods=uniform", f"--out={out}"), out, "choose another with --out")
    assert (tmp_path / "file").read_text() == "mine"


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the small run is kept whose copies the tests damage."""
    return tmp_path_factory.mktemp("kept") / "done"


@pytest.fixture
def done(tiny_run, kept) -> Path:
    """The folder of a small run."""
    if not kept.exists():
        arguments = ("--methods=uniform,full", "--budgets=50%", "--quiet", "--out", kept)
        assert tiny_run(*arguments).code == 0
    return Path(shutil.copytree(kept, "done")).resolve()


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_folder_of_another_plan_is_left_alone(tiny_run, done):
    before = contents(done)
    assert_refused(tiny_run("--methods=uniform", "--out", done), "another plan", "--out")
    (done / "plan.toml").unlink()
    assert_refused(tiny_run("--methods=uniform", "--out", done), "no plan.toml", "--out")
    del before[done / "plan.toml"]
    assert contents(done) == before


def test_folder_in_use_is_refused_naming_the_process(tiny_run, done):
    arguments = ("--methods=uniform,full", "--budgets=50%", "--out", done)
    holder = (done / ".holder").read_text()
    with FileLock(done / ".lock"):
        assert_refused(tiny_run(*arguments), "in use", holder, f"process {os.getpid()} on ")
    assert tiny_run(*arguments).code == 0


def test_record_of_an_unknown_version_is_refused_and_kept(tiny_run, pepbench, done):
    path = sorted((done / "records").glob("*.json"))[0]
    path.write_text(path.read_text().replace('"schema_version": 1', '"schema_version": 99'))
    before = path.read_bytes()
    again = tiny_run("--methods=uniform,full", "--budgets=50%", "--quiet", "--out", done)
    assert_refused(again, path.name, "99", "--out")
    assert_refused(pepbench("report", done), path.name, "99")
    assert path.read_bytes() == before


@pytest.mark.parametrize("folder", ["records", "predictions"])
@pytest.mark.parametrize("damage", [lambda old: old[:100], lambda old: bytes(len(old))])
def test_damaged_files_are_set_aside_and_their_trials_repeated(tiny_run, done, folder, damage):
    before = leaderboard(done), predictions(done)
    victim = sorted(p for p in (done / folder).iterdir() if "labels" not in p.name)[0]
    damaged = damage(victim.read_bytes())
    victim.write_bytes(damaged)
    ran = tiny_run("--methods=uniform,full", "--budgets=50%", "--out", done)
    assert ran.code == 0
    assert f"{victim.name}.damaged" in ran.err
    assert "1 trials run, 7 reused" in ran.err
    assert victim.with_name(victim.name + ".damaged").read_bytes() == damaged
    assert leaderboard(done).equals(before[0])
    assert predictions(done) == before[1]


@pytest.mark.parametrize("arguments", [["--help"], ["list", "methods"], ["run", "--help"]])
def test_help_and_lists_do_not_import_torch(arguments):
    program = (
        "import sys\nfrom pepbench.cli import main\n"
        f"sys.argv = ['pepbench', *{arguments!r}]\n"
        "try:\n    main()\nfinally:\n"
        "    assert not {'torch', 'optuna', 'pandas'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, timeout=60)
