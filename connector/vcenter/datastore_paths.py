"""The datastore in a path such as "[name] folder/file.vmdk".

A name may hold brackets and blanks, and as %2f, %5c and %25 also "/", "\\" and "%". Text alone cannot always tell where such a
name ends: "[a] b] c/d.vmdk" is a file on `a` or on `a] b`. So the known datastores decide, and only without them the brackets.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from connector.vcenter.values import plain

_END: Final = "] "


def datastore(path: str, known: Iterable[str] = ()) -> str:
    """The name of the datastore, unescaped; empty without one. Of the names in `known` the longest that fits wins."""
    if not path.startswith("["):
        return ""
    inside = path[1:]
    bare = plain(inside)
    fitting = [name for name in known if name and bare.startswith(name + _END)]
    return max(fitting, key=len) if fitting else plain(_bracketed(inside))


def _bracketed(text: str) -> str:
    """Up to the bracket that closes the first one, where pairs nest; else up to the first that could."""
    depth = 1
    for at, letter in enumerate(text):
        depth += (letter == "[") - (letter == "]")
        if depth == 0 and text.startswith(_END, at):
            return text[:at]
    return text[: text.index(_END)] if _END in text else ""
