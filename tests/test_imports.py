"""Which rooms of the house may know of which, by reading the sources."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import pepbench
from pepbench.catalog import Catalog

PACKAGE = Path(pepbench.__file__).parent
ROOT = PACKAGE.parent
METHOD_SEAM = {
    "pepbench.method",
    "pepbench.tables.layout",
    "pepbench.tables.quantised",
    # Numpy alone: what training and serving must compute alike.
    "pepbench.serve.addresses",
    "pepbench.serve.hashing",
    "pepbench.serve.packing",
}
DATASET_SEAM = {
    "pepbench.component",
    "pepbench.errors",
    # Numpy alone: what training and serving must transform alike.
    "pepbench.serve.transforms",
    "pepbench.tables.fields",
}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] != "pepbench":
        parts = ("pepbench", *parts)
    return ".".join(parts).removesuffix(".__init__")


def imports_of(path: Path) -> Iterator[str]:
    """Absolute names of all modules that a file imports, functions' own imports included."""
    package = (
        module_name(path) if path.name == "__init__.py" else module_name(path).rpartition(".")[0]
    )
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                outer = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*outer, *filter(None, [node.module])])
            # `from pepbench import layout` imports pepbench.tables.layout.
            yield from (
                f"{base}.{alias.name}" if base == "pepbench" else base for alias in node.names
            )


def sources(*rooms: str) -> list[Path]:
    found: list[Path] = []
    for room in rooms:
        path = ROOT / room
        found += [path] if path.suffix else sorted(path.rglob("*.py"))
    return found


def within(name: str, *packages: str) -> bool:
    return any(name == package or name.startswith(f"{package}.") for package in packages)


@pytest.mark.parametrize("path", sources("baselines"), ids=module_name)
def test_baselines_import_the_seam_alone(path):
    ours = {name for name in imports_of(path) if within(name, "pepbench")}
    assert {name for name in ours if not within(name, "pepbench.baselines")} <= METHOD_SEAM


@pytest.mark.parametrize("path", sources("datasets"), ids=module_name)
def test_datasets_import_the_seam_alone(path):
    ours = {name for name in imports_of(path) if within(name, "pepbench")}
    rest = {n for n in ours if not within(n, "pepbench.datasets", "pepbench.data")}
    assert rest <= DATASET_SEAM


@pytest.mark.parametrize("path", sources("pepbench"), ids=module_name)
def test_the_harness_names_no_baseline_and_no_data_set(path):
    assert not [n for n in imports_of(path) if within(n, "pepbench.baselines", "pepbench.datasets")]


FORBIDDEN = {
    "pepbench/analysis": "torch report harness training backbones method workflow api",
    "pepbench/report": "torch training backbones method harness workflow api",
    "pepbench/data": "torch method harness training report analysis plan",
    "pepbench/backbones": "harness training report analysis records plan",
    "pepbench/training": "harness report analysis plan catalog pep",
    "pepbench/harness": "report analysis pep workflow api",
    "pepbench/contract": "report analysis plan pep workflow api",
}
LOWEST = ("method", "errors", "component", "metrics", "units")
FORBIDDEN |= dict.fromkeys(
    ("pepbench/records", "pepbench/tables", *(f"pepbench/{module}.py" for module in LOWEST)),
    "harness cli report analysis training workflow api plan",
)


@pytest.mark.parametrize(
    ("path", "forbidden"),
    [(path, names) for room, names in FORBIDDEN.items() for path in sources(room)],
    ids=lambda value: module_name(value) if isinstance(value, Path) else "",
)
def test_rooms_do_not_look_upwards(path, forbidden):
    names = [name if name == "torch" else f"pepbench.{name}" for name in forbidden.split()]
    assert not [name for name in imports_of(path) if within(name, *names)]


@pytest.mark.parametrize("path", sources("pepbench", "baselines", "datasets"), ids=module_name)
def test_nobody_imports_the_command_line(path):
    if path.name != "__main__.py" and path.parent.name != "cli":
        assert not [name for name in imports_of(path) if within(name, "pepbench.cli")]


def test_every_built_in_component_is_seen_by_these_tests():
    known = {module_name(path) for path in sources("pepbench", "baselines", "datasets")}
    for kind in ("method", "dataset", "backbone"):
        for entry in Catalog().entries(kind).values():
            assert entry.module in known


def test_long_modules_say_why():
    for path in sources("pepbench", "baselines", "datasets"):
        text = path.read_text("utf-8")
        if text.count("\n") > 350:
            words = (ast.get_docstring(ast.parse(text)) or "").lower()
            assert "long because" in words, path
