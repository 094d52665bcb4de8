"""The copyright file of the package: the licence of the product, and of all that is shipped with it by its own metadata."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from pathlib import Path
from typing import Final

_TEXTS: Final = ("LICEN", "COPYING", "NOTICE", "AUTHORS")
_HEAD: Final = """Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/
Upstream-Name: agentless-connector
Comment: VMware, vCenter, ESXi and VDDK are names of their owners; nothing of theirs is included.

Files: *
Copyright: the authors of agentless-connector
License: Apache-2.0
 On Debian systems the text is in /usr/share/common-licenses/Apache-2.0.
"""


@dataclass(frozen=True, slots=True)
class Shipped:
    """A package inside the environment. `texts`: its licence files, relative to the packages' directory."""

    name: str
    version: str
    licence: str
    author: str
    texts: tuple[str, ...]


def shipped(packages: Path) -> Iterator[Shipped]:
    """What is installed in a directory of packages, by name."""
    for about in sorted(packages.glob("*.dist-info"), key=lambda path: path.name.lower()):
        facts = HeaderParser().parsestr((about / "METADATA").read_text())
        texts = (file for file in sorted(about.rglob("*")) if file.name.upper().startswith(_TEXTS))
        yield Shipped(
            facts["Name"],
            facts["Version"],
            _licence(facts),
            facts["Author"] or facts["Author-email"] or f"the authors of {facts['Name']}",
            tuple(str(file.relative_to(packages)) for file in texts if file.is_file()),
        )


def copyright_file(packages: Path, home: str) -> str:
    """The text of the copyright file. `home`: where the packages are when they are installed."""
    return _HEAD + "".join(f"\n{_paragraph(package, home)}" for package in shipped(packages))


def _paragraph(one: Shipped, home: str) -> str:
    where = [f" {home}/{text}" for text in one.texts] or [" /usr/share/common-licenses/Apache-2.0"]
    lines = (
        f"Files: {home.removeprefix('/')}/{one.name.replace('-', '_')}*",
        f"Copyright: {one.author.splitlines()[0]}",
        f"License: {one.licence}",
        f" {one.name} {one.version}; the text is in",
        *where,
    )
    return "\n".join(lines) + "\n"


def _licence(facts: Message) -> str:
    """One line. Old metadata has a classifier, or the whole text of the licence in place of its name."""
    named = facts["License-Expression"] or facts["License"] or ""
    if named and "\n" not in named and len(named) < 80:
        return str(named).rpartition("::")[2].strip()
    classified = [line for line in facts.get_all("Classifier", ()) if line.startswith("License")]
    return str(classified[0]).rpartition("::")[2].strip() if classified else "unknown"
