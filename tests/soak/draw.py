"""What happens in a pass of the soak is a function of the seed and the pass's number, so any failure can be had again."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Final

from tests.faults.matrix import CELLS, Cell

SEED: Final = 20191
PASSES: Final = 200


@dataclass(frozen=True, slots=True)
class Length:
    """The soak ends after so many delta passes or seconds, whichever comes first; 0 seconds: by passes alone."""

    seed: int = SEED
    passes: int = PASSES
    seconds: float = 0.0
    share: float = 0.5  # of the passes in which something breaks

    @classmethod
    def told(cls, environment: Mapping[str, str] = os.environ) -> Length:
        """By SOAK_SEED, SOAK_PASSES, SOAK_SECONDS and SOAK_SHARE."""
        return cls(
            int(environment.get("SOAK_SEED") or SEED),
            int(environment.get("SOAK_PASSES") or PASSES),
            float(environment.get("SOAK_SECONDS") or 0.0),
            float(environment.get("SOAK_SHARE") or 0.5),
        )


def fault(length: Length, number: int) -> Cell | None:
    """What breaks in this pass; None: nothing."""
    random = Random(f"{length.seed} {number}")
    return random.choice(CELLS) if random.random() < length.share else None


@contextmanager
def traced(length: Length, number: int, cell: Cell | None) -> Iterator[None]:
    """Whatever fails inside says with which seed, in which pass, after which fault."""
    try:
        yield
    except Exception as failed:
        what = cell.id if cell else "nothing"
        again = f"SOAK_SEED={length.seed} SOAK_PASSES={number} SOAK_SHARE={length.share:g} make soak"
        raise AssertionError(
            f"seed {length.seed}, pass {number}, fault {what}: {failed} ({again})"
        ) from failed
