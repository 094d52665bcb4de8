"""ifupdown of Debian: /etc/network/interfaces and the files that it includes.

It knows cards by name only, so names that are kept need no change here.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from connector.conversion.network.cards import NameClaim, NamedCard, Naming, is_physical
from connector.conversion.network.sections import split
from connector.conversion.network.texts import GuestTexts

_MAIN: Final = "/etc/network/interfaces"
_HOME: Final = "/etc/network/"
_MOST_FILES: Final = 64
_STARTS: Final = ("iface", "mapping", "auto", "source", "source-directory", "rename", "template")
_INCLUDED: Final = re.compile(r"[A-Za-z0-9_-]+")  # names that source-directory takes
_INET: Final = re.compile(
    r"address|netmask|broadcast|network|gateway|pointopoint|scope|dns-(?:nameservers?|search|domain|sortlist)"
)
_INET6: Final = re.compile(
    r"address|netmask|gateway|scope|autoconf|accept_ra|preferred-lifetime|dad-\w+|dns-(?:nameservers?|search|domain|sortlist)"
)
_CLIENTS: Final = ("dhclient", "dhcpcd", "udhcpc", "pump")
_COMMANDS: Final = ("pre-up", "up", "post-up", "down", "pre-down", "post-down")
_MEMBERS: Final = ("bond-slaves", "slaves", "bridge_ports", "bridge-ports", "bond-primary", "ovs_ports")
_MASTERS: Final = ("bond-master", "ovs_bridge", "ovs_bonds")


@dataclass(frozen=True, slots=True)
class InterfaceStanza:
    """Lines that belong together: one `iface` with its options, or lines of another kind. A line may be several, continued."""

    lines: tuple[str, ...]

    @property
    def words(self) -> list[str]:
        return _words(self.lines[0])

    @property
    def name(self) -> str:
        """The interface; empty when this is no `iface`."""
        return self.words[1] if self.words[:1] == ["iface"] and len(self.words) > 1 else ""

    def options(self) -> Iterator[list[str]]:
        return (words for line in self.lines[1:] if (words := _words(line)))


def claims(texts: GuestTexts) -> list[NameClaim]:
    """The physical cards that are configured."""
    names = {stanza.name: None for path in _paths(texts) for stanza in _stanzas(texts.read(path) or "")}
    return [NameClaim(name) for name in names if is_physical(name)]


def match_by_name(texts: GuestTexts, naming: Naming) -> None:
    """Only `hwaddress` has a MAC, and it sets one."""
    for path in _paths(texts):
        for stanza in _stanzas(texts.read(path) or ""):
            if naming.named(stanza.name) and any(words[0] == "hwaddress" for words in stanza.options()):
                texts.note(f"{path} sets the MAC of {stanza.name} (hwaddress); this was kept")


def ask_dhcp(texts: GuestTexts, card: NamedCard, naming: Naming) -> None:  # noqa: ARG001 - of the Protocol
    """The first static stanza of each family asks; further addresses go."""
    paths = _paths(texts)
    every = [stanza for path in paths for stanza in _stanzas(texts.read(path) or "")]
    upper = next((name for stanza in every if (name := _upper(stanza, card.name))), "")
    if upper:
        texts.note(f"{card.name} belongs to {upper}; the addresses of {upper} were kept")
        return
    for stanza in every:
        if stanza.name == card.name and len(stanza.words) != 4:
            texts.note(f"'{' '.join(stanza.words)}' was kept: this form of a stanza is not understood")
    if any(stanza.name.startswith(f"{card.name}:") for stanza in every):
        texts.note(f"{card.name} has further addresses on {card.name}:N, which were kept")
    families: set[str] = {stanza.words[2] for stanza in every if _is_of(stanza, card.name) and _asks(stanza)}
    for path in paths:
        text = texts.read(path)
        if text is not None:
            stanzas = [_asking(texts, stanza, card.name, families) for stanza in _stanzas(text)]
            changed = "".join(line for stanza in stanzas for line in stanza)
            if changed != text and not any(
                texts.paths(folder, *_CLIENTS) for folder in ("/sbin", "/usr/sbin")
            ):
                texts.note(f"{card.name} asks DHCP on the target, and no DHCP client was seen in the guest")
            texts.change(path, changed, f"{card.name} asks DHCP on the target")


def _asking(texts: GuestTexts, stanza: InterfaceStanza, name: str, asked: set[str]) -> tuple[str, ...]:
    words = stanza.words
    if not _is_of(stanza, name) or words[2] not in ("inet", "inet6") or words[3] != "static":
        if _is_of(stanza, name) and words[2] == "inet" and words[3] == "manual":
            texts.note(f"{name} has no IPv4 address of its own; nothing was changed there")
        return stanza.lines
    if any(option[0] in _COMMANDS for option in stanza.options()):
        texts.note(f"the commands (up, post-up, ...) of {name} were kept; they may name its old addresses")
    if words[2] in asked:
        return tuple(line for line in stanza.lines[1:] if _is_aside(line))
    asked.add(words[2])
    method, removed = ("dhcp", _INET) if words[2] == "inet" else ("auto", _INET6)
    head = re.sub(r"\bstatic(\s*)\Z", rf"{method}\1", stanza.lines[0])
    kept = [line for line in stanza.lines[1:] if _is_aside(line) or not removed.fullmatch(_words(line)[0])]
    return (head, *kept)


def _asks(stanza: InterfaceStanza) -> bool:
    return stanza.words[3] in ("dhcp", "auto")


def _is_of(stanza: InterfaceStanza, name: str) -> bool:
    return stanza.name == name and len(stanza.words) == 4


def _is_aside(line: str) -> bool:
    """A comment or an empty line."""
    return not _words(line)


def _upper(stanza: InterfaceStanza, name: str) -> str:
    """The bond or bridge that this stanza puts the card into."""
    for words in stanza.options():
        if words[0] in _MEMBERS and name in words[1:]:
            return stanza.name
        if stanza.name == name and words[0] in _MASTERS and len(words) > 1:
            return words[1]
    return ""


def _paths(texts: GuestTexts) -> list[str]:
    """The main file and those that it includes, each once."""
    paths: dict[str, None] = {}
    waiting = [_MAIN]
    while waiting:
        path = waiting.pop(0)
        text = None if path in paths else texts.read(path)
        if text is None:
            continue
        if len(paths) >= _MOST_FILES:
            texts.note(f"{_MAIN} includes more than {_MOST_FILES} files; the others were not looked at")
            break
        paths[path] = None
        for stanza in _stanzas(text):
            waiting += _included(texts, stanza.words)
    return list(paths)


def _included(texts: GuestTexts, words: list[str]) -> list[str]:
    if len(words) < 2 or words[0] not in ("source", "source-directory"):
        return []
    pattern = words[1] if words[1].startswith("/") else _HOME + words[1]
    folder, _, name = pattern.rstrip("/").rpartition("/")
    if words[0] == "source-directory":
        folder, name = pattern.rstrip("/"), "*"
    if not f"{folder}/".startswith(_HOME) or ".." in folder or re.search(r"[*?\[{$`~\\]", folder):
        texts.note(f"{_MAIN} includes {words[1]}, which was not looked at")
        return []
    paths = [path for path in texts.paths(folder) if fnmatch.fnmatchcase(path.rpartition("/")[2], name[:64])]
    return [p for p in paths if words[0] == "source" or _INCLUDED.fullmatch(p.rpartition("/")[2])]


def _stanzas(text: str) -> list[InterfaceStanza]:
    stanzas: list[list[str]] = []
    for line in _joined(text):
        words = _words(line)
        if not stanzas or (
            words and (words[0] in _STARTS or words[0].startswith("allow-") or words[0] == "no-auto-down")
        ):
            stanzas.append([line])
        else:
            stanzas[-1].append(line)
    return [InterfaceStanza(tuple(lines)) for lines in stanzas]


def _joined(text: str) -> Iterator[str]:
    """Lines, and continued lines in one piece."""
    pieces: list[str] = []
    for line in split(text):
        pieces.append(line)
        if not line.rstrip("\r\n").endswith("\\"):
            yield "".join(pieces)
            pieces = []
    if pieces:
        yield "".join(pieces)


def _words(line: str) -> list[str]:
    """The words of a line; none in a comment."""
    return [] if line.lstrip()[:1] == "#" else re.sub(r"\\\r?\n", " ", line).split()
