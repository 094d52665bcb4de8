"""A key that is limited to workgroups: for every operation, what is outside does not exist; and keys that end."""

from __future__ import annotations

import calendar
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from connector.clients import signature
from connector.clients.refusal import kind_of
from connector.control.console.sessions import LoginThrottle, SessionAuthenticator
from connector.control.domain.access import AccessKey, AccessToken, Role
from connector.control.domain.drills import Drill
from connector.control.domain.refusals import UnknownObject
from connector.control.smc import api
from connector.control.smc.authenticator import Authenticator
from connector.control.smc.catalogue import Denied, translated
from connector.control.smc.dispatcher import OperationDispatcher
from connector.control.smc.operations import Caller
from connector.control.smc.scope import OUTSIDE, RULES
from connector.control.smc.signature_claim import SignatureClaim
from connector.control.state.access_keys import AccessKeys
from connector.control.state.epoch import confirm
from connector.control.state.vault import Vault
from connector.control.store import NewJob
from connector.errors import AuthenticationFailed, Conflict
from tests.control import fresh
from tests.control.conftest import quick_folder
from tests.control.house import DAY, House

__all__ = ["quick_folder"]

#: What a list answers, and by which field of a row its ids are known.
LISTS = {
    "DescribeSourceServers": ("SourceServers", "SourceServer", "SourceId", "source"),
    "DescribeReplicationJobs": ("ReplicationJobs", "ReplicationJob", "JobId", "job"),
    "ListAccessTokens": ("AccessTokens", "AccessToken", "AccessTokenId", "token"),
    "DescribeWorkgroups": ("Workgroups", "Workgroup", "WorkgroupId", "group"),
    "DescribeReplicationJobProgress": ("ReplicationJobs", "ReplicationJob", "JobId", "job"),
    "DescribeReplicationJobDrills": ("Drills", "Drill", "JobId", "job"),
    "DescribeFormerDisks": ("FormerDisks", "FormerDisk", "JobId", "job"),
    "DescribeSourceServerFindings": ("SourceServers", "SourceServer", "SourceId", "source"),
    "DescribeMigrationAppliances": ("Appliances", "Appliance", "ApplianceId", "appliance"),
}


class Tenant:
    """A workgroup with one of everything."""

    def __init__(self, house: House, name: str) -> None:
        store = house.store
        self.group = store.workgroups.create(name, "").id
        token, _ = store.tokens.create(name, "", count=9, days=9, workgroup_id=self.group)
        self.token = token.id
        made = store.tokens.get(token.id)
        self.appliance = self._enrol(house, name, made)
        (self.source,) = house.register(f"of-{name}", by=store.appliances.get(self.appliance))
        rhythm = {"run_once": False, "frequency": 12, "max_images": 3}
        self.job = house.service.create(NewJob(self.source, f"job-{name}", **rhythm)).id  # type: ignore[arg-type]
        about = ("m-1", name, "cloud:x", 1, False, "none", False, 600.0, "", house.clock(), "AK1")
        store.hand_overs.begin(self.job, f"i-{name}")
        store.drills.ask(Drill(f"d-{name}", self.job, *about))

    @staticmethod
    def _enrol(house: House, name: str, token: AccessToken) -> str:
        member, _ = house.store.appliances.enrol(name, f"50-{name}", "1", token)
        return house.store.appliances.approve(member.id).id

    def ids(self, parameter: str) -> str:
        kind = {"SourceId": "source", "JobId": "job", "WorkgroupId": "group", "ApplianceId": "appliance"}
        return str(getattr(self, kind.get(parameter, "token")))


class World:
    def __init__(self, house: House) -> None:
        self.mine, self.other = Tenant(house, "mine"), Tenant(house, "other")
        self.dispatcher: OperationDispatcher = api.dispatcher(house.service)
        limits = {"workgroups": (self.mine.group,)}
        self.limited = Caller(AccessKey("AK1", "", Role.ADMIN, "l", 0.0, False, **limits), "t")  # type: ignore[arg-type]

    def call(self, operation: str, **values: Any) -> Any:
        return self.dispatcher.carry_out(self.limited, self.dispatcher.find(operation), values)


@pytest.fixture
def house(quick_folder: Path) -> Iterator[House]:
    made = House(fresh.sqlite(quick_folder / "x.sqlite"), quick_folder)
    yield made
    made.store.close()


@pytest.fixture
def world(house: House) -> World:
    return World(house)


def test_every_operation_is_ruled_once(house: House) -> None:
    names = [operation.name for operation in api.operations(house.service)]
    assert sorted(names) == sorted([*RULES, *OUTSIDE])


