import py_compile
import shutil
import sys
from py_compile import PycInvalidationMode

import pytest

from pepbench.catalog import Catalog, kind_of_plural
from pepbench.errors import PlanError

SOURCE = '''
from dataclasses import dataclass
from pepbench.method import Method, PlainTable

@dataclass(frozen=True)
class Mine(Method):
    """Mine. All mine.

    More words.
    """

    name = "mine"
    family = "controls"
    year = 2026

    def embedding(self, fields, dim, budget):
        return PlainTable(fields.n_features, 1)
'''


def test_built_in_components_are_found():
    catalog = Catalog()
    assert {"pep", "mde", "uniform", "full", "magnitude"} <= set(catalog.entries("method"))
    assert "fm" in catalog.entries("backbone")
    assert {"synthetic", "ml-100k", "anime"} <= set(catalog.entries("dataset"))


@pytest.mark.parametrize("plural", ["methods", "backbones", "datasets"])
def test_what_the_source_says_is_what_the_class_says(plural):
    catalog = Catalog()
    kind = kind_of_plural(plural)
    for name, entry in catalog.entries(kind).items():
        component = catalog.load(kind, name)
        assert (component.name, component.kind) == (name, kind)
        assert entry.summary.split()[0] in (component.__doc__ or "")


def test_file_of_the_user_is_a_plug_in(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(SOURCE)
    catalog = Catalog((path,))
    entry = catalog.entries("method")["mine"]
    assert (entry.summary, entry.family, entry.year) == ("Mine. All mine.", "controls", 2026)
    assert catalog.select("method", "mine").default().name == "mine"
    assert "mine" not in Catalog().entries("method")


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """A third-party distribution with an entry point."""
    (tmp_path / "third_party.py").write_text(SOURCE)
    info = tmp_path / "third_party-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: third-party\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[pepbench.methods]\nmine = third_party:Mine\n")
    monkeypatch.syspath_prepend(tmp_path)
    yield tmp_path / "third_party.py"
    sys.modules.pop("third_party", None)


def test_bytecode_beside_a_plug_in_is_neither_run_nor_written(tmp_path):
    path, cache = tmp_path / "mine.py", tmp_path / "__pycache__"
    path.write_text("raise SystemExit('other code was run')")
    py_compile.compile(str(path), invalidation_mode=PycInvalidationMode.UNCHECKED_HASH)
    path.write_text(SOURCE)
    assert list(cache.iterdir())
    assert "mine" in Catalog((path,)).entries("method")
    shutil.rmtree(cache)
    path = path.rename(tmp_path / "again.py")
    assert "mine" in Catalog((path,)).entries("method")
    assert not cache.exists()


def test_installed_component_is_found_by_its_entry_point(installed):  # noqa: ARG001
    assert Catalog().select("method", "mine").default().name == "mine"


def test_installed_component_that_cannot_be_imported_is_named(installed):
    installed.write_text("import nothing_of_this_name")
    with pytest.raises(PlanError, match="method 'mine' of the installed third_party"):
        Catalog().load("method", "mine")


@pytest.mark.parametrize(
    ("old", "new", "remedy"),
    [
        ("@dataclass(frozen=True)", "", "decorate class Mine"),
        ('name = "mine"', 'name = "mine"\n    knob: int', "option knob needs a default"),
        (
            'name = "mine"',
            'name = "mine"\n    k: int | None = None',
            r"option k has the type int \|",
        ),
        (
            'name = "mine"',
            'name = "mine"\n    k: "Foo" = 1',
            "name 'Foo' is not defined; an option",
        ),
    ],
)
def test_class_that_cannot_be_used_is_refused_with_the_remedy(tmp_path, old, new, remedy):
    path = tmp_path / "mine.py"
    path.write_text(SOURCE.replace(old, new))
    with pytest.raises(PlanError, match=remedy):
        Catalog((path,)).load("method", "mine")


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("uniform",), r"one.py: .* is called 'uniform', as is a method that is built in"),
        (("mine", "mine"), r"two.py: .* is called 'mine', as is a method that is of .*one.py"),
    ],
)
def test_plug_ins_replace_nothing_by_accident(tmp_path, names, words):
    paths = [tmp_path / f"{file}.py" for file in ("one", "two")[: len(names)]]
    for path, name in zip(paths, names, strict=True):
        path.write_text(
            f"from pepbench.method import Method\n\n\nclass Own(Method):\n    name = {name!r}\n"
        )
    with pytest.raises(PlanError, match=words):
        Catalog(tuple(paths)).entries("method")


def test_the_name_of_a_method_labels_no_other():
    with pytest.raises(PlanError, match="'full' is the name of a method; choose another"):
        Catalog().select("method", "full=pep")
    assert Catalog().select("method", "mine=pep").spec == "mine"


def test_families_and_all_stand_for_their_methods_each_once():
    catalog = Catalog()
    entries = catalog.entries("method")
    controls = [name for name, entry in entries.items() if entry.family == "controls"]
    assert catalog.ungrouped("method", ["controls"]) == tuple(controls)
    assert set(catalog.ungrouped("method", ["all"])) == set(entries)
    mixed = catalog.ungrouped("method", ["full", "controls", "pep:init=-8", "no-such"])
    assert mixed == ("full", *[n for n in controls if n != "full"], "pep:init=-8", "no-such")
