"""A change and its line of the audit log are one transaction, and the lines are one chain, whoever writes them."""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from connector.control.agents.api import AgentApi
from connector.control.agents.messages import Enrol, EvidenceKey
from connector.control.domain.access import AccessKey, Role
from connector.control.domain.audit_log import AuditEntry, verify
from connector.control.domain.entities import HandOverState
from connector.control.domain.refusals import StateRefusal
from connector.control.http.exchange import ApiRequest
from connector.control.smc import api
from connector.control.smc.catalogue import Denied
from connector.control.smc.operations import Caller
from connector.control.store import Store
from connector.control.store.database import Database
from connector.errors import AuditLogDamaged, ConnectorError
from tests.control import fresh
from tests.control.conftest import VCENTER
from tests.control.earlier import at_revision, fill
from tests.control.honest import new_signer
from tests.control.house import DAY, House
from tests.control.rehearsals import Rehearsal
from tests.waiting import PATIENCE

OWNER = Caller(AccessKey("AK1", "", Role.ADMIN, "owner", 0.0, False, of_directory=True), "::1")


class Killed(BaseException):
    """The process ends here."""


@pytest.fixture
def house(url: str, quick_folder: Path) -> Iterator[House]:
    made = House(url, quick_folder)
    yield made
    made.store.close()


def call(house: House, operation: str, **parameters: Any) -> Any:
    flat = {name.replace("_", "."): str(value) for name, value in parameters.items()}
    return api.dispatcher(house.service).call(OWNER, operation, flat)


def lines(store: Store) -> list[AuditEntry]:
    """All lines, after the whole chain was verified."""
    entries = list(store.audit.entries())
    assert verify(entries, "log") == store.audit.head()
    return entries


@contextmanager
def dying(store: Store) -> Iterator[None]:
    """The process ends just before a transaction commits that has changed something."""

    def die(connection: sa.Connection) -> None:
        if not connection.get_execution_options().get("read_only"):
            raise Killed

    engine = store._database._engine
    sa.event.listen(engine, "commit", die)
    try:
        yield
    finally:
        sa.event.remove(engine, "commit", die)


class Recorder:
    """The tables that each committed transaction changed."""

    _CHANGE = re.compile(r"^(?:INSERT INTO|UPDATE|DELETE FROM) (\w+)")
    #: Changed by every counted write, and by nobody who asked for it.
    _BESIDE = frozenset({"epochs", "writers"})

    def __init__(self, store: Store) -> None:
        self.committed: list[list[str]] = []
        self._open: dict[int, list[str]] = {}
        engine = store._database._engine
        sa.event.listen(engine, "begin", self._begin)
        sa.event.listen(engine, "before_cursor_execute", self._execute)
        sa.event.listen(engine, "commit", self._commit)

    def _begin(self, connection: sa.Connection) -> None:
        self._open[id(connection)] = []

    def _execute(self, connection: sa.Connection, _cursor: Any, statement: str, *_: Any) -> None:
        if (match := self._CHANGE.match(statement)) and match[1] not in self._BESIDE:
            self._open[id(connection)].append(match[1])

    def _commit(self, connection: sa.Connection) -> None:
        if changed := self._open.pop(id(connection), []):
            self.committed.append(changed)


def test_every_operation_has_its_line_in_the_first_transaction_that_changes_something(house: House) -> None:
    recorder, seen = Recorder(house.store), set()

    def made(operation: str, **parameters: Any) -> Any:
        before = house.store.audit.page().total
        recorder.committed.clear()
        answer = call(house, operation, **parameters)
        first, *rest = recorder.committed
        assert set(first) > {"audit"}, operation
        assert first[-1] == "audit", operation
        assert not any("audit" in changed for changed in rest), operation
        assert house.store.audit.page().total == before + 1
        (entry,) = house.store.audit.page(1, 1).rows
        about = next(o.subject for o in api.operations(house.service) if o.name == operation)
        subject = parameters.get(about) or parameters.get(f"{about}_1") or answer[about]
        assert (entry.action, entry.subject, entry.who) == (operation, subject, OWNER.key.id)
        seen.add(operation)
        return answer

    _workgroups(house, made)
    _authority(house, made)
    _jobs(house, made)
    _applications(house, made)
    _drills_and_former_disks(house, made)
    house.store.epochs.hold("a test")
    made("ConfirmRestore")
    assert seen == {o.name for o in api.operations(house.service) if o.changes}
    lines(house.store)


