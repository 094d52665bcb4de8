"""What a target may not do with an input: crash, or take more memory than the input may cost."""

from __future__ import annotations

import re
import tracemalloc
from dataclasses import dataclass

from tests.fuzz.targets import Target


@dataclass(slots=True)
class Failure(Exception):
    """An input that broke a rule of its target."""

    target: Target
    why: str

    def __str__(self) -> str:
        return f"{self.target.name}: {self.why}"


def check(target: Target, data: bytes) -> str:
    """What the target noticed. Raises `Failure` for a crash, and for more memory than the input may cost, twice in turn:
    what is allocated once for all, by whomever, is not the input's doing.
    """
    seen, peak = _measured(target, data)
    if peak > target.limit(data):
        seen, peak = _measured(target, data)
    if peak > target.limit(data):
        raise Failure(target, f"{peak} bytes of memory for an input of {len(data)}")
    return seen


def _measured(target: Target, data: bytes) -> tuple[str, int]:
    tracemalloc.start()
    try:
        seen = target.run(data)
    except target.refusals as refused:
        said = str(getattr(refused, "what", refused))  # without its subject, which may be a new one each time
        seen = f"refused: {re.sub('[0-9]+', '#', said)[:80]}"
    except Exception as crash:
        raise Failure(target, f"{type(crash).__name__}: {crash}") from crash
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    return seen, peak
