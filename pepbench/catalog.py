"""Finds methods, backbones and data sets by name: built in, installed, or in a user's file.

Built-in components are found by reading their source, and installed ones by their packages'
metadata, so that names can be listed and checked without importing torch. A component's module is
imported when it is used.
"""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.machinery import SourceFileLoader
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from types import CodeType, ModuleType
from typing import Literal

import pepbench
from pepbench.component import Component, Value, split_label, split_spec
from pepbench.errors import PlanError, unknown_name
from pepbench.printing import prints_to_stderr

Kind = Literal["method", "backbone", "dataset"]

_ROOMS: dict[Kind, str] = {
    "method": "pepbench.baselines",
    "backbone": "pepbench.backbones",
    "dataset": "pepbench.datasets",
}
_SUBJECT = "pepbench.pep"
_SUFFIXES = "pepbench.tables.quantised"
_SOURCE = "__pepbench_source__"
"""What a plug-in's file held when it was imported, in the module."""


def kind_of_plural(plural: str) -> Kind:
    """``methods`` → ``method``, as commands and entry points name them."""
    return next(kind for kind in _ROOMS if f"{kind}s" == plural)


@dataclass(frozen=True)
class Entry:
    """A component, as far as it is known without importing it."""

    kind: Kind
    name: str
    module: str
    """Dotted name of the module, or the path of a user's file."""
    class_name: str
    summary: str = ""
    family: str = ""
    year: int | None = None


@dataclass(frozen=True)
class Selection:
    """A component as a plan names it: its class, and the options that the user fixed."""

    spec: str
    component: type[Component]
    fixed: dict[str, Value]

    def default(self) -> Component:
        """The component with the fixed options, all others at their defaults."""
        return self.component.from_options(self.fixed)


class Catalog:
    """All components, those of the user's own files included.

    Parameters
    ----------
    plugins
        Python files that define further components. Importing one runs its code.
    """

    def __init__(self, plugins: tuple[Path, ...] = ()) -> None:
        self.plugins = plugins

    def entries(self, kind: Kind) -> dict[str, Entry]:
        """All of a kind by name: built in, installed and plug-ins; later ones override earlier."""
        found = {entry.name: entry for entry in _built_in(kind)}
        found.update({entry.name: entry for entry in _installed(kind, tuple(sys.path))})
        found.update({entry.name: entry for entry in self._plugged_in if entry.kind == kind})
        return dict(sorted(found.items()))

    def load(self, kind: Kind, name: str) -> type[Component]:
        """The class of a component; raises :class:`PlanError` for unknown names.

        ``method+int8`` is a method whose result is rounded after training; see
        :mod:`pepbench.tables.quantised`.
        """
        if kind == "method" and "+" in name:
            base, suffix = name.rsplit("+", 1)
            rounded: type[Component] = importlib.import_module(_SUFFIXES).quantised(
                self.load(kind, base), suffix
            )
            return rounded
        entries = self.entries(kind)
        if name not in entries:
            raise PlanError(_unknown(kind, name, entries))
        entry = entries[name]
        if entry.module.endswith(".py"):
            module = _import_file(Path(entry.module))
        else:
            module = _import_installed(entry)
        component: type[Component] = getattr(module, entry.class_name)
        _check_class(component, f"{kind} {name!r} ({entry.module})")
        return component

    def select(self, kind: Kind, spec: str) -> Selection:
        """The component that a spec names; raises :class:`PlanError` if it is not legal.

        ``mine=pep:init=-8`` is a method that records and tables call ``mine``.
        """
        if kind == "dataset":
            # The module is needed for data sets only, and names are listed without it.
            from pepbench.data.file_description import full_spec

            spec = full_spec(spec)
        label, wanted = split_label(spec) if kind == "method" else (spec, spec)
        name, texts = split_spec(wanted)
        if label != wanted and label in self.entries(kind):
            raise PlanError(f"{spec}: {label!r} is the name of a method; choose another")
        component = self.load(kind, name)
        return Selection(label, component, component.parse_options(texts))

    def ungrouped(self, kind: Kind, specs: Iterable[str]) -> tuple[str, ...]:
        """Specs with groups replaced by their members: ``all``, or a family such as ``hashing``."""
        entries = self.entries(kind)
        spelt_out: list[str] = []
        for spec in specs:
            members = [entry.name for entry in entries.values() if spec in ("all", entry.family)]
            spelt_out += [spec] if spec in entries else members or [spec]
        return tuple(dict.fromkeys(spelt_out))

    @cached_property
    def _plugged_in(self) -> list[Entry]:
        entries: list[Entry] = []
        for path in self.plugins:
            found = list(_entries_of_plugin(path))
            if not found:
                raise PlanError(
                    f"plug-in {path}: defines no method, backbone or data set; "
                    "a component is a subclass of Method, Backbone or Dataset with a name"
                )
            entries += found
        for kind in ("method", "backbone", "dataset"):
            own = [entry for entry in entries if entry.kind == kind]
            taken = {entry.name: "built in" for entry in _built_in(kind)}
            for entry in own:
                if entry.name in taken:
                    raise PlanError(
                        f"plug-in {entry.module}: {entry.class_name} is called {entry.name!r}, as "
                        f"is a {kind} that is {taken[entry.name]}; give it another name"
                    )
                taken[entry.name] = f"of {entry.module}, {entry.class_name}"
        return entries


def _unknown(kind: Kind, name: str, known: Iterable[str]) -> str:
    if kind != "dataset":
        return f"{unknown_name(kind, name, known)}; one of your own: add --plugin FILE"
    from pepbench.data.file_description import saved_names

    return (
        f"{unknown_name('data set', name, [*known, *saved_names()])}; a file of your own: "
        f"pepbench data add {name} --from FILE --label COLUMN"
    )


