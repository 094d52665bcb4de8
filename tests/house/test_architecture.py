"""The page about the architecture names places of the code that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = ROOT / "docs" / "architecture.md"
FOLDERS: Final = ("connector", "vddk", "nfc", "simulator", "tools", "tests", "docs", "config", "deploy")
FILES: Final = [file for folder in FOLDERS for file in (ROOT / folder).rglob("*") if file.is_file()]
#: Words of other programs and of the API, which no file of the product defines by this name.
ELSEWHERE: Final = {"repr", "pytest", "UPDATE_DOCS", "ShutdownDeadline"}


def rows(heading: str) -> list[str]:
    """The second cell of each row of the tables below a heading."""
    _, _, text = PAGE.read_text().partition(f"\n## {heading}\n")
    lines = [line for line in text.partition("\n## ")[0].splitlines() if line.startswith("| ")]
    return [line.split(" | ", 1)[1] for line in lines if not line.startswith(("| question", "| to |"))]


ROWS: Final = [*rows("Where it is decided"), *rows("Where to change what")]


def found(path: str) -> list[Path]:
    return [
        file
        for file in FILES
        if (name := f"/{file.relative_to(ROOT)}").endswith(f"/{path}") or f"/{path.rstrip('/')}/" in name
    ]


def is_path(word: str) -> bool:
    return "/" in word or word.endswith(".py")


def test_both_tables_are_there() -> None:
    assert len(ROWS) > 80


@pytest.mark.parametrize("row", ROWS)
def test_every_place_that_a_row_names_exists(row: str) -> None:
    """A file or folder; and a name in one of the files of its row, or at least somewhere in the product."""
    words = re.findall(r"`([^`]+)`", row)
    named = {word: found(word) for word in words if is_path(word)}
    assert [word for word, files in named.items() if not files] == []
    for files in ([file for found_ in named.values() for file in found_], FILES):
        text = "\n".join(file.read_text(errors="replace") for file in files if file.suffix in (".py", ".j2"))
        words = [word for word in words if not is_path(word) and not _in(text, word)]
        if not words:
            return
    raise AssertionError(f"the code has no {', '.join(words)}")


def members() -> dict[str, set[str]]:
    """What the classes of the product have, by the class: methods, fields, attributes, and what their bases have."""
    own: dict[str, set[str]] = {}
    bases: dict[str, set[str]] = {}
    for file in (file for folder in ("connector", "vddk", "nfc") for file in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text())):
            if isinstance(node, ast.ClassDef):
                names = own.setdefault(node.name, set())
                bases.setdefault(node.name, set()).update(ast.unparse(base) for base in node.bases)
                names.update(
                    child.name
                    for child in node.body
                    if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef)
                )
                names.update(
                    child.id if isinstance(child, ast.Name) else child.attr
                    for child in ast.walk(node)
                    if isinstance(child, ast.Name | ast.Attribute) and isinstance(child.ctx, ast.Store)
                )
    for name in own:
        for base in bases[name] & own.keys():
            own[name] |= own[base]
    return own


@pytest.mark.generated
def test_every_member_that_the_page_names_is_one_of_its_class() -> None:
    """A method that was renamed must not hide behind the same word elsewhere."""
    known = members()
    named = re.findall(r"`(?:store\.)?([A-Z]\w+)\.(\w+)`", PAGE.read_text())
    assert len(named) > 80
    assert [f"{owner}.{name}" for owner, name in named if owner in known and name not in known[owner]] == []


def _in(text: str, word: str) -> bool:
    parts = set(re.findall(r"[A-Za-z_]\w+", word)) - ELSEWHERE
    return all(re.search(rf"\b{part}\b", text) for part in parts)
