"""Where an operation is carried out for somebody who has been let in: one set of rules for the signed API and the console."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from connector.control.domain.entities import AccessKey
from connector.control.smc.catalogue import Denied
from connector.control.smc.operations import Answer, Caller, Operation
from connector.control.smc.parameters import Values, parse
from connector.control.smc.scope import narrowed
from connector.control.state.access_keys import includes
from connector.control.store.search import Scope

#: Records who did what, from where: key, address, operation, subject, parameters.
Audit = Callable[[str, str, str, str, Mapping[str, Any]], None]


class OperationDispatcher:
    """All operations by name. Thread-safe. Every method raises `Denied`."""

    def __init__(self, operations: Iterable[Operation], audit: Audit, scope: Scope) -> None:
        """`scope` knows what belongs to the workgroups that a key may be limited to."""
        self._operations = {operation.name: operation for operation in operations}
        self._audit = audit
        self._scope = scope

    def find(self, name: str) -> Operation:
        """The operation of this name."""
        operation = self._operations.get(name)
        if operation is None:
            raise Denied(
                "InvalidAction.NotFound", "Specified api is not found, please check your url and method."
            )
        return operation

    def call(self, caller: Caller, name: str, given: Mapping[str, str]) -> Answer:
        """Everything from the role to the line in the audit log; `given` is flat text, as it would be signed."""
        operation = self.find(name)
        permit(caller.key, operation)
        return self.carry_out(caller, operation, parse(operation.parameters, given))

    def carry_out(self, caller: Caller, operation: Operation, values: Values) -> Answer:
        """The work of a call that has been permitted and parsed; a change is audited once it is done."""
        values = narrowed(self._scope, caller.key, operation.name, values)
        answer = operation.work(caller, values)
        if operation.changes:
            subject = _subject(operation, values, answer)
            self._audit(caller.key.id, caller.origin, operation.name, subject, values)
        return answer


def permit(key: AccessKey, operation: Operation) -> None:
    """The key's role allows this operation."""
    if not includes(key.role, operation.role):
        raise Denied(
            "Forbidden.Unauthorized",
            f"The access key {key.id} has the role {key.role}; {operation.name} needs {operation.role}.",
        )


def _subject(operation: Operation, values: Values, answer: Answer) -> str:
    found = values.get(operation.subject, answer.get(operation.subject, ""))
    return " ".join(found) if isinstance(found, list) else str(found)