def _workgroups(house: House, made: Callable[..., Any]) -> None:
    (source,) = house.register("grouped")
    group = made("CreateWorkgroup", Name="wave", Tag_1_Key="a", Tag_1_Value="b")["WorkgroupId"]
    made("ModifyWorkgroupAttribute", WorkgroupId=group, Description="ours")
    made("AssociateSourceServers", WorkgroupId=group, SourceId_1=source)
    made("DisassociateSourceServers", WorkgroupId=group, SourceId_1=source)
    made("DeleteWorkgroup", WorkgroupId=group)
    tagged = {"ResourceType": "sourceserver", "ResourceId_1": source}
    made("TagResources", **tagged, Tag_1_Key="a", Tag_1_Value="b")
    made("UntagResources", **tagged, All="true")
    made("ModifySourceServerAttribute", SourceId=source, Description="ours")
    made("DeleteSourceServer", SourceId=source)


def _authority(house: House, made: Callable[..., Any]) -> None:
    token = made("CreateAccessToken", Name="code")["AccessTokenId"]
    made("CreateEnrolmentCode", Name="other", VCenter=VCENTER)
    appliance = house.enrol("a2", VCENTER, token).id
    made("ApproveMigrationAppliance", ApplianceId=appliance)
    made("RotateMigrationAppliance", ApplianceId=appliance)
    made("DisableAccessToken", AccessTokenId=token)
    made("DeleteAccessToken", AccessTokenId=token)
    made("RevokeMigrationAppliance", ApplianceId=appliance)


def _jobs(house: House, made: Callable[..., Any]) -> None:
    (source,) = house.register("web")
    job = made(
        "CreateReplicationJob",
        RegionId="local",
        SourceId=source,
        JobType=3,
        TargetType="Image",
        RunOnce="false",
        Frequency=12,
        MaxNumberOfImageToKeep=3,
    )["JobId"]
    made("SetReplicationJobDisks", JobId=job)
    made("ModifyReplicationJobAttribute", JobId=job, Description="ours")
    made("StartReplicationJob", JobId=job)
    house.turn()
    made("StopReplicationJob", JobId=job)
    house.turn()
    house.service.start(job)
    house.run(job)
    made("CutOverReplicationJob", JobId=job, SyncData="true")
    house.run(job)
    made("RollbackReplicationJob", JobId=job)
    for _ in range(3):
        house.turn()
        house.carry(power_tasks=True)
    house.turn()
    made("DeleteReplicationJob", JobId=job)


def _applications(house: House, made: Callable[..., Any]) -> None:
    jobs = [house.incremental(name) for name in ("app", "db")]
    for job in jobs:
        house.service.start(job)
        house.run(job)
    made("SetMigrationApplication", Name="shop", Member_1_JobId=jobs[0], Member_2_JobId=jobs[1])
    made("StartMigrationApplication", Name="shop")
    for job in jobs:
        house.run(job)
    made("CutOverMigrationApplication", Name="shop")
    for _ in range(6):
        house.turn()
        house.carry(power_tasks=True)
        house.carry()
    house.turn()
    made("RollbackMigrationApplication", Name="shop")


def _drills_and_former_disks(house: House, made: Callable[..., Any]) -> None:
    rehearsal = Rehearsal(house)
    job = rehearsal.job("drilled")
    made("StartReplicationJobDrill", JobId=job)
    made("StopReplicationJobDrill", JobId=job)
    rehearsal.monitor.close()
    for operation, name in (("PutBackFormerDisks", "back"), ("ReleaseFormerDisks", "gone")):
        kept = house.job(name)
        house.store.hand_overs.begin(kept, "app-01")
        house.store.hand_overs.end(kept, HandOverState.DONE, of=HandOverState.BEGUN)
        made(operation, JobId=kept)


def test_a_process_that_dies_before_the_commit_leaves_neither_change_nor_line(house: House) -> None:
    before = house.store.audit.head()
    with dying(house.store), pytest.raises(Killed):
        call(house, "CreateWorkgroup", Name="wave", Tag_1_Key="a", Tag_1_Value="b")
    house.crash()
    assert house.store.workgroups.page().total == 0
    assert house.store.audit.head() == before
    call(house, "CreateWorkgroup", Name="wave", Tag_1_Key="a", Tag_1_Value="b")
    assert [entry.action for entry in lines(house.store)] == ["CreateWorkgroup"]


