"""Files of datastores over HTTPS, by a client that knows nothing of the connector: http.client and a cookie."""

from __future__ import annotations

import http.client
import re
import ssl
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from random import Random
from urllib.parse import quote, urlencode

import pytest

from simulator.faults import Rule
from simulator.vcenter.folder import PRIVILEGE
from tests.vcenter.imaginary import MIB, PASSWORD, USER, World, world

CONTENT = Random(5).randbytes(3 * MIB) + bytes(5 * MIB)


@dataclass
class Reply:
    status: int
    headers: http.client.HTTPMessage
    body: bytes
    broken: bool = False


@dataclass
class Client:
    """One login, and requests one after the other."""

    place: World
    cookie: str = field(default="", repr=False)

    def connection(self, port: int = 0) -> http.client.HTTPSConnection:
        server = self.place.server
        trusted = ssl.create_default_context(cafile=str(server.certificate))
        return http.client.HTTPSConnection(server.host, port or server.port, context=trusted, timeout=30)

    def target(self, path: str | None = None, **query: str) -> str:
        disk = self.place.estate.inventory.vm(self.place.vm).disks[1]
        store = self.place.estate.inventory.datastores[disk.datastore].name
        folder = disk.path.partition("] ")[2].rpartition("/")[0]
        words = {"dcPath": self.datacenter, "dsName": store} | query
        return f"/folder/{quote(f'{folder}/{path}')}?{urlencode(words)}"

    @property
    def datacenter(self) -> str:
        return next(iter(self.place.estate.inventory.datacenters.values())).name

    @property
    def stem(self) -> str:
        """The base's name without its ending."""
        disk = self.place.estate.inventory.vm(self.place.vm).disks[1]
        chain = self.place.estate.storage.disk(disk.storage).chain
        return chain.names()[-1].removesuffix(".vmdk")

    def ask(self, target: str, method: str = "GET", wanted: str = "", cookie: str | None = None) -> Reply:
        headers = {"Cookie": self.cookie if cookie is None else cookie} | (
            {"Range": wanted} if wanted else {}
        )
        with closing(self.connection()) as connection:
            connection.request(method, target, headers=headers)
            answer = connection.getresponse()
            try:
                return Reply(answer.status, answer.headers, answer.read())
            except http.client.IncompleteRead as short:
                return Reply(answer.status, answer.headers, short.partial, broken=True)


@pytest.fixture(scope="module")
def _client() -> Iterator[Client]:
    with world() as place:
        session = place.server.center.sessions.login(USER, PASSWORD, "", "", None)
        yield Client(place, f'vmware_soap_session="{session.cookie}"')


@pytest.fixture
def client(_client: Client) -> Iterator[Client]:
    disk = _client.place.estate.inventory.vm(_client.place.vm).disks[1]
    _client.place.estate.storage.disk(disk.storage).write(0, CONTENT[: 3 * MIB])
    yield _client
    _client.place.estate.faults.replace(())
    snapshots = _client.place.estate.snapshots
    for shot in _client.place.estate.inventory.vm(_client.place.vm).snapshots:
        snapshots.remove(_client.place.vm, shot.moref)


@pytest.fixture
def frozen(client: Client) -> Client:
    """With a snapshot: the base is nobody's to write."""
    client.place.estate.snapshots.create(client.place.vm, "one")
    return client


def live(client: Client, *, length: int = MIB) -> bytes:
    """Write to the machine's disk."""
    disk = client.place.estate.inventory.vm(client.place.vm).disks[1]
    data = b"\xcc" * length
    client.place.estate.storage.disk(disk.storage).write(0, data)
    return data


def test_the_flat_file_is_the_disk_as_the_snapshot_froze_it(frozen: Client) -> None:
    live(frozen)
    flat = frozen.target(f"{frozen.stem}-flat.vmdk")
    whole = frozen.ask(flat)
    assert (whole.status, whole.body) == (200, CONTENT)
    part = frozen.ask(flat, wanted=f"bytes={MIB - 7}-{2 * MIB}")
    assert (part.status, part.body) == (206, CONTENT[MIB - 7 : 2 * MIB + 1])
    assert part.headers["Content-Range"] == f"bytes {MIB - 7}-{2 * MIB}/{8 * MIB}"


