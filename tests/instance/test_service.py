"""The instance's doors: who may come in, what a wrong request gets, how it starts and stops."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import pytest

from connector.clients.endpoint import InstanceEndpoint
from connector.errors import (
    BadInput,
    Conflict,
    ConnectorError,
    NotFound,
    PeerRefused,
    TransferFailed,
    TrustFailed,
)
from connector.model import InstanceAddress
from connector.transfer import tls, wire
from connector.transfer.certificates import CertificateRole
from connector.transfer.receiver import Hello, Receiver
from connector.transfer.wire import Frame, FrameKind
from tests.transfer.conftest import MIB, Instance, Job
from tests.waiting import PATIENCE


@pytest.mark.parametrize(
    ("verb", "path", "body", "kind"),
    [
        ("GET", "/disks/none", None, NotFound),
        ("PUT", "/disks/..%2Fescape", {"capacity": MIB}, ConnectorError),
        ("PUT", "/disks/" + "x" * 200, {"capacity": MIB}, BadInput),
        ("PUT", "/disks/a", {}, BadInput),
        ("PUT", "/disks/a", {"capacity": "1"}, BadInput),
        ("PUT", "/disks/a", {"capacity": True}, BadInput),
        ("PUT", "/disks/a", {"capacity": -1}, BadInput),
        ("PUT", "/disks/a", {"capacity": 1 << 60}, BadInput),
        ("POST", "/images", {"name": "../../etc/passwd"}, BadInput),
        ("POST", "/images", {"name": "x", "format": "iso"}, BadInput),
        ("GET", "/images/none", None, NotFound),
        ("POST", "/images", {"name": "x"}, Conflict),
        ("GET", "/nowhere", None, ConnectorError),
    ],
)
def test_wrong_requests_get_one_line(
    instance: Instance, verb: str, path: str, body: dict[str, object] | None, kind: type[ConnectorError]
) -> None:
    with pytest.raises(kind) as caught:
        instance.endpoint.call(verb, path, body)
    assert "\n" not in str(caught.value)
    assert instance.endpoint.health()["disks"] == 0


def test_a_plan_that_is_no_plan_is_refused(instance: Instance) -> None:
    instance.endpoint.put_disk("a", MIB)
    instance.endpoint.begin_pass("a", {"pass_id": "p", "kind": "full"})
    for extents in ("all", [[0]], [[0, -1]], None):
        with pytest.raises(BadInput):
            instance.endpoint.call("POST", "/disks/a/passes/p/finish", {"extents": extents})
    with pytest.raises(Conflict, match="beyond the disk"):
        instance.endpoint.call("POST", "/disks/a/passes/p/finish", {"extents": [[0, 2 * MIB]]})


def test_control_port_wants_a_certificate_of_the_job_and_a_role(
    instance: Instance, job: Job, other_job: Job
) -> None:
    assert InstanceEndpoint(instance.address, job.control).health()["version"]
    for credential in (job.instance, other_job.appliance):
        with pytest.raises((TrustFailed, TransferFailed)):
            InstanceEndpoint(instance.address, credential).health()


def test_without_a_certificate_nothing_is_said(instance: Instance) -> None:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    connection = http.client.HTTPSConnection(
        "127.0.0.1", instance.address.control_port, context=context, timeout=PATIENCE
    )
    with pytest.raises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
        connection.request("GET", "/health")
        connection.getresponse()


def test_an_instance_of_another_job_is_not_believed(instance: Instance, other_job: Job) -> None:
    with pytest.raises(TrustFailed):
        tls.connect("127.0.0.1", instance.address.block_port, other_job.appliance)


def test_silent_strangers_do_not_keep_others_out(instance: Instance, job: Job) -> None:
    """More of them than may wait at once."""
    strangers = [socket.create_connection(("127.0.0.1", instance.address.block_port)) for _ in range(40)]
    for _ in range(3):
        tls.connect("127.0.0.1", instance.address.block_port, job.appliance).close()
    for stranger in strangers:
        stranger.close()


def test_blocks_for_a_pass_that_does_not_run_are_refused(instance: Instance) -> None:
    from connector.transfer import connection
    from connector.transfer.conveyor import Conveyor
    from connector.transfer.receiver import Hello

    instance.endpoint.put_disk("a", MIB)
    instance.endpoint.begin_pass("a", {"pass_id": "p", "kind": "full"})
    for hello, reason in [
        (Hello("a", "q", MIB, MIB), "not the running pass"),
        (Hello("b", "p", MIB, MIB), "no disk"),
        (Hello("a", "p", 2 * MIB, MIB), "has 1048576 bytes"),
    ]:
        channel = instance.endpoint.connect_blocks()
        lane: Conveyor[connection.OutgoingFrame] = Conveyor(1, connection.OutgoingFrame.release)
        with pytest.raises(PeerRefused, match=reason):
            connection.Connection(channel, hello, MIB, lane).open()
        channel.close()


def test_a_new_pass_ends_the_connections_of_the_old_one(instance: Instance) -> None:
    from connector.transfer import wire
    from connector.transfer.receiver import Hello

    endpoint = instance.endpoint
    endpoint.put_disk("a", MIB)
    endpoint.begin_pass("a", {"pass_id": "p", "kind": "full", "snapshot": "s1", "change_id": "1"})
    channel = endpoint.connect_blocks()
    frame = Hello("a", "p", MIB, MIB).frame()
    channel.send([wire.encode(frame), frame.payload])
    room = memoryview(bytearray(4096))
    assert channel.receive_into(room)  # READY
    endpoint.begin_pass("a", {"pass_id": "q", "kind": "full", "snapshot": "s2", "change_id": "2"})
    with pytest.raises(TransferFailed):
        while channel.receive_into(room):
            pass
        raise TransferFailed("ended")
    channel.close()


def test_stdin_s_end_stops_it_gracefully(start: Callable[..., Instance]) -> None:
    assert start().stop() == 0


def test_a_second_instance_on_one_directory_is_refused_in_one_line(instance: Instance, job: Job) -> None:
    words = ["--directory", str(instance.directory), "--control-port", "0", "--block-port", "0"]
    done = subprocess.run(
        [sys.executable, "-m", "connector.instance", *words, "--credential-stdin"],
        input=json.dumps(asdict(job.instance)) + "\n",
        capture_output=True,
        text=True,
    )
    assert done.returncode == Conflict.exit_code
    assert "another instance works in this directory" in done.stderr.strip().splitlines()[-1]
    assert instance.endpoint.health()["disks"] == 0


def test_one_certificate_does_not_take_all_connections(instance: Instance, job: Job) -> None:
    """Those that say nothing either; and they cost next to nothing."""
    status = Path(f"/proc/{instance.process.pid}/status")
    before = resident(status)
    held = [tls.connect("127.0.0.1", instance.address.block_port, job.appliance) for _ in range(64)]
    room = memoryview(bytearray(4096))
    refused = tls.connect("127.0.0.1", instance.address.block_port, job.appliance)
    assert b"64 connections with this certificate" in bytes(room[: refused.receive_into(room)]) + bytes(
        room[: refused.receive_into(room)]
    )
    another = job.authority.issue(CertificateRole.APPLIANCE)
    tls.connect("127.0.0.1", instance.address.block_port, another).close()
    assert resident(status) - before < 128 * MIB
    for channel in [*held, refused]:
        channel.close()


def resident(status: Path) -> int:
    (line,) = (line for line in status.read_text().splitlines() if line.startswith("VmRSS"))
    return int(line.split()[1]) << 10


@pytest.mark.parametrize("greets", [False, True])
def test_a_connection_that_carries_no_block_ends_though_it_shows_that_it_lives(
    job: Job, greets: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        far = socket.create_connection(listener.getsockname())
        near, _ = listener.accept()
    server = tls.Channel(near, tls.context(job.instance, server=True), server=True)
    ended: list[str] = []

    def serve() -> None:
        server.handshake([CertificateRole.APPLIANCE])
        with pytest.raises(TransferFailed) as caught:
            Receiver(server, lambda hello: Nowhere(), greeting=0.3, idle=0.3).run()
        ended.append(caught.value.what)
        server.close()

    thread = threading.Thread(target=serve)
    thread.start()
    client = tls.Channel(far, tls.context(job.appliance, server=False), server=False)
    client.handshake([CertificateRole.INSTANCE])
    hello = Hello("a", "p", MIB, MIB).frame()
    parts = [wire.encode(hello), bytes(hello.payload)]
    client.send(parts if greets else [parts[0][:1]])
    for number in range(1, 1000):
        if ended:
            break
        with contextlib.suppress(TransferFailed):
            client.send(
                [
                    wire.encode(Frame(FrameKind.FLUSH, number))
                    if greets
                    else b"".join(parts)[number : number + 1]
                ]
            )
        time.sleep(0.05)
    thread.join(PATIENCE)
    client.close()
    assert ended == ["no block came for 0 s"]


class Nowhere:
    """A sink that gets nothing."""

    capacity = MIB

    def commit(self, found: object) -> None: ...

    def close(self) -> None: ...


def test_port_in_use_is_one_line_and_code_9(instance: Instance, job: Job, tmp_path: Path) -> None:
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "connector.instance",
            "--directory",
            str(tmp_path / "other"),
            "--control-port",
            str(instance.address.control_port),
            "--block-port",
            "0",
            "--credential-stdin",
        ],
        input=json.dumps(asdict(job.instance)) + "\n",
        capture_output=True,
        text=True,
    )
    assert done.returncode == 9
    assert done.stderr.strip().splitlines()[-1].endswith("another program listens there; stop it")


def test_secrets_do_not_show_in_the_process_list(instance: Instance) -> None:
    assert "PRIVATE" not in Path(f"/proc/{instance.process.pid}/cmdline").read_text()
    assert "PRIVATE" not in Path(f"/proc/{instance.process.pid}/environ").read_text()


def test_nobody_there_is_a_retryable_failure(job: Job) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(TransferFailed) as caught:
        InstanceEndpoint(InstanceAddress("127.0.0.1", port, port), job.appliance).health()
    assert caught.value.retryable
