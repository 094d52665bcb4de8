"""Every `raise` of the connector, by its source: what is raised, with a remedy or without."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

import connector

ROOT: Final = Path(connector.__file__).parent


@dataclass(frozen=True, slots=True)
class Raise:
    """`name` is the last word of what stands behind `raise`; `call`: it is made there."""

    file: str
    line: int
    name: str
    call: bool
    remedy: bool

    def __str__(self) -> str:
        return f"{self.file}:{self.line} raises {self.name}"


@cache
def trees() -> dict[str, ast.Module]:
    """Every module of the connector by its path."""
    files = sorted(ROOT.rglob("*.py"))
    return {file.relative_to(ROOT).as_posix(): ast.parse(file.read_text()) for file in files}


def raises() -> Iterator[Raise]:
    """All but bare `raise`, which hands on what it caught."""
    for file, tree in trees().items():
        yield from raises_in(file, tree)


def raises_in(file: str, tree: ast.AST) -> Iterator[Raise]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and node.exc is not None:
            call = isinstance(node.exc, ast.Call)
            what = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
            given = isinstance(node.exc, ast.Call) and any(word.arg == "remedy" for word in node.exc.keywords)
            yield Raise(file, node.lineno, _last(what), call, given)


@cache
def classes() -> dict[str, tuple[str, ...]]:
    """Classes of the connector by name, each with the names of its bases."""
    return {
        node.name: tuple(_last(base) for base in node.bases)
        for tree in trees().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.ClassDef)
    }


@cache
def answers() -> dict[str, set[str]]:
    """Functions of the connector by name: what they say that they return."""
    found: dict[str, set[str]] = {}
    for tree in trees().values():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef) and node.returns is not None:
                found.setdefault(node.name, set()).add(_last(node.returns))
    return found


def _last(node: ast.expr) -> str:
    if isinstance(node, ast.Attribute):
        return node.attr
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Subscript):
        return _last(node.value)
    return ast.unparse(node)
