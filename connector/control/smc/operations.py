"""An operation of the public API is a row: its parameters, the role that may call it, and the function that does the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from connector.control.domain.access import AccessKey, Role
from connector.control.smc.parameters import Values
from connector.specification.value import Parameter

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Caller:
    """The key that calls, and the address that it calls from."""

    key: AccessKey
    origin: str


#: Answers the fields of the response besides RequestId, or raises `Denied`.
Work = Callable[[Caller, Values], Answer]


@dataclass(frozen=True, slots=True)
class Field:
    """One field of an answer. With `item` it is a list, wrapped twice as the SDKs parse lists: `Name.Item[]`."""

    name: str
    kind: str  # "string", "integer", "float", "boolean", or "list"
    meaning: str = ""
    item: str = ""
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation.

    `subject` is the parameter that tells the audit log what was changed; for an operation that creates, it is a field of
    the answer, and the transaction that creates names it. An operation with `answers` is an extension: no SDK has a class
    for it, so its answer is described here.
    """

    name: str
    parameters: tuple[Parameter, ...]
    role: Role
    work: Work
    meaning: str
    subject: str = ""
    answers: tuple[Field, ...] = ()

    @property
    def extension(self) -> bool:
        """Whether it is our extension."""
        return bool(self.answers)

    @property
    def changes(self) -> bool:
        """Whether it changes anything. Then it is audited."""
        return bool(self.subject)
