"""Which job, machine, pass and disk the present work is for, so that every message about it has their ids.

The rule: whoever begins such work says so once, around it. Nothing reads ids out of texts. A new thread knows nothing of the
thread that started it: what it runs goes through `carried`.
"""

from __future__ import annotations

import contextvars
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

#: The ids, from the widest to the narrowest, as messages name them.
NAMES: Final = ("job", "run", "machine", "pass", "disk")
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})
_IDS: Final[contextvars.ContextVar[Mapping[str, str]]] = contextvars.ContextVar("log_ids", default=_NOTHING)


@contextmanager
def log_context(
    *, job: str = "", run: str = "", machine: str = "", pass_id: str = "", disk: str = ""
) -> Iterator[None]:
    """The work inside the block is for these; an empty one stays what it was. Without any, the block is for what is added."""
    token = _IDS.set(_with(job, run, machine, pass_id, disk))
    try:
        yield
    finally:
        _IDS.reset(token)


def add(*, job: str = "", run: str = "", machine: str = "", pass_id: str = "", disk: str = "") -> None:
    """The same until the end of the block that is under way. Outside of a block nothing is added: it would never end."""
    if _IDS.get() is not _NOTHING:
        _IDS.set(_with(job, run, machine, pass_id, disk))


def current() -> Mapping[str, str]:
    """The ids that are known, by their names."""
    return _IDS.get()


def carried(work: Callable[P, R]) -> Callable[P, R]:
    """The same work, with the ids of now wherever it runs. It may run several times, one after the other or at once."""
    ids = _IDS.get()

    def run(*given: P.args, **named: P.kwargs) -> R:
        token = _IDS.set(ids)
        try:
            return work(*given, **named)
        finally:
            _IDS.reset(token)

    return run


def _with(*ids: str) -> Mapping[str, str]:
    known = dict(_IDS.get())
    known.update({name: value for name, value in zip(NAMES, ids, strict=True) if value})
    return {name: known[name] for name in NAMES if name in known}
