"""The tables and the code speak of the API as it is: a misspelt name in a rarely run branch is found here."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import simulator.vcenter
from simulator.vcenter import entity_kinds, filters, managers, tasks, views
from simulator.vcenter.api import fields_of, method_named, vim, vmodl
from simulator.vcenter.kinds import Kind

SOURCES = sorted(Path(simulator.vcenter.__file__).parent.glob("*.py"))
ROOTS = {
    "vim": vim,
    "vmodl": vmodl,
    "_D": vim.vm.device,
    "_PC": vmodl.query.PropertyCollector,
    "_COLLECTOR": vmodl.query.PropertyCollector,
}
KINDS = [
    *(value for value in vars(entity_kinds).values() if isinstance(value, Kind)),
    *managers._KINDS,
    filters.FILTER,
    tasks.TASK,
    views.CONTAINER,
    views.LIST,
    views.INVENTORY,
]


def resolve(node: ast.expr) -> Any:
    """The API object that a dotted name stands for; None for other expressions."""
    if isinstance(node, ast.Name):
        return ROOTS.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = resolve(node.value)
        return None if owner is None else getattr(owner, node.attr)
    return None


def nodes(path: Path) -> Iterator[ast.AST]:
    return ast.walk(ast.parse(path.read_text()))


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_name_of_the_api_exists(path: Path) -> None:
    for node in nodes(path):
        if isinstance(node, ast.Attribute) and not node.attr.startswith("_"):
            resolve(node)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.stem)
def test_every_field_that_is_set_exists(path: Path) -> None:
    for node in nodes(path):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Name | ast.Attribute)):
            continue
        if isinstance(node.func, ast.Name) and node.func.id == "make" and node.args:
            kind = resolve(node.args[0])
        else:
            kind = resolve(node.func)
        if isinstance(kind, type) and issubclass(kind, vmodl.DynamicData):
            unknown = {word.arg for word in node.keywords if word.arg} - fields_of(kind).keys()
            assert not unknown, f"{path.name}:{node.lineno}: {kind.__name__} has no {unknown}"


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: str(kind.name))
def test_tables_name_real_properties_and_methods(kind: Kind) -> None:
    assert kind.properties.keys() <= fields_of(kind.type).keys()
    for name in kind.methods:
        info = method_named(name)
        assert info is not None, name
        assert issubclass(kind.type, info.type), f"{name} is a method of {info.type.__name__}"
