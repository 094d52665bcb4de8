"""What an operation of the public API is: its parameters, who may call it, what does the work."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from connector.control.domain.entities import AccessKey, Role
from connector.control.smc.parameters import Values
from connector.specification.value import Parameter

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls, and from which address."""

    key: AccessKey
    origin: str


#: Answers the fields of the response besides RequestId, or raises `Denied`.
Work = Callable[[Caller, Values], Answer]


@dataclass(frozen=True, slots=True)
class Field:
    """One line of an answer. With `item` it is a list, wrapped twice as the SDKs parse lists: `Name.Item[]`."""

    name: str
    kind: str  # "string", "integer", "float", "boolean", or "list"
    meaning: str = ""
    item: str = ""
    fields: tuple[Field, ...] = ()


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation.

    `subject` names the parameter by which the audit log remembers what a changing operation changed; for one that
    creates, it is a field of the answer. An operation with `answers` is an extension: the service has none of that
    name and no SDK has a class for it, so what it answers is written down here.
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
        """Whether it is ours and not the service's."""
        return bool(self.answers)

    @property
    def changes(self) -> bool:
        """Whether it changes anything; then it is audited."""
        return bool(self.subject)
