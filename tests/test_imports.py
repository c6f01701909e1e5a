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


def test_baselines_import_the_seam_alone():
    for path in sources("baselines"):
        ours = {name for name in imports_of(path) if within(name, "pepbench")}
        rest = {name for name in ours if not within(name, "pepbench.baselines")}
        assert rest <= METHOD_SEAM, path


def test_datasets_import_the_seam_alone():
    for path in sources("datasets"):
        ours = {name for name in imports_of(path) if within(name, "pepbench")}
        rest = {n for n in ours if not within(n, "pepbench.datasets", "pepbench.data")}
        assert rest <= DATASET_SEAM, path


def test_the_harness_names_no_baseline_and_no_data_set():
    components = "pepbench.baselines", "pepbench.datasets"
    for path in sources("pepbench"):
        assert not [name for name in imports_of(path) if within(name, *components)], path


FORBIDDEN = {
    "pepbench/analysis": "torch report harness training backbones method run_command api",
    "pepbench/report": "torch training backbones method harness run_command api",
    "pepbench/data": "torch method harness training report analysis plan",
    "pepbench/backbones": "harness training report analysis records plan",
    "pepbench/training": "harness report analysis plan catalog pep",
    "pepbench/harness": "report analysis pep run_command api",
    "pepbench/contract": "report analysis plan pep run_command api",
}
LOWEST = ("method", "errors", "component", "metrics", "units")
FORBIDDEN |= dict.fromkeys(
    ("pepbench/records", "pepbench/tables", *(f"pepbench/{module}.py" for module in LOWEST)),
    "harness cli report analysis training run_command api plan",
)


@pytest.mark.parametrize("room", FORBIDDEN)
def test_rooms_do_not_look_upwards(room):
    forbidden = FORBIDDEN[room].split()
    names = [name if name == "torch" else f"pepbench.{name}" for name in forbidden]
    for path in sources(room):
        assert not [name for name in imports_of(path) if within(name, *names)], path


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
