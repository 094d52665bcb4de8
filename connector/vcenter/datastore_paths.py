"""The datastore in a path such as "[name] folder/file.vmdk".

A name may contain brackets and blanks. It may also contain "/", "\\" and "%", written as %2f, %5c and %25. The text alone does
not always show where a name ends: "[a] b] c/d.vmdk" is a file on `a` or on `a] b`. So the names of the known datastores decide;
without them the brackets do.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from connector.vcenter.values import plain

_END: Final = "] "


def datastore(path: str, known: Iterable[str] = ()) -> str:
    """The name of the datastore, unescaped; empty when the path names none. The longest fitting name of `known` wins."""
    if not path.startswith("["):
        return ""
    inside = path[1:]
    bare = plain(inside)
    fitting = [name for name in known if name and bare.startswith(name + _END)]
    return max(fitting, key=len) if fitting else plain(_bracketed(inside))


def within(path: str, store: str) -> str:
    """The part of a path after the datastore of this (unescaped) name, as it is written; empty when it is on no such one."""
    inside = path.removeprefix("[")
    ends = (at for at in range(len(inside)) if inside.startswith(_END, at))
    return next((inside[at + len(_END) :] for at in ends if plain(inside[:at]) == store), "")


def _bracketed(text: str) -> str:
    """The text up to the bracket that closes the first one, with nested pairs; else up to the first closing bracket."""
    depth = 1
    for at, letter in enumerate(text):
        depth += (letter == "[") - (letter == "]")
        if depth == 0 and text.startswith(_END, at):
            return text[:at]
    return text[: text.index(_END)] if _END in text else ""
