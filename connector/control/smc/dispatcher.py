"""Every operation goes through the dispatcher, so the signed API and the console have the same rules."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from connector.control.domain.access import AccessKey
from connector.control.smc.catalogue import Denied
from connector.control.smc.operations import Answer, Caller, Operation
from connector.control.smc.parameters import Values, parse
from connector.control.smc.scope import narrowed
from connector.control.state.access_keys import includes
from connector.control.store.audit import Audit
from connector.control.store.search import Scope


class OperationDispatcher:
    """Finds and carries out operations. Every method raises `Denied`. Thread-safe."""

    def __init__(self, operations: Iterable[Operation], audit: Audit, scope: Scope) -> None:
        """Every change has its line in `audit`. `scope` finds what belongs to the workgroups of a limited key."""
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

    def call(self, caller: Caller, name: str, parameters: Mapping[str, str]) -> Answer:
        """Check the role, parse, carry out and audit. `parameters` are flat text, as in a signed request."""
        operation = self.find(name)
        permit(caller.key, operation)
        return self.carry_out(caller, operation, parse(operation.parameters, parameters))

    def carry_out(self, caller: Caller, operation: Operation, values: Values) -> Answer:
        """Do the work of a permitted and parsed call. The line of the audit log is committed with the first change.

        The work names what it creates inside its transaction (`PendingLines.about`). A call that is done and has
        changed nothing, because it was repeated, has a line too.
        """
        values = narrowed(self._scope, caller.key, operation.name, values)
        if not operation.changes:
            return operation.work(caller, values)
        about = caller.key.id, caller.origin, operation.name, _subject(operation, values, {})
        with self._audit.announced(*about, dict(values)) as line:
            answer = operation.work(caller, values)
            if not line.written:
                line.subjects = [_subject(operation, values, answer)]
        return answer


def permit(key: AccessKey, operation: Operation) -> None:
    """Raise `Denied` unless the key's role allows this operation."""
    if not includes(key.role, operation.role):
        raise Denied(
            "Forbidden.Unauthorized",
            f"The access key {key.id} has the role {key.role}; {operation.name} needs {operation.role}.",
        )


def _subject(operation: Operation, values: Values, answer: Answer) -> str:
    subject = values.get(operation.subject, answer.get(operation.subject, ""))
    return " ".join(subject) if isinstance(subject, list) else str(subject)
