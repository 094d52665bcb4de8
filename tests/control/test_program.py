"""The program itself, with real instances: told to migrate, killed, stopped, misused."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from connector import child
from connector.clients.agents import ControlClient, enrol
from connector.clients.endpoint import InstanceEndpoint
from connector.errors import BadInput, ConnectorError, ControlFailed, NotFound, PortInUse, TransferFailed
from connector.model import Credential, InstanceAddress
from tests.control.conftest import VCENTER, machine, taken
from tests.control.honest import manifest, new_signer
from tests.people import People, owner
from tests.waiting import eventually

SIGNER = new_signer()


@contextmanager
def running(root: Path, *more: str) -> Iterator[child.Child]:
    arguments = ["--state", str(root / "state"), "--images", str(root / "cloud"), "--exit-with-stdin", *more]
    with child.start("connector.control", arguments, name="control", log=root / "log") as started:
        yield started


def people(started: child.Child) -> People:
    return owner(started.ready)


def join(started: child.Child) -> Any:
    code = Path(str(started.ready["activation_code_file"])).read_text().strip()
    url, thumbprint = str(started.ready["url"]), str(started.ready["thumbprint"])
    key = SIGNER.public_pem
    return enrol(url, thumbprint, code, name="a", vcenter=VCENTER, version="1", evidence_key=key)


def appliance(started: child.Child, member: Any) -> ControlClient:
    return ControlClient(str(started.ready["url"]), str(started.ready["thumbprint"]), member)


def endpoint(order: dict[str, Any]) -> InstanceEndpoint:
    return InstanceEndpoint(InstanceAddress(**order["instance"]), Credential(**order["credential"]))


def copy_nothing(order: dict[str, Any], capacity: int = 1 << 20) -> None:
    """A pass whose plan is empty: enough for the instance to call its disk settled."""
    instance, pass_id = endpoint(order), order["pass_id"]
    instance.put_disk("2000", capacity, "Hard disk 1")
    facts = {"snapshot": "s", "change_id": "52/1", "base_change_id": "", "identity": {"uuid": "d"}}
    instance.begin_pass("2000", {"pass_id": pass_id, "kind": "full", **facts})
    instance.finish_pass("2000", pass_id, [])


def lineage(order: dict[str, Any]) -> dict[str, Any]:
    """Of the disk, as the instance says it; none while there is no disk."""
    try:
        shown = endpoint(order).disk("2000")
    except NotFound:
        return {}
    return {name: shown[name] for name in ("target", "generation", "root", "previous_root")} | {
        "reading": order["pass_id"]
    }


def done(client: ControlClient, order: dict[str, Any]) -> None:
    """Report it, with evidence."""
    made = manifest(SIGNER, order, VCENTER, [2000], change_ids={2000: "52/1"}, lineage=lineage(order))
    client.evidence(order["pass_id"], made)
    client.finish(order["pass_id"], "done", None, {})


def finished(jobs: People, name: str) -> Callable[[], bool]:
    return lambda: bool(jobs.status(name)["status"] == "Finished")


def test_a_job_ends_with_a_readable_image(tmp_path: Path) -> None:
    with running(tmp_path) as started:
        jobs, client = people(started), appliance(started, join(started))
        client.put_sources([machine(disks=1)], {})
        jobs.create("web-01", "real", image_format="raw")
        jobs.start("real")
        order = taken(client)
        assert order is not None
        copy_nothing(order)
        done(client, order)
        eventually(finished(jobs, "real"), "the job is finished")
        (image,) = jobs.job("real")["images"]
    (file,) = [file for file in image["details"]["files"] if file.endswith(".raw")]
    assert Path(file).stat().st_size == 1 << 20
    assert Path(file).is_relative_to(tmp_path / "cloud" / "images" / "real")


def test_killed_in_the_middle_of_a_pass_the_instance_comes_back_with_its_disks(tmp_path: Path) -> None:
    with running(tmp_path) as first:
        member = join(first)
        client = appliance(first, member)
        client.put_sources([machine(disks=1)], {})
        people(first).create("web-01", "real", image_format="raw")
        people(first).start("real")
        order = taken(client)
        assert order is not None
        endpoint(order).put_disk("2000", 1 << 20, "Hard disk 1")
        os.kill(first.pid, signal.SIGKILL)
    with running(tmp_path) as second:
        jobs, client = people(second), appliance(second, member)

        def back() -> bool:
            try:
                return endpoint(order).disk("2000")["capacity"] == 1 << 20
            except TransferFailed:
                return False

        eventually(back, "the same instance answers the same credential")
        copy_nothing(order)
        done(client, order)
        eventually(finished(jobs, "real"), "the job is finished")


def test_done_without_a_byte_is_an_error_with_its_reason(tmp_path: Path) -> None:
    with running(tmp_path) as started:
        jobs, client = people(started), appliance(started, join(started))
        client.put_sources([machine(disks=1)], {})
        jobs.create("web-01", "empty")
        jobs.start("empty")
        order = taken(client)
        assert order is not None
        with pytest.raises(ControlFailed, match="the instance has no disk 2000") as refused:
            done(client, order)
        assert not refused.value.retryable
        eventually(lambda: jobs.job("empty")["status"] == "InError", "the job fails")
        assert "the instance has no disk 2000" in jobs.job("empty")["error"]["what"]
        assert jobs.job("empty")["images"] == [] or not jobs.job("empty")["images"][0]["ready"]


@pytest.mark.parametrize(("setting", "served"), [((), False), (("--tls", "1.2"), True)])
def test_tls_1_2_is_spoken_only_where_a_setting_allows_it(
    setting: tuple[str, ...], served: bool, tmp_path: Path
) -> None:
    with running(tmp_path, *setting) as started:
        context = ssl.create_default_context(cafile=str(tmp_path / "state" / "control.crt"))
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        port = int(str(started.ready["url"]).rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), 20) as plain:
            if served:
                with context.wrap_socket(plain, server_hostname="127.0.0.1") as safe:
                    assert safe.version() == "TLSv1.2"
            else:
                with pytest.raises(ssl.SSLError):
                    context.wrap_socket(plain, server_hostname="127.0.0.1")


def test_a_taken_port_is_said_in_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(PortInUse, match=port), running(tmp_path, "--port", port):
            pass
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize(
    ("host", "said"),
    [("nobody.invalid", "this name has no address"), ("192.0.2.7", "this machine has no such address")],
)
def test_a_host_that_cannot_be_listened_on_is_not_called_a_taken_port(
    tmp_path: Path, host: str, said: str
) -> None:
    with pytest.raises(BadInput, match=said) as refused, running(tmp_path, "--host", host):
        pass
    assert refused.value.on == f"--host {host}" and "0.0.0.0" in refused.value.remedy


@pytest.mark.parametrize("module", ["connector.control", "connector.appliance"])
@pytest.mark.parametrize("words", [("-x",), ("--config", "/nowhere.yaml")], ids=str)
def test_a_person_is_told_once_and_a_program_as_json(module: str, words: tuple[str, ...]) -> None:
    command = [sys.executable, "-m", module, *words]
    person = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    assert person.returncode == 2, person
    assert person.stdout == ""
    assert len(person.stderr.splitlines()) == 1, person.stderr


def test_an_unknown_database_is_said_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="mysql"), running(tmp_path, "--database", "mysql://x/y"):
        pass
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_a_state_directory_that_cannot_be_used_is_said_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(ConnectorError, match="cannot use this directory"), running(tmp_path):
        pass
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.parametrize("how", ["signal", "leash"])
def test_it_stops_at_once_and_cleanly(tmp_path: Path, how: str) -> None:
    with running(tmp_path) as started:
        if how == "signal":
            os.kill(started.pid, signal.SIGTERM)
            eventually(lambda: started.exit_code() is not None, "it ends")
        assert started.stop(10.0) in (0, -signal.SIGTERM)
    assert "Traceback" not in (tmp_path / "log").read_text()


def test_the_help_names_every_option() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "connector.control", "--help"], capture_output=True, text=True, check=True
    )
    for option in (
        "--state",
        "--host",
        "--port",
        "--database",
        "--provider",
        "--images",
        "--limit",
        "--exit-with-stdin",
    ):
        assert option in shown.stdout


@pytest.mark.parametrize("module", ["connector.control", "connector.appliance"])
def test_who_reads_the_first_line_gets_json_and_a_person_gets_a_sentence(module: str, tmp_path: Path) -> None:
    wrong = ["--config", str(tmp_path / "no-such-file"), "--exit-with-stdin"]
    by_hand = subprocess.run(
        [sys.executable, "-m", module, *wrong], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert (by_hand.returncode, by_hand.stdout) == (BadInput.exit_code, "")
    (line,) = by_hand.stderr.splitlines()
    with pytest.raises(BadInput) as refused:
        child.start(module, wrong, name="child", log=tmp_path / "log")
    assert str(refused.value) in line