def test_a_process_that_dies_after_the_first_commit_leaves_the_change_with_its_line(house: House) -> None:
    job = house.job()

    def die() -> None:
        raise Killed

    house.service.poke = die
    with pytest.raises(Killed):
        call(house, "StartReplicationJob", JobId=job)
    house.crash()
    assert house.status(job) == "Running/Preparing"
    assert [(e.action, e.subject) for e in lines(house.store)] == [("StartReplicationJob", job)]


def test_an_operation_that_fails_in_the_middle_has_its_line_with_what_it_changed(house: House) -> None:
    token = call(house, "CreateAccessToken", Name="code")["AccessTokenId"]

    def fail(_token: str) -> list[Any]:
        raise ConnectorError("broken")

    house.service.suspend = fail  # type: ignore[method-assign, assignment]
    with pytest.raises(ConnectorError):
        call(house, "DeleteAccessToken", AccessTokenId=token)
    assert str(house.store.tokens.get(token).status) == "unactivated"
    assert [entry.action for entry in lines(house.store)] == ["CreateAccessToken", "DeleteAccessToken"]


def test_what_is_refused_has_no_line(house: House) -> None:
    job = house.job()
    with pytest.raises((Denied, StateRefusal)):
        call(house, "StopReplicationJob", JobId=job)
    with pytest.raises((Denied, ConnectorError)):
        call(house, "RevokeMigrationAppliance", ApplianceId="a-0")
    with pytest.raises(ConnectorError):
        house.store.keys.disable("AK0")
    assert lines(house.store) == []


def test_a_repeated_call_changes_nothing_and_has_a_line_of_its_own(house: House) -> None:
    (source,) = house.register("web")
    wanted = {
        "RegionId": "local",
        "SourceId": source,
        "JobType": 3,
        "TargetType": "Image",
        "ClientToken": "t",
    }
    job = call(house, "CreateReplicationJob", **wanted)["JobId"]
    recorder = Recorder(house.store)
    assert call(house, "CreateReplicationJob", **wanted)["JobId"] == job
    assert recorder.committed == [["audit"]]
    assert [entry.subject for entry in lines(house.store)] == [job, job]
    group = {"Name": "wave", "ClientToken": "t", "Tag_1_Key": "a", "Tag_1_Value": "b"}
    ids = {call(house, "CreateWorkgroup", **group)["WorkgroupId"] for _ in range(2)}
    assert {entry.subject for entry in lines(house.store)[2:]} == ids


@pytest.mark.parametrize("dies", [True, False])
def test_an_appliance_enrols_and_rotates_with_its_line_or_not_at_all(house: House, dies: bool) -> None:
    agents = AgentApi(house.service, "code")
    key = new_signer().public_pem
    message = Enrol(activation_code="code", name="a9", vcenter=VCENTER, version="1", evidence_key="")
    enrol = ApiRequest(None, {}, {}, message, "::1")
    known = len(house.store.appliances.all())
    if dies:
        with dying(house.store), pytest.raises(Killed):
            agents._enrol(enrol)
        house.crash()
        assert (len(house.store.appliances.all()), lines(house.store)) == (known, [])
        return
    made = agents._enrol(enrol)
    appliance = house.store.appliances.get(made["appliance_id"])
    register = ApiRequest(appliance, {}, {}, EvidenceKey(evidence_key=key), "::1")
    agents._key(register)
    agents._key(register)  # it is known: nothing changes
    house.store.appliances.ask_rotation(appliance.id)
    rotated = agents._rotate(ApiRequest(appliance, {}, {}, EvidenceKey(evidence_key=new_signer().public_pem)))
    log = lines(house.store)
    assert [(e.action, e.subject) for e in log] == [
        ("enrol", appliance.id),
        ("register key", appliance.id),
        ("rotate", appliance.id),
    ]
    assert log[0].details == {"name": "a9", "vcenter": VCENTER, "state": "approved"}
    assert not any(secret in str(log) for secret in (made["secret"], rotated["secret"]))


def test_the_scheduler_ends_a_job_with_its_line_or_not_at_all(house: House) -> None:
    job = house.job()
    house.clock.advance(31 * DAY)
    with dying(house.store), pytest.raises(Killed):
        house.planner.look()
    house.crash()
    assert (house.status(job), lines(house.store)) == ("Ready", [])
    house.planner.look()
    assert [(e.who, e.action, e.subject) for e in lines(house.store)] == [("system", "expired", job)]
    assert house.status(job) == "Expired"


