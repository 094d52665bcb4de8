"""Pages and the middleware exchange only frozen values: a request, a page, a download, a redirect."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote, urlencode

from connector.control.domain.access import AccessKey, ConsoleSession
from connector.control.smc.operations import Caller

ROOT: Final = "/console"


@dataclass(frozen=True, slots=True)
class PageRequest:
    """One request of a person who is logged in. `here`: its own address without the origin."""

    key: AccessKey
    session: ConsoleSession
    origin: str
    here: str
    path: Mapping[str, str] = field(default_factory=dict)
    query: Mapping[str, str] = field(default_factory=dict)
    form: Mapping[str, str] = field(default_factory=dict)

    @property
    def caller(self) -> Caller:
        """The same person as a caller of the public API."""
        return Caller(self.key, self.origin)


@dataclass(frozen=True, slots=True)
class Banner:
    """One line above the page that says what happened, or what failed and what to do. `field`: the input at fault."""

    text: str
    bad: bool = False
    field: str = ""


@dataclass(frozen=True, slots=True)
class Page:
    """A template and its values."""

    template: str
    values: Mapping[str, Any] = field(default_factory=dict)
    banner: Banner | None = None


@dataclass(frozen=True, slots=True)
class Download:
    """A text file to download, sent piece by piece. `name` has only letters, digits, dots, _ and -."""

    name: str
    pieces: Iterator[str]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that a page shows, of this media type."""

    content: bytes
    media_type: str


@dataclass(frozen=True, slots=True)
class Redirect:
    """The change is done, and the browser goes on to `to`, one of our own addresses."""

    to: str


Show = Callable[[PageRequest], Page]
See = Callable[[PageRequest], Page | Download | Picture]
Do = Callable[[PageRequest], Page | Redirect]


@dataclass(frozen=True, slots=True)
class View:
    """A page that shows something, a picture on it, or a download."""

    path: str
    show: See


@dataclass(frozen=True, slots=True)
class Form:
    """A page that changes something. If it is refused, `again` is shown below the reason."""

    path: str
    do: Do
    again: Show


def link(*parts: str, **query: object) -> str:
    """An address of the console, without parameters that are None."""
    path = "/".join([ROOT, *(quote(part, safe="") for part in parts)])
    parameters = {name: str(value) for name, value in query.items() if value is not None}
    return f"{path}?{urlencode(parameters)}" if parameters else path


def ours(address: str) -> bool:
    """Whether an address from outside leads only into the console."""
    inside = address == ROOT or address.startswith((f"{ROOT}/", f"{ROOT}?"))
    return inside and address.isascii() and address.isprintable() and "\\" not in address
