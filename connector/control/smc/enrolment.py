"""The operations on activation codes (access tokens) and on the authority of appliances that enrolled with them."""

from __future__ import annotations

from typing import Final

from connector.control.domain.access import Role, TokenStatus
from connector.control.domain.entities import Appliance
from connector.control.domain.refusals import RefusalCode, UnknownObject
from connector.control.service.jobs import JobService
from connector.control.smc import shapes
from connector.control.smc.operations import Answer, Caller, Field, Operation
from connector.control.smc.parameters import Values
from connector.specification import kinds
from connector.specification.value import Flag, ListOf, OneOf, Parameter, Whole

_TOKEN: Final = Parameter("AccessTokenId", kinds.ID, required=True)
COUNT: Final = 100
DAYS: Final = 30

CREATE: Final = (
    Parameter("Name", kinds.NAME, required=True),
    Parameter("Description", kinds.LONG_DESCRIPTION),
    Parameter("Count", Whole(1, 1000), meaning="sources that it may bring in; default 100"),
    Parameter("TimeToLiveInDays", Whole(1, 90), meaning="default 30"),
)
LIST: Final = (
    Parameter("AccessTokenId", ListOf(kinds.ID, 50)),
    Parameter("Name", kinds.WORD, meaning="exact"),
    Parameter("Status", OneOf(tuple(TokenStatus))),
)


class TokenOperations:
    """The operations on activation codes."""

    def __init__(self, service: JobService) -> None:
        self._service = service
        self._tokens = service.store.tokens

    def table(self) -> tuple[Operation, ...]:
        """The operations with their parameters."""
        gone = "appliances that enrolled with it wait for approval again; its sources stay"
        return (
            Operation(
                "CreateAccessToken",
                CREATE,
                Role.ADMIN,
                self._create,
                "make an activation code; AccessTokenCode is shown only once",
                "AccessTokenId",
            ),
            Operation("ListAccessTokens", LIST, Role.READER, self._list, "list activation codes"),
            Operation(
                "DisableAccessToken",
                (_TOKEN,),
                Role.ADMIN,
                self._disable,
                f"disable; {gone}",
                "AccessTokenId",
            ),
            Operation(
                "DeleteAccessToken", (_TOKEN,), Role.ADMIN, self._delete, f"delete; {gone}", "AccessTokenId"
            ),
        )

    def _create(self, _caller: Caller, values: Values) -> Answer:
        token, code = self._tokens.create(
            values["Name"],
            values.get("Description", ""),
            count=values.get("Count", COUNT),
            days=values.get("TimeToLiveInDays", DAYS),
        )
        return {"AccessTokenId": token.id, "AccessTokenCode": code}

    def _list(self, _caller: Caller, values: Values) -> Answer:
        tokens = self._tokens.all(
            ids=values.get("AccessTokenId", ()), name=values.get("Name"), status=values.get("Status")
        )
        answers = [shapes.access_token(row) for row in tokens]
        return shapes.page("AccessTokens", "AccessToken", answers, len(answers), 1, max(20, len(answers)))

    def _disable(self, _caller: Caller, values: Values) -> Answer:
        self._tokens.disable(values["AccessTokenId"])
        self._service.suspend(values["AccessTokenId"])
        return {}

    def _delete(self, _caller: Caller, values: Values) -> Answer:
        # The code goes last: a process that dies before finds it at the next call, and nobody can use it meanwhile.
        self._disable(_caller, values)
        self._tokens.delete(values["AccessTokenId"])
        return {}


_APPLIANCE: Final = (Parameter("ApplianceId", kinds.ID, required=True),)
_STATE: Final = (
    Field("ApplianceId", "string"),
    Field("State", "string", "waiting, approved or revoked"),
)
_CODE: Final = (
    Parameter("Name", kinds.NAME, required=True),
    Parameter("Description", kinds.LONG_DESCRIPTION),
    Parameter(
        "VCenter", kinds.WORD, required=True, meaning="instance UUID of the only vCenter that it is valid for"
    ),
    Parameter("WorkgroupId", kinds.ID, meaning="the tenant of the vCenter; default: the administrator"),
    Parameter(
        "JoinsByItself",
        Flag(),
        meaning="the first appliance of the vCenter needs no approval either; default false",
    ),
    Parameter("Count", Whole(1, 1000), meaning="sources that it may bring in; default 100"),
    Parameter("TimeToLiveInDays", Whole(1, 90), meaning="default 30"),
)
_CODE_ANSWER: Final = (
    Field("AccessTokenId", "string"),
    Field("AccessTokenCode", "string", "shown only once"),
)


class AuthorityOperations:
    """The operations that decide which appliance may act for which vCenter."""

    def __init__(self, service: JobService) -> None:
        self._service = service
        self._store = service.store

    def table(self) -> tuple[Operation, ...]:
        """The operations with their parameters."""
        return (
            Operation(
                "CreateEnrolmentCode",
                _CODE,
                Role.ADMIN,
                self._create,
                "make an activation code for the appliances of one vCenter",
                "AccessTokenId",
                answers=_CODE_ANSWER,
            ),
            Operation(
                "ApproveMigrationAppliance",
                _APPLIANCE,
                Role.ADMIN,
                self._approve,
                "let an appliance act for its vCenter; a vCenter without a tenant becomes its tenant's",
                "ApplianceId",
                answers=_STATE,
            ),
            Operation(
                "RevokeMigrationAppliance",
                _APPLIANCE,
                Role.ADMIN,
                self._revoke,
                "shut an appliance out: its secret and certificates are refused, its passes are offered again",
                "ApplianceId",
                answers=_STATE,
            ),
            Operation(
                "RotateMigrationAppliance",
                _APPLIANCE,
                Role.ADMIN,
                self._rotate,
                "make an appliance fetch a new secret and sign with a new key; the old ones end when the new ones are used",
                "ApplianceId",
                answers=_STATE,
            ),
        )

    def _create(self, _caller: Caller, values: Values) -> Answer:
        workgroup = values.get("WorkgroupId")
        if workgroup is not None:
            self._store.workgroups.get(workgroup)
        token, code = self._store.tokens.create(
            values["Name"],
            values.get("Description", ""),
            count=values.get("Count", COUNT),
            days=values.get("TimeToLiveInDays", DAYS),
            vcenter=values["VCenter"],
            workgroup_id=workgroup,
            joins=values.get("JoinsByItself", False),
        )
        return {"AccessTokenId": token.id, "AccessTokenCode": code}

    def _approve(self, _caller: Caller, values: Values) -> Answer:
        return _shown(self._service.approve(self._known(values)))

    def _revoke(self, _caller: Caller, values: Values) -> Answer:
        return _shown(self._service.revoke(self._known(values)))

    def _rotate(self, _caller: Caller, values: Values) -> Answer:
        return _shown(self._store.appliances.ask_rotation(self._known(values)))

    def _known(self, values: Values) -> str:
        appliance_id = str(values["ApplianceId"])
        if all(row.id != appliance_id for row in self._store.appliances.all()):
            raise UnknownObject(
                RefusalCode.APPLIANCE_UNKNOWN,
                "no such appliance",
                on=appliance_id,
                remedy="list the appliances",
            )
        return appliance_id


def _shown(row: Appliance) -> Answer:
    return {"ApplianceId": row.id, "State": str(row.state)}
