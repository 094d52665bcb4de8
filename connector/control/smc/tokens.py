"""The operations on activation codes (access tokens), with which appliances enrol."""

from __future__ import annotations

from typing import Final

from connector.control.service import Service
from connector.control.smc import shapes
from connector.control.smc.operations import Answer, Caller, Operation
from connector.control.smc.parameters import Values
from connector.control.store.rows import Role, TokenStatus
from connector.specification import kinds
from connector.specification.value import ListOf, OneOf, Parameter, Whole

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
    """Activation codes: shown once, counted, expiring."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._tokens = service.store.tokens

    def table(self) -> tuple[Operation, ...]:
        """One line each."""
        gone = "appliances that enrolled with it wait for approval again, its sources stay"
        return (
            Operation(
                "CreateAccessToken",
                CREATE,
                Role.ADMIN,
                self._create,
                "make an activation code; AccessTokenCode is shown this once",
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
        found = self._tokens.all(
            ids=values.get("AccessTokenId", ()), name=values.get("Name"), status=values.get("Status")
        )
        shown = [shapes.access_token(row) for row in found]
        return shapes.page("AccessTokens", "AccessToken", shown, len(shown), 1, max(20, len(shown)))

    def _disable(self, _caller: Caller, values: Values) -> Answer:
        self._tokens.disable(values["AccessTokenId"])
        self._service.suspend(values["AccessTokenId"])
        return {}

    def _delete(self, _caller: Caller, values: Values) -> Answer:
        self._tokens.delete(values["AccessTokenId"])
        self._service.suspend(values["AccessTokenId"])
        return {}