@pytest.mark.parametrize(
    ("wanted", "start", "stop"),
    [("bytes=0-0", 0, 1), ("bytes=8388600-", 8388600, 8 * MIB), ("bytes=-5", 8 * MIB - 5, 8 * MIB),
     ("bytes=8388600-99999999", 8388600, 8 * MIB)],
)  # fmt: skip
def test_every_form_of_one_range(frozen: Client, wanted: str, start: int, stop: int) -> None:
    part = frozen.ask(frozen.target(f"{frozen.stem}-flat.vmdk"), wanted=wanted)
    assert (part.status, part.body) == (206, CONTENT[start:stop])
    assert part.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{8 * MIB}"


def test_a_range_behind_the_end(frozen: Client) -> None:
    refused = frozen.ask(frozen.target(f"{frozen.stem}-flat.vmdk"), wanted=f"bytes={8 * MIB}-")
    assert (refused.status, refused.headers["Content-Range"]) == (416, f"bytes */{8 * MIB}")


def test_head_has_the_length_and_no_bytes(frozen: Client) -> None:
    reply = frozen.ask(frozen.target(f"{frozen.stem}-flat.vmdk"), "HEAD")
    assert (reply.status, reply.headers["Content-Length"], reply.body) == (200, str(8 * MIB), b"")


def test_descriptors_of_a_base_and_of_a_delta(frozen: Client) -> None:
    base = frozen.ask(frozen.target(f"{frozen.stem}.vmdk")).body.decode()
    assert base.startswith("# Disk DescriptorFile\nversion=1\n")
    assert 'createType="vmfs"' in base and "parentCID=ffffffff" in base
    assert f'\nRW {8 * MIB // 512} VMFS "{frozen.stem}-flat.vmdk"\n' in base
    assert 'ddb.thinProvisioned = "1"' in base
    delta = frozen.ask(frozen.target(f"{frozen.stem}-000001.vmdk")).body.decode()
    assert 'createType="seSparse"' in delta and f'parentFileNameHint="{frozen.stem}.vmdk"' in delta
    assert f'SESPARSE "{frozen.stem}-000001-sesparse.vmdk"' in delta


def test_the_file_of_an_older_delta_is_no_flat_disk(frozen: Client) -> None:
    live(frozen)
    frozen.place.estate.snapshots.create(frozen.place.vm, "two")
    sparse = frozen.ask(frozen.target(f"{frozen.stem}-000001-sesparse.vmdk"))
    assert sparse.status == 200
    assert sparse.body.startswith(bytes.fromhex("bebafeca")) and len(sparse.body) < 8 * MIB


def test_what_a_running_machine_writes_to_is_locked(client: Client) -> None:
    flat = client.target(f"{client.stem}-flat.vmdk")
    assert client.ask(flat).status == 500
    client.place.estate.power.off(client.place.vm)
    try:
        assert client.ask(flat).body == CONTENT
    finally:
        client.place.estate.power.on(client.place.vm)


def test_the_base_is_rewritten_when_all_snapshots_go(client: Client) -> None:
    place = client.place
    shot = place.estate.snapshots.create(place.vm, "one")
    flat = client.target(f"{client.stem}-flat.vmdk")
    data = live(client)
    assert client.ask(flat, wanted="bytes=0-4095").body == CONTENT[:4096]
    place.estate.power.off(place.vm)
    try:
        place.estate.snapshots.remove(place.vm, shot)
        assert client.ask(flat, wanted="bytes=0-4095").body == data[:4096]
    finally:
        place.estate.storage.disk(place.estate.inventory.vm(place.vm).disks[1].storage).write(
            0, CONTENT[:MIB]
        )
        place.estate.power.on(place.vm)


def test_who_may_read(frozen: Client) -> None:
    flat = frozen.target(f"{frozen.stem}-flat.vmdk")
    assert frozen.ask(flat, cookie="").status == 401
    assert frozen.ask(flat, cookie="vmware_soap_session=nobody").status == 401
    authority = frozen.place.server.center.authority
    authority.deny(PRIVILEGE)
    try:
        assert frozen.ask(flat).status == 403
    finally:
        authority.allow(PRIVILEGE)


@pytest.mark.parametrize(
    ("name", "query"),
    [("missing.vmdk", {}), ("STEM-flat.vmdk", {"dsName": "other"}), ("STEM-flat.vmdk", {"dcPath": "other"})],
)
def test_what_is_not_there(frozen: Client, name: str, query: dict[str, str]) -> None:
    assert frozen.ask(frozen.target(name.replace("STEM", frozen.stem), **query)).status == 404