def test_what_is_named_must_be_inside(world: World) -> None:
    for operation, rule in RULES.items():
        for wrong in rule.names:
            given = {name: world.mine.ids(name) for name in rule.names} | {wrong: world.other.ids(wrong)}
            with pytest.raises(UnknownObject, match="use a key that covers the workgroup"):
                world.call(operation, **given)
            del given[wrong]
            with pytest.raises(Denied, match="mandatory"):
                world.call(operation, **given)


@pytest.mark.parametrize("kind", ["sourceserver", "replicationjob"])
def test_tags_of_what_is_outside(world: World, kind: str) -> None:
    name = {"sourceserver": "SourceId", "replicationjob": "JobId"}[kind]
    about = {"ResourceType": kind, "Tag": [{"Key": "k", "Value": "v"}]}
    with pytest.raises(UnknownObject):
        world.call("TagResources", ResourceId=[world.other.ids(name)], **about)
    with pytest.raises(UnknownObject):
        world.call("UntagResources", ResourceId=[world.other.ids(name)], ResourceType=kind, All=True)
    world.call("TagResources", ResourceId=[world.mine.ids(name)], **about)
    found = world.call("ListTagResources", ResourceType=kind)["TagResources"]["TagResource"]
    assert {row["ResourceId"] for row in found} == {world.mine.ids(name)}


def test_lists_show_what_is_inside_and_count_nothing_else(world: World) -> None:
    assert set(LISTS) == {name for name, rule in RULES.items() if rule.lists}
    for operation, (outer, inner, field, kind) in LISTS.items():
        mine, other = getattr(world.mine, kind), getattr(world.other, kind)
        for given, expected in (({}, [mine]), ({field: [mine, other]}, [mine]), ({field: [other]}, [])):
            body = world.call(operation, **given)
            assert [row[field] for row in body[outer][inner]] == expected, (operation, given)
            assert body.get("TotalCount", len(expected)) == len(expected), operation


def test_what_is_for_everybody_is_refused(world: World) -> None:
    for operation in OUTSIDE:
        with pytest.raises(Denied, match="limited to workgroups") as refused:
            world.call(operation)
        assert refused.value.remedy.startswith("use a key that is not limited to workgroups")


def test_a_key_ends_by_the_clock(house: House) -> None:
    keys = AccessKeys(house.store.keys, Vault(house.folder / "key"))
    key, secret = keys.create("short", Role.READER, until=house.clock() + DAY)
    assert house.store.keys.find(key.id) == key
    authenticator = Authenticator(keys, house.clock)

    def come() -> AccessKey:
        date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(house.clock()))
        signed = signature.sign(signature.V1, secret, "text")
        return authenticator.admit(
            SignatureClaim(signature.V1, key.id, "x", "2019-06-01", date, str(house.clock()), "text", signed)
        )

    entrance = SessionAuthenticator(house.store, keys, LoginThrottle())
    cookie = entrance.enter(key.id, secret, "192.0.2.1")
    assert entrance.session_user(cookie) is not None
    assert come() == key
    house.clock.advance(DAY)
    with pytest.raises(Denied, match="expired"):
        come()
    assert entrance.session_user(cookie) is None
    with pytest.raises(AuthenticationFailed):
        entrance.enter(key.id, secret, "192.0.2.1")


def _disable(house: House, key: AccessKey) -> None:
    house.store.keys.disable(key.id)


def _let_expire(house: House, _key: AccessKey) -> None:
    house.clock.advance(DAY)


def _restore(house: House, _key: AccessKey) -> None:
    house.store.epochs.hold("a test says so")
    confirm(house.store)


@pytest.mark.parametrize(
    ("end", "why", "remedy"),
    [
        (_disable, "is disabled", "an administrator makes one: connector control key create"),
        (_let_expire, "has expired at 20", "connector control key create --state DIR --days N"),
        (
            _restore,
            "brought back by a restore and is not approved",
            "connector control approve {id} --state DIR",
        ),
    ],
)
def test_a_refused_key_says_why_to_whoever_has_its_secret_and_to_nobody_else(
    house: House, end: Callable[[House, AccessKey], None], why: str, remedy: str
) -> None:
    keys = AccessKeys(house.store.keys, Vault(house.folder / "key"))
    key, secret = keys.create("short", Role.READER, until=house.clock() + DAY)
    end(house, key)
    remedy = remedy.format(id=key.id)

    def call(key_secret: str) -> Denied:
        date = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(house.clock()))
        signed = signature.sign(signature.V1, key_secret, "text")
        claim = SignatureClaim(signature.V1, key.id, "x", "2019-06-01", date, "n", "text", signed)
        with pytest.raises(Denied) as refused:
            Authenticator(keys, house.clock).admit(claim)
        return refused.value

    def log_in(key_id: str, key_secret: str) -> str:
        with pytest.raises(AuthenticationFailed) as refused:
            SessionAuthenticator(house.store, keys, LoginThrottle()).enter(key_id, key_secret, "192.0.2.1")
        return str(refused.value)

    assert why in call(secret).message and remedy in call(secret).remedy
    assert why in log_in(key.id, secret) and remedy in log_in(key.id, secret)
    assert call("guessed").code == "SignatureDoesNotMatch"
    assert log_in(key.id, "guessed") == log_in("AKnobody", "guessed")


