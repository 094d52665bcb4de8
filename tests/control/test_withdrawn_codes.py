"""An activation code that is deleted leaves nobody approved, also when the process dies in the middle of it."""

from __future__ import annotations

import pytest

from connector.control.domain.access import AccessKey, Role
from connector.control.domain.entities import ApplianceStatus
from connector.control.smc import api
from connector.control.smc.dispatcher import Caller
from tests.control.house import VCENTER, House

CALLER = Caller(AccessKey("AK1", "", Role.ADMIN, "test", 0.0, False), "test")


class Killed(BaseException):
    """The process ends here."""


def test_a_code_whose_deletion_was_cut_off_is_deleted_by_the_next_call(house: House) -> None:
    dispatcher = api.dispatcher(house.service)
    made = dispatcher.call(
        CALLER, "CreateAccessToken", {"Name": "code", "Count": "3", "TimeToLiveInDays": "7"}
    )
    token = made["AccessTokenId"]
    appliance = house.enrol("a2", VCENTER, token)
    house.store.appliances.approve(appliance.id)
    suspend = house.service.suspend

    def die(_token_id: str) -> list[object]:
        raise Killed

    house.service.suspend = die  # type: ignore[assignment, method-assign]
    with pytest.raises(Killed):
        dispatcher.call(CALLER, "DeleteAccessToken", {"AccessTokenId": token})
    house.service.suspend = suspend  # type: ignore[method-assign]
    dispatcher.call(CALLER, "DeleteAccessToken", {"AccessTokenId": token})
    assert house.store.appliances.get(appliance.id).state is ApplianceStatus.WAITING
    assert house.store.tokens.all(ids=[token]) == []
