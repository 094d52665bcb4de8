"""What a page is made of: who looks, what is shown, where to go next. Frozen values between the middleware and the pages."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode

from connector.control.domain.entities import AccessKey, ConsoleSession
from connector.control.smc.operations import Caller

ROOT: Final = "/console"


@dataclass(frozen=True, slots=True)
class PageRequest:
    """One request of a person who is logged in. `here` is its own address without the origin."""

    key: AccessKey
    session: ConsoleSession
    origin: str
    here: str
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def caller(self) -> Caller:
        """The same person as the public API knows callers."""
        return Caller(self.key, self.origin)


@dataclass(frozen=True, slots=True)
class Banner:
    """One line above the page: what happened, or what failed, on what, what to do. `field` is the input at fault."""

    text: str
    bad: bool = False
    field: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """A template and what it says."""

    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    banner: Banner | None = None


@dataclass(frozen=True, slots=True)
class Download:
    """A text file to take along, sent piece by piece. `name` is safe: letters, digits, dots, _ and -."""

    name: str
    pieces: Iterator[str]


@dataclass(frozen=True, slots=True)
class Redirect:
    """Done: the browser goes on to `to`, which is one of our own addresses."""

    to: str


Show = Callable[[PageRequest], Page]
See = Callable[[PageRequest], Page | Download]
Do = Callable[[PageRequest], Page | Redirect]


@dataclass(frozen=True, slots=True)
class View:
    """A page to look at, or a file to take along."""

    path: str
    show: See


@dataclass(frozen=True, slots=True)
class Form:
    """A change. When it is refused, `again` is shown under the reason."""

    path: str
    do: Do
    again: Show


def link(*parts: str, **query: object) -> str:
    """An address of the console; parameters that are None are left out."""
    path = "/".join([ROOT, *(quote(part, safe="") for part in parts)])
    given = {name: str(value) for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(given)}" if given else path


def ours(address: str) -> bool:
    """Whether an address that came from outside leads into the console and nowhere else."""
    inside = address == ROOT or address.startswith((f"{ROOT}/", f"{ROOT}?"))
    return inside and address.isascii() and address.isprintable() and "\\" not in address
