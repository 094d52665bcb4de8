"""What the program `connector.conversion` answers to a long request: a line of JSON for each stage, the result last."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping
from threading import Event
from typing import Any, Final

from connector.child import Child
from connector.errors import Interrupted, TargetFailed, from_json
from connector.names import visible

_PACE: Final = 0.5
_LISTS: Final = ("changes", "removed", "notes")  # of a conversion; the items of the first two are objects
_MOST_REPORT: Final = 1 << 20  # characters of a report that is kept


def result(process: Child, longest: float, halt: Event, say: Callable[[str], None]) -> object:
    """What the child answers at its end."""
    deadline = time.monotonic() + longest
    while time.monotonic() < deadline:
        if halt.is_set():
            raise Interrupted("it was stopped", on=process.name, remedy="repeat it")
        line = process.line(_PACE)
        if line is None:
            continue
        if not line:
            raise broken("the program that converts and starts has ended without a result", process.name)
        message = _message(line, process.name)
        if "error" in message:
            raise from_json(message, TargetFailed)
        if "result" in message:
            return message["result"]
        say(visible(str(message.get("progress")))[:400])
    raise broken(f"it did not end within {longest:.0f} s", process.name)


def _message(line: bytes, name: str) -> Mapping[str, Any]:
    try:
        message = json.loads(line, parse_constant=_no_number)
    except (ValueError, RecursionError):
        message = None
    if not isinstance(message, dict):
        raise broken("the program that converts and starts wrote what is no message", name)
    return message


def _no_number(word: str) -> None:
    raise ValueError(word)  # NaN and Infinity: no database takes them


def storable(value: Any) -> Any:
    """A value of JSON without what no database takes."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, str):
        return value.replace("\0", "").encode("utf-8", "replace").decode()
    if isinstance(value, list):
        return [storable(item) for item in value]
    if isinstance(value, dict):
        return {storable(key): storable(item) for key, item in value.items()}
    return value


def is_conversion(value: object) -> bool:
    """Whether people can be shown it as the report of a conversion, or as that there was none."""
    if value is None:
        return True
    lists = [value.get(key) for key in _LISTS] if isinstance(value, dict) else [None]
    if not all(isinstance(rows, list) for rows in lists):
        return False
    return all(isinstance(row, dict) for rows in lists[:2] for row in rows or ())


def shortened(report: Mapping[str, Any]) -> dict[str, Any]:
    """A report that a database takes: without a list of changes that is too long."""
    conversion = report.get("conversion")
    if len(json.dumps(report)) > _MOST_REPORT and conversion:
        note = f"{len(conversion.get('changes') or ())} changes: too many to be kept here"
        report = {**report, "conversion": conversion | {"changes": [], "removed": [], "notes": [note]}}
    return dict(storable(dict(report)))


def broken(why: str, name: str) -> TargetFailed:
    return TargetFailed(why, on=name, remedy="repeat it; see the control plane's log", retryable=True)