def test_a_live_page_ends_with_its_key(house: House) -> None:
    keys = AccessKeys(house.store.keys, Vault(house.folder / "key"))
    key, secret = keys.create("short", Role.READER, until=house.clock() + 60)
    cookie = SessionAuthenticator(house.store, keys, LoginThrottle()).enter(key.id, secret, "192.0.2.1")
    session = house.store.sessions.find(cookie)
    assert session is not None
    assert house.store.sessions.use([session.id]) == {session.id}
    house.clock.advance(60)
    assert house.store.sessions.use([session.id]) == set()


def test_a_late_signature_names_both_times(house: House) -> None:
    keys = AccessKeys(house.store.keys, Vault(house.folder / "key"))
    key, secret = keys.create("late", Role.READER)
    signed = signature.sign(signature.V1, secret, "text")
    now = calendar.timegm((2026, 1, 2, 3, 4, 5))
    claim = SignatureClaim(
        signature.V1, key.id, "x", "2019-06-01", "2026-01-02T02:04:05Z", "n", "text", signed
    )
    with pytest.raises(Denied) as refused:
        Authenticator(keys, lambda: now).admit(claim)
    for words in (
        "signed at 2026-01-02T02:04:05Z",
        "clock shows 2026-01-02T03:04:05Z",
        "3600 s behind",
        "900 s",
    ):
        assert words in refused.value.message


def test_the_console_is_not_for_a_limited_key(house: House) -> None:
    keys = AccessKeys(house.store.keys, Vault(house.folder / "key"))
    key, secret = keys.create("limited", Role.ADMIN, ["wg-1"])
    with pytest.raises(AuthenticationFailed, match="limited to workgroups"):
        SessionAuthenticator(house.store, keys, LoginThrottle()).enter(key.id, secret, "192.0.2.1")


def _begin_together(house: House, *tenants: Tenant) -> None:
    """The jobs of the tenants are one application, and its cutover is under way."""
    for tenant in tenants:
        appliance = house.store.appliances.get(tenant.appliance)
        house.service.start(tenant.job)
        for _ in range(4):
            house.turn()
            house.carry(by=appliance)
        house.turn()
    house.applications.put("shop", {tenant.job: rank for rank, tenant in enumerate(tenants)})
    house.applications.cutover("shop", {})
    house.turn()


def test_a_limited_key_does_not_stop_a_cutover_that_takes_machines_of_others_back(
    house: House, world: World
) -> None:
    _begin_together(house, world.mine, world.other)
    with pytest.raises(Denied, match="takes back machines of its application shop") as refused:
        world.call("StopReplicationJob", JobId=world.mine.job)
    assert (refused.value.code, house.status(world.other.job)) == (
        "Forbidden.Unauthorized",
        "Running/Syncing",
    )
    everything = Caller(AccessKey("AK2", "", Role.OPERATOR, "o", 0.0, False), "t")
    stop = world.dispatcher.find("StopReplicationJob")
    world.dispatcher.carry_out(everything, stop, {"JobId": world.mine.job})


def test_a_limited_key_stops_what_concerns_its_own_machines_only(house: House, world: World) -> None:
    _begin_together(house, world.mine)
    world.call("StopReplicationJob", JobId=world.mine.job)


def test_an_appliance_whose_vcenter_is_another_tenant_s_is_refused_with_a_code_of_its_own(
    house: House, world: World
) -> None:
    store = house.store
    codes = [
        store.tokens.create(f"c-{t.group}", "", count=9, days=9, workgroup_id=t.group)[0]
        for t in (world.mine, world.other)
    ]
    first, second = (
        store.appliances.enrol(f"late-{n}", "50-late", "1", store.tokens.get(code.id))[0]
        for n, code in enumerate(codes)
    )
    store.appliances.approve(first.id)
    with pytest.raises(Conflict, match="another tenant") as refused:
        house.service.approve(second.id)
    assert translated(refused.value).code == "MigrationAppliance.InOtherWorkgroup"
    assert kind_of("MigrationAppliance.InOtherWorkgroup", 400) is Conflict