def test_a_ticket_is_for_one_method_and_one_url(frozen: Client) -> None:
    tickets = frozen.place.server.center.service_tickets
    flat, other = frozen.target(f"{frozen.stem}-flat.vmdk"), frozen.target(f"{frozen.stem}.vmdk")
    ticket = tickets.issue(USER, "GET", f"https://{frozen.place.server.host}{flat}")
    cookie = f"vmware_cgi_ticket={ticket.id}"
    assert ticket.id not in repr(ticket)
    assert frozen.ask(flat, wanted="bytes=0-511", cookie=cookie).status == 206
    assert frozen.ask(flat, "HEAD", cookie=cookie).status == 401
    assert frozen.ask(other, cookie=cookie).status == 401
    tickets.uses = 1
    try:
        once = f"vmware_cgi_ticket={tickets.issue(USER, 'GET', flat).id}"
        assert [frozen.ask(flat, wanted="bytes=0-9", cookie=once).status for _ in range(2)] == [206, 401]
    finally:
        tickets.uses = 1 << 30


SPEC = """<Envelope xmlns="http://schemas.xmlsoap.org/soap/envelope/"><Body>
<AcquireGenericServiceTicket xmlns="urn:vim25"><_this type="SessionManager">SessionManager</_this>
<spec xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:type="SessionManagerHttpServiceRequestSpec">
<method>httpGet</method><url>{}</url></spec></AcquireGenericServiceTicket></Body></Envelope>"""


def test_a_ticket_by_soap(frozen: Client) -> None:
    flat = frozen.target(f"{frozen.stem}-flat.vmdk")
    url = f"https://{frozen.place.server.host}:{frozen.place.server.port}{flat}"
    with closing(frozen.connection()) as connection:
        headers = {"Cookie": frozen.cookie, "Content-Type": "text/xml"}
        connection.request("POST", "/sdk", SPEC.format(url.replace("&", "&amp;")), headers)
        answer = connection.getresponse().read().decode()
    ticket = re.search(r"<id>([^<]+)</id>", answer)
    assert ticket is not None, answer
    assert f"<sslThumbprint>{frozen.place.server.thumbprint}</sslThumbprint>" in answer
    reply = frozen.ask(flat, wanted="bytes=0-511", cookie=f"vmware_cgi_ticket={ticket[1]}")
    assert reply.body == CONTENT[:512]


def test_a_host_serves_its_own_datastores_by_ticket(frozen: Client) -> None:
    center = frozen.place.server.center
    home = frozen.place.estate.inventory.vm(frozen.place.vm).host
    assert center.host_folders is not None
    port = center.host_folders.port(home)
    flat = frozen.target(f"{frozen.stem}-flat.vmdk", dcPath="ha-datacenter")
    ticket = center.service_tickets.issue(USER, "GET", f"https://host{flat}", home)
    for target, cookie, status in (
        (flat, f"vmware_cgi_ticket={ticket.id}", 206),
        (flat, frozen.cookie, 401),
        (frozen.target(f"{frozen.stem}.vmdk"), f"vmware_cgi_ticket={ticket.id}", 401),
    ):
        with closing(frozen.connection(port)) as connection:
            connection.request("GET", target, headers={"Cookie": cookie, "Range": "bytes=0-511"})
            answer = connection.getresponse()
            assert (answer.status, answer.read() == CONTENT[:512]) == (status, status == 206)
    assert frozen.ask(flat, cookie=f"vmware_cgi_ticket={ticket.id}").status == 401  # it is for the host


@pytest.mark.parametrize(
    ("rule", "status", "length"),
    [
        (Rule("folder.read", "answer", answer={"status": 503}), 503, 8),
        (Rule("folder.read", "answer", answer={"status": 302, "location": "https://elsewhere/"}), 302, 8),
        (Rule("folder.read", "answer", answer={"ranges": False}), 200, 8 * MIB),
        (Rule("folder.read", "cut", bytes=1000), 206, 1000),
        (Rule("folder.read", "delay", seconds=0.01), 206, MIB),
        (Rule("folder.read", "answer", answer={"length_added": 5}), 206, MIB),
    ],
    ids=str,
)
def test_what_rules_do(frozen: Client, rule: Rule, status: int, length: int) -> None:
    frozen.place.estate.faults.replace([rule])
    flat = frozen.target(f"{frozen.stem}-flat.vmdk")
    reply = frozen.ask(flat, wanted=f"bytes=0-{MIB - 1}")
    assert (reply.status, len(reply.body)) == (status, length)
    assert reply.broken == (rule.action == "cut" or "length_added" in rule.answer)
    assert frozen.ask(flat, wanted=f"bytes=0-{MIB - 1}").body == CONTENT[:MIB]
