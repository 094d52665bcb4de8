"""No deadline of a test is one that a busy machine breaks: whoever waits, waits as long as `tests.waiting` says."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.waiting import PATIENCE

TESTS: Final = Path(__file__).parents[1]
#: Seconds of one test, in pyproject.toml.
WHOLE_TEST: Final = 900
#: Seconds that one request for an order may wait. It is repeated, because an order may come later.
LOOK: Final = 1.0


def _calls(tree: ast.AST) -> Iterator[tuple[str, ast.Call]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            yield ast.unparse(node.func), node


def _number(node: ast.expr | None) -> float | None:
    is_number = isinstance(node, ast.Constant) and isinstance(node.value, int | float)
    return float(node.value) if is_number else None  # type: ignore[union-attr]


def _deadline(name: str, call: ast.Call) -> tuple[float | None, float]:
    """The seconds that a call allows, when it says so, and the least that it must allow."""
    if name.endswith("mark.timeout"):
        return _number(call.args[0]), WHOLE_TEST
    if name.rpartition(".")[2] == "eventually":
        named = next((word.value for word in call.keywords if word.arg == "seconds"), None)
        return _number(call.args[2] if len(call.args) > 2 else named), PATIENCE
    return None, 0


def _short(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Line and text of each deadline that is too short."""
    for name, call in _calls(tree):
        seconds, least = _deadline(name, call)
        if seconds and seconds < least:  # 0 is none
            yield call.lineno, ast.unparse(call)
        asks_for_an_order = name.endswith(".take") and ("client" in name or "appliance" in name)
        if asks_for_an_order and call.args and (_number(call.args[0]) or 0) > LOOK:
            yield call.lineno, f"{ast.unparse(call)}: use `taken`, which asks until an order is offered"
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and isinstance(node.ops[0], ast.Lt | ast.LtE):
            took, most = ast.unparse(node.left), _number(node.comparators[0])
            if "monotonic() -" in took and most is not None and most < PATIENCE:
                yield node.lineno, ast.unparse(node)


def test_deadlines_are_long() -> None:
    short = [
        f"{path.relative_to(TESTS)}:{line}: {text}"
        for path in sorted(TESTS.rglob("*.py"))
        for line, text in _short(ast.parse(path.read_text()))
    ]
    assert short == []
