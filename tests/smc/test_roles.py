"""What a role may call, operation by operation: whatever is added to the table is tried here too."""

from __future__ import annotations

import pytest

from connector.control.domain.access import Role
from tests.smc.conftest import Cloud
from tests.smc.test_fields import OPERATIONS

#: Said here once more, and not read from the table: who gives a wrong role there finds a failure here.
LOOKS = ("Describe", "List", "Estimate", "Export")
ADMINS = {
    "CreateAccessToken",
    "DisableAccessToken",
    "DeleteAccessToken",
    "CreateEnrolmentCode",
    "ApproveMigrationAppliance",
    "RevokeMigrationAppliance",
    "RotateMigrationAppliance",
    "ConfirmRestore",
}


def needed(name: str) -> Role:
    if name.startswith(LOOKS):
        return Role.READER
    return Role.ADMIN if name in ADMINS else Role.OPERATOR


#: What every role may call.
ABLE = {
    Role.READER: {Role.READER},
    Role.OPERATOR: {Role.READER, Role.OPERATOR},
    Role.ADMIN: {Role.READER, Role.OPERATOR, Role.ADMIN},
}


@pytest.mark.parametrize("role", list(Role))
def test_a_role_is_let_in_to_what_it_may_call_and_to_nothing_else(cloud: Cloud, role: Role) -> None:
    for name in sorted(OPERATIONS):
        # Nobody reaches any work: after the role, this parameter is refused
        answer = cloud.raw(name, {"NoSuchParameter": "1"}, role)
        code = answer.json()["Code"]
        if needed(name) in ABLE[role]:
            assert answer.status_code == 400, name
            assert code == "UnknownParameter" or code.startswith("MissingParameter."), name
        else:
            assert (answer.status_code, code) == (403, "Forbidden.Unauthorized"), name
            assert role in answer.json()["Message"], name


def test_what_looks_is_not_audited_and_what_changes_is() -> None:
    refused = {"CreateCrossZoneMigrationJob"}  # it is never done
    for name, operation in OPERATIONS.items():
        assert operation.changes == (not name.startswith(LOOKS) and name not in refused), name