def test_an_inventory_that_shrinks_does_so_with_its_line_or_not_at_all(house: House) -> None:
    house.register("web", "db")
    with dying(house.store), pytest.raises(Killed):
        house.register("web")
    house.crash()
    assert ({s.error_code for s in house.store.sources.all()}, lines(house.store)) == ({""}, [])
    house.register("web")
    assert [e.action for e in lines(house.store)] == ["inventory shrank"]


def test_credentials_that_are_approved_have_a_line_each(house: House) -> None:
    tokens = [call(house, "CreateAccessToken", Name=name)["AccessTokenId"] for name in ("one", "two")]
    house.store.epochs.hold("a test")
    with house.store.audit.announced("me", "", "ConfirmRestore", idle=False):
        epoch = house.store.epochs.confirm().epoch
    for _ in range(2):  # nothing is left the second time
        with house.store.audit.announced("me", "", "Approve", idle=False):
            house.store.epochs.approve(None)
    confirmed, *approved = lines(house.store)[2:]
    assert (confirmed.action, confirmed.subject) == ("ConfirmRestore", epoch)
    assert sorted(e.subject for e in approved) == sorted(tokens)


def test_writers_of_several_replicas_make_one_chain(url: str) -> None:
    """On PostgreSQL two processes stand here as two stores. Logins, jobs and inventories end at the same moment."""
    failed: list[Exception] = []
    with ExitStack() as stack:
        stores = [Store(url) for _ in range(2)]
        for store in stores:
            stack.callback(store.close)

        def write(store: Store, n: int) -> None:
            try:
                for k in range(12):
                    who = f"w{n}"
                    with store.audit.announced(who, "", "create", details={"k": k}):
                        store.tokens.create(f"t{n}-{k}", "", count=1, days=1)
                    with store.audit.announced(who, "", "login", details={"k": k}):
                        store.sessions.open(f"AK{n}", "::1")
                    store.audit.add(who, "", "refused", who, {"k": k})
            except Exception as error:  # noqa: BLE001 - a thread's failure is told by the test
                failed.append(error)

        threads = [threading.Thread(target=write, args=(stores[n % 2], n)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
        assert failed == []
        log = lines(stores[0])
    assert [entry.number for entry in log] == list(range(1, 4 * 12 * 3 + 1))
    for n in range(4):
        own = [(e.details["k"], e.action) for e in log if e.who == f"w{n}"]
        assert own == [(k, action) for k in range(12) for action in ("create", "login", "refused")]


@pytest.mark.parametrize("url", ["postgresql"], indirect=True)
def test_nothing_is_locked_after_the_end_of_the_log(house: House) -> None:
    statements: list[str] = []

    def note(_connection: sa.Connection, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
        statements.append(f"{statement} {parameters}")

    engine = house.store._database._engine
    sa.event.listen(engine, "before_cursor_execute", note)
    sa.event.listen(engine, "commit", lambda _: statements.append("COMMIT"))
    house.register("web", "db")
    house.register("web")
    job = house.job("web")
    call(house, "StartReplicationJob", JobId=job)
    house.store.epochs.hold("a test")
    call(house, "ConfirmRestore")
    taken = [
        n
        for n, statement in enumerate(statements)
        if "advisory" in statement and str(0x636F6E75) in statement
    ]
    assert len(taken) == 3
    for n in taken:
        words = [statement.split()[0] for statement in statements[n : n + 4]]
        assert words == ["SELECT", "SELECT", "INSERT", "COMMIT"]
        assert "FROM audit" in statements[n + 1]
        assert statements[n + 2].startswith("INSERT INTO audit ")


_CHANGES = (
    "UPDATE audit SET who = 'x'",
    "UPDATE audit SET id = 7 WHERE id = 1",
    "DELETE FROM audit WHERE id = 1",
)
_OF_ITS_OWN = {
    "sqlite": (
        "INSERT OR REPLACE INTO audit (id, at, who, origin, action, subject, details, previous, digest)"
        " VALUES (1, 0, '', '', '', '', '{}', '', '')",
        "DELETE FROM audit",
    ),
    "postgresql": ("TRUNCATE audit",),
}


def test_the_database_refuses_to_change_or_delete_a_line(house: House, url: str) -> None:
    house.store.audit.add("me", "", "create", "x")
    before = lines(house.store)
    for statement in (*_CHANGES, *_OF_ITS_OWN[url.split(":", 1)[0]]):
        with (
            pytest.raises(sa.exc.DBAPIError, match="append-only"),
            house.store._database.write() as connection,
        ):
            connection.exec_driver_sql(statement)
    assert lines(house.store) == before


def _as_owner(store: Store, *statements: str) -> None:
    """What somebody can do who owns the database."""
    with store._database.write(counted=False) as connection:
        if connection.dialect.name == "sqlite":
            for name in ("update", "delete", "replace"):
                connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS audit_no_{name}")
        else:
            connection.exec_driver_sql("ALTER TABLE audit DISABLE TRIGGER USER")
        for statement in statements:
            connection.exec_driver_sql(statement)


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("UPDATE audit SET who = 'nobody' WHERE id = 3", "line 3 was changed"),
        ("UPDATE audit SET at = at + 1 WHERE id = 3", "line 3 was changed"),
        ("UPDATE audit SET details = '{}' WHERE id = 3", "line 3 was changed"),
        ("DELETE FROM audit WHERE id = 3", "line 3 is missing"),
        ("DELETE FROM audit WHERE id < 3", "line 1 is missing: line 3"),
        ("UPDATE audit SET id = 9 WHERE id = 5", "line 5 was changed"),
    ],
)
def test_a_writer_of_the_database_who_changes_the_log_is_found_by_the_line(
    house: House, statement: str, said: str
) -> None:
    for n in range(5):
        house.store.audit.add("me", "", "create", f"x{n}", {"n": n, "ü": [1.5, None, True]})
    lines(house.store)
    _as_owner(house.store, statement)
    with pytest.raises(AuditLogDamaged, match=said):
        verify(house.store.audit.entries(), "log")


def test_a_row_that_is_no_json_any_more_is_named(make_house: Callable[..., House]) -> None:
    store = make_house(None).store
    store.audit.add("me", "", "create", "x")
    _as_owner(store, "UPDATE audit SET details = '{' WHERE id = 1")
    with pytest.raises(AuditLogDamaged, match="line 1 was changed"):
        verify(store.audit.entries(), "log")


def test_an_older_copy_of_the_database_goes_on_from_its_head_and_an_earlier_export_shows_the_loss(
    quick_folder: Path,
) -> None:
    file, kept = quick_folder / "c.sqlite", quick_folder / "kept.sqlite"
    store = Store(fresh.sqlite(file))
    store.audit.add("me", "", "create", "a")
    store.close()
    shutil.copy(file, kept)
    store = Store(f"sqlite:///{file}")
    store.audit.add("me", "", "create", "b")
    exported = list(store.audit.entries())
    head = store.audit.head().digest
    store.close()
    restored = Store(f"sqlite:///{kept}")
    with pytest.raises(AuditLogDamaged, match="lines 2 to 2 of earlier are missing"):
        verify(restored.audit.entries(), "log", exported, "earlier")
    restored.audit.add("me", "", "create", "c")
    assert verify(restored.audit.entries(), "log").number == 2
    with pytest.raises(AuditLogDamaged, match="line 2 is another one than in earlier"):
        verify(restored.audit.entries(), "log", exported, "earlier")
    with pytest.raises(AuditLogDamaged, match=f"none of its 2 lines has the digest {head}"):
        verify(restored.audit.entries(), "log", known=head)
    restored.close()


def test_lines_of_an_earlier_version_are_chained_by_the_upgrade_and_counted(empty_url: str) -> None:
    """With gaps in their numbers, as PostgreSQL leaves them."""
    database = Database(empty_url)
    rows = [
        {"id": n, "at": 1.5 * n, "who": "AK1", "origin": "::1", "action": "start", "subject": f"j-{n}"}
        | {"details": {"Name": "ü", "n": [n, 0.1]}}
        for n in range(3, 5003, 2)
    ]
    with at_revision(database, "0013") as connection:
        schema = sa.MetaData()
        schema.reflect(connection)
        connection.execute(schema.tables["audit"].insert(), rows)
    database.close()
    store = Store(empty_url)
    *old, chained = lines(store)
    assert [(e.subject, e.at, e.details) for e in old] == [
        (r["subject"], r["at"], r["details"]) for r in rows
    ]
    assert (chained.number, chained.who, chained.details) == (2501, "system", {"lines before": 2500})
    store.audit.add("me", "", "create", "x")
    assert lines(store)[-1].number == 2502
    with pytest.raises(sa.exc.DBAPIError, match="append-only"), store._database.write() as connection:
        connection.exec_driver_sql("DELETE FROM audit WHERE id = 1")
    store.close()


def test_a_database_without_a_line_has_an_empty_log_after_the_upgrade(empty_url: str) -> None:
    fill(empty_url, "0001")
    store = Store(empty_url)
    assert lines(store) == []
    store.close()