@cache
def _built_in(kind: Kind) -> tuple[Entry, ...]:
    return tuple(_entries_of_room(kind))


def _entries_of_room(kind: Kind) -> Iterator[Entry]:
    room = _ROOMS[kind]
    spec = importlib.util.find_spec(room)
    assert spec is not None
    assert spec.submodule_search_locations is not None
    for folder in spec.submodule_search_locations:
        for path in sorted(Path(folder).glob("*.py")):
            yield from _entries_of_source(kind, path, f"{room}.{path.stem}")
    if kind == "method":
        yield from _entries_of_source(kind, Path(pepbench.__file__).with_name("pep.py"), _SUBJECT)


def _entries_of_source(kind: Kind, path: Path, module: str) -> Iterator[Entry]:
    for node in ast.parse(path.read_text("utf-8")).body:
        if not isinstance(node, ast.ClassDef):
            continue
        constants = {
            target.id: statement.value.value
            for statement in node.body
            if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant)
            for target in statement.targets
            if isinstance(target, ast.Name)
        }
        if isinstance(constants.get("name"), str):
            year = constants.get("year")
            yield Entry(
                kind=kind,
                name=str(constants["name"]),
                module=module,
                class_name=node.name,
                summary=_first_sentence(ast.get_docstring(node) or ""),
                family=str(constants.get("family", "")),
                year=year if isinstance(year, int) else None,
            )


@cache
def _installed(kind: Kind, path: tuple[str, ...]) -> tuple[Entry, ...]:
    """Components of packages on ``path``; cached, since it takes tens of milliseconds."""
    del path  # part of the cache's key only
    points: tuple[EntryPoint, ...] = tuple(entry_points(group=f"pepbench.{kind}s"))
    return tuple(
        Entry(kind, point.name, point.module, point.attr, _summary_of(point)) for point in points
    )


def _summary_of(point: EntryPoint) -> str:
    return (point.dist.metadata["Summary"] or "") if point.dist else ""


def _entries_of_plugin(path: Path) -> Iterator[Entry]:
    module = _import_file(path)
    for value in vars(module).values():
        is_class = isinstance(value, type) and issubclass(value, Component)
        if is_class and value.__module__ == module.__name__ and "name" in vars(value):
            yield Entry(
                kind=value.kind,
                name=value.name,
                module=str(path),
                class_name=value.__name__,
                summary=_first_sentence(value.__doc__ or ""),
                family=getattr(value, "family", ""),
                year=getattr(value, "year", None),
            )


class _SourceLoader(SourceFileLoader):
    """Runs what a reader of the file sees: bytecode beside it is neither read nor written."""

    def get_code(self, fullname: str) -> CodeType:
        del fullname
        return self.source_to_code(self.get_data(self.path), self.path)


def forget_changed(plugins: Iterable[Path]) -> None:
    """Let files that have changed since they were imported be imported anew.

    Called when a run starts, not within it: all trials of a run have the same code, and the next
    run of a notebook has what the file says by then.
    """
    for path in plugins:
        module = sys.modules.get(_module_name(path))
        with suppress(OSError):
            if module is not None and vars(module)[_SOURCE] != path.read_bytes():
                del sys.modules[module.__name__]


def _module_name(path: Path) -> str:
    digest = hashlib.sha256(str(path.resolve()).encode()).hexdigest()[:8]
    return f"pepbench_plugin_{path.stem}_{digest}"


def _import_file(path: Path) -> ModuleType:
    path = path.resolve()
    name = _module_name(path)
    if name in sys.modules:
        return sys.modules[name]
    loader = _SourceLoader(name, str(path))
    spec = importlib.util.spec_from_file_location(name, path, loader=loader)
    if spec is None or not path.is_file():
        raise PlanError(f"plug-in {path}: no such Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    vars(module)[_SOURCE] = path.read_bytes()
    try:
        with prints_to_stderr():
            loader.exec_module(module)
    except (Exception, SystemExit) as error:
        del sys.modules[name]
        raise PlanError(f"plug-in {path}: {type(error).__name__}: {error}") from error
    return module


def _import_installed(entry: Entry) -> ModuleType:
    try:
        return importlib.import_module(entry.module)
    except Exception as error:
        if entry.module.startswith(f"{pepbench.__name__}."):
            raise
        raise PlanError(
            f"{entry.kind} {entry.name!r} of the installed {entry.module}: "
            f"{type(error).__name__}: {error}"
        ) from error


def _check_class(component: type[Component], what: str) -> None:
    """Refuse classes without instances, and say what their author has to add."""
    if "__dataclass_params__" not in vars(component):
        raise PlanError(f"{what}: decorate class {component.__name__} with @dataclass(frozen=True)")
    missing = sorted(getattr(component, "__abstractmethods__", ()))
    if missing:
        raise PlanError(f"{what}: class {component.__name__} must define {', '.join(missing)}")
    for field in dataclasses.fields(component):
        if field.default is dataclasses.MISSING:
            raise PlanError(f"{what}: option {field.name} needs a default")
    remedy = "an option is a bool, int, float or str; a choice is Annotated[str, OneOf(…)]"
    try:
        options = component.described_options()
    except NameError as error:
        raise PlanError(f"{what}: {error}; {remedy}") from None
    for option in options:
        if option.kind not in (bool, int, float, str):
            raise PlanError(f"{what}: option {option.name} has the type {option.kind}; {remedy}")


def _first_sentence(docstring: str) -> str:
    return " ".join(docstring.strip().split("\n\n")[0].split())
