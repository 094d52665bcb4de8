"""What only the local provider can meet: taken ports, dead children, damaged and hostile files."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import socket
import sys
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path
from xml.etree import ElementTree as xml

import pytest

from connector.clients.endpoint import InstanceEndpoint
from connector.cloud import addresses, machine_files
from connector.cloud.addresses import LoopbackAddresses, PortRange
from connector.cloud.image_order import Made, order_image
from connector.cloud.local import LocalProvider
from connector.cloud.provider import Health, TargetDisk
from connector.errors import BadInput, Conflict, PortInUse, TargetFailed, TargetFull
from connector.model import InstanceAddress
from connector.specification import image_formats
from connector.specification.image_formats import ImageFormat
from connector.transfer.certificates import CertificateRole
from tests import forked
from tests.cloud.conftest import AUTHORITY, image_for, request_for
from tests.cloud.test_contract import finish_a_pass

T1, T2 = (f"t-{uuid.uuid4().hex}" for _ in range(2))  # other tests use the same loopback addresses


@pytest.fixture
def provider(tmp_path: Path) -> Iterator[LocalProvider]:
    made = LocalProvider(tmp_path)
    yield made
    made.close()


LOOPBACK = LoopbackAddresses()


def free_ports() -> PortRange:
    """Eight ports in a row that were free a moment ago."""
    for first in range(20_000, 32_000, 8):
        if not addresses.busy_ports(InstanceAddress("127.0.0.1", first, first + 7)):
            return PortRange("127.0.0.1", first, first + 7)
    raise AssertionError("no free ports")


def test_addresses_follow_from_the_token_and_stay_in_the_loopback_range() -> None:
    first = list(LOOPBACK.candidates(T1))
    assert first == list(LOOPBACK.candidates(T1))
    assert all(
        address.host.startswith("127.") and 64 <= int(address.host.split(".")[1]) < 128 for address in first
    )
    assert {(address.control_port, address.block_port) for address in first} == {(8080, 8703)}
    assert first != list(LOOPBACK.candidates(T2))


def test_a_range_gives_each_token_every_pair_of_its_ports() -> None:
    space = PortRange.parse("[2001:db8::7]:9100-9106")
    pairs = [(address.control_port, address.block_port) for address in space.candidates(T1)]
    assert sorted(pairs) == [(9100, 9101), (9102, 9103), (9104, 9105)]
    assert {address.host for address in space.candidates(T1)} == {"2001:db8::7"}


@pytest.mark.parametrize(
    "text", ["", "host", "host:1-2-3", "host:9-8", "host:0-9", "h:1-70000", "a b:1-9", "::1:5-9"]
)
def test_what_is_no_range_is_refused(text: str) -> None:
    with pytest.raises(BadInput, match=r"is no range of ports.*HOST:FIRST-LAST"):
        PortRange.parse(text)


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "[::]", "[::ffff:0.0.0.0]", "224.0.0.1", "[fe80::1]", "control.example.com"]
)
def test_what_appliances_cannot_be_told_is_refused(host: str) -> None:
    """They get the address as it is. A name may mean another one here than there."""
    with pytest.raises(BadInput, match="one address of this computer"):
        PortRange.parse(f"{host}:9100-9199")


def test_ports_of_a_known_instance_are_not_given_again_after_the_range_has_moved() -> None:
    """It may be about to start again, so its ports are free for a moment."""
    space = free_ports()
    moved = PortRange(space.host, space.first + 1, space.first + 4)
    known = InstanceAddress(space.host, space.first, space.first + 1)
    for token in ("a", "b", "c", "d"):
        chosen = addresses.choose(moved, token, {known})
        assert chosen.control_port == space.first + 3


def test_a_taken_address_is_passed_over() -> None:
    first, second = list(LOOPBACK.candidates(T1))[:2]
    assert addresses.choose(LOOPBACK, T1, {first}) == second
    with socket.create_server((first.host, first.block_port)):
        assert addresses.busy_ports(first) == [first.block_port]
        assert addresses.choose(LOOPBACK, T1, set()) == second


def test_when_every_address_is_taken_the_error_names_the_port_and_the_remedy() -> None:
    with ExitStack() as stack:
        for address in set(LOOPBACK.candidates(T1)):
            stack.enter_context(socket.create_server((address.host, address.control_port)))
        with pytest.raises(PortInUse, match=r"port 8080 .*; stop the program that listens on every address"):
            addresses.choose(LOOPBACK, T1, set())


def test_when_every_pair_of_a_range_is_used_the_error_says_so() -> None:
    space = free_ports()
    with pytest.raises(PortInUse, match=rf"all ports from {space.first} .*widen instance_ports"):
        addresses.choose(space, T1, set(space.candidates(T1)))


def test_a_known_address_that_is_taken_is_an_error_not_another_address() -> None:
    address = next(LOOPBACK.candidates(T1))
    with (
        socket.create_server((address.host, address.control_port)),
        pytest.raises(PortInUse, match="8080"),
    ):
        addresses.wait_free(address, 0.2)


def test_instances_listen_on_the_ports_of_a_range_and_keep_them(tmp_path: Path) -> None:
    """Two of them on one address; after the range has changed, an instance starts where its appliances know it."""
    space = free_ports()
    provider = LocalProvider(tmp_path, space=space)
    try:
        places = [provider.create_instance(request_for(token)).address for token in (T1, T2)]
        assert set(places) <= set(space.candidates(T1)) and places[0] != places[1]
        assert all(len(addresses.busy_ports(place)) == 2 for place in places)
    finally:
        provider.close()
    again = LocalProvider(tmp_path)
    try:
        assert again.create_instance(request_for(T1)).address == places[0]
    finally:
        again.close()


def test_r1_r56_an_instance_has_its_name_and_names_its_disks(provider: LocalProvider) -> None:
    request = request_for(T1)
    provider.create_instance(request)
    grown = replace(request, disks=(*request.disks, TargetDisk(2001, "Hard disk 2", 1 << 20)))
    made = provider.create_instance(grown)
    assert made.name == "No_Delete_SMC_Transition_Instance"
    assert [(r.kind, Path(r.reference).name) for r in made.resources] == [("disk", "2000"), ("disk", "2001")]
    assert provider.find(T1) == made


def test_a_killed_instance_is_seen_and_started_again(provider: LocalProvider) -> None:
    first = provider.create_instance(request_for(T1))
    os.kill(_pid_listening(first.address.host), signal.SIGKILL)
    while (found := provider.find(T1)) is not None and found.health is Health.RUNNING:
        pass
    assert provider.create_instance(request_for(T1)) == first


def _pid_listening(host: str) -> int:
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if b"connector.instance" in words and host.encode() in words:
                return int(entry.name)
    raise AssertionError("no instance has this address")


def test_no_secret_is_in_the_arguments_or_the_record(provider: LocalProvider, tmp_path: Path) -> None:
    request = request_for(T1)
    instance = provider.create_instance(request)
    words = Path(f"/proc/{_pid_listening(instance.address.host)}/cmdline").read_bytes()
    environment = Path(f"/proc/{_pid_listening(instance.address.host)}/environ").read_bytes()
    secret = request.credential.key.splitlines()[1].encode()
    assert secret not in words + environment
    files = [file.read_bytes() for file in (tmp_path / "instances").rglob("*") if file.is_file()]
    assert files
    assert not any(secret in content for content in files)


def test_an_instance_that_cannot_start_leaves_no_child(tmp_path: Path) -> None:
    provider = LocalProvider(tmp_path, "connector.no_such_program")
    with pytest.raises(Exception, match="before it was ready"):
        provider.create_instance(request_for(T1))
    found = provider.find(T1)
    assert found is not None
    assert found.health is Health.STOPPED


def test_a_damaged_record_is_named(provider: LocalProvider, tmp_path: Path) -> None:
    (tmp_path / "instances" / T1).mkdir()
    (tmp_path / "instances" / T1 / "instance.json").write_text("{")
    with pytest.raises(TargetFailed, match=r"instance\.json: this file is damaged"):
        provider.find(T1)


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a\0b"])
def test_names_never_leave_their_directory(provider: LocalProvider, name: str) -> None:
    with pytest.raises(BadInput):
        provider.find(name)
    with pytest.raises(BadInput):
        provider.delete_image(name)


def test_an_instance_cannot_hand_over_foreign_files_or_none(tmp_path: Path) -> None:
    outside = tmp_path / "secret"
    outside.write_text("x")
    for path, says in (
        ("../../../secret", "outside"),
        (str(outside), "outside"),
        ("images/web/2000.raw", "the image lacks 2000.raw"),
    ):
        provider = LocalProvider(tmp_path / "cloud", order=lambda *_, path=path: Made((path,), DETAILS))
        try:
            provider.create_instance(request_for(T1))
            with pytest.raises(TargetFailed, match=says):
                provider.make_image(image_for(T1, "web"))
        finally:
            provider.close()
    assert outside.exists()


def test_a_root_that_cannot_be_used_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(TargetFailed, match="cannot use this directory"):
        LocalProvider(tmp_path / "file")


def test_an_instance_that_is_being_started_again_is_waited_for_at_the_hand_over(
    provider: LocalProvider,
) -> None:
    address = provider.create_instance(request_for(T1)).address
    provider.release(T1, keep_disks=True)
    with ThreadPoolExecutor(1) as pool:
        ordered = pool.submit(order_image, address, image_for(T1, "web"))
        with pytest.raises(TimeoutError):
            ordered.result(0.3)
        assert provider.create_instance(request_for(T1)).address == address
        with pytest.raises(Conflict, match="the instance has no disks"):  # its own answer
            ordered.result(60)


FILES = ("2000.raw", "2001.raw")
DETAILS = {"format": "raw", "disks": [{"file": name, "capacity": 1 << 20} for name in FILES]}


def break_at(moment: int, how: str, root: Path) -> None:
    """Hand over once; the n-th change of a name or a folder under `images` kills this process or finds no space.

    Only in a process of its own: an audit hook stays.
    """
    left = moment

    def hook(event: str, words: object) -> None:
        nonlocal left
        if event in ("os.rename", "os.mkdir", "shutil.rmtree") and "/images/" in str(words):
            left -= 1
            if left == 0 and how == "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            if left == 0:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    provider = taking_over(root)
    sys.addaudithook(hook)
    try:
        provider.make_image(image_for(T1, "web", "r2"))
    except TargetFull:
        sys.exit(28)


def made_by_instance(root: Path, content: str) -> None:
    """What an instance has ready under its own roof."""
    home = root / "instances" / T1
    (home / "data" / "images" / "web").mkdir(parents=True, exist_ok=True)
    (home / "instance.json").write_text(json.dumps({"token": T1, "job": "j", "host": "127.64.0.1"}))
    for name in FILES:
        (home / "data" / "images" / "web" / name).write_text(f"{content} {name}")


def taking_over(root: Path) -> LocalProvider:
    order = Made(tuple(f"images/web/{name}" for name in FILES), DETAILS)
    return LocalProvider(root, order=lambda *_: order)


def content_of(image: Path) -> dict[str, str]:
    """Its disks. The description of the machine beside them must be there."""
    assert machine_files.read(image) is not None
    return {file.name: file.read_text() for file in image.iterdir() if file.suffix == ".raw"}


def whole(content: str) -> dict[str, str]:
    return {name: f"{content} {name}" for name in FILES}


def test_a_later_order_under_the_same_name_is_not_answered_with_the_earlier_image(tmp_path: Path) -> None:
    for content in ("first", "second"):
        made_by_instance(tmp_path, content)
        made = taking_over(tmp_path).make_image(image_for(T1, "web", content))
        assert content_of(Path(made.location)) == whole(content)
        assert taking_over(tmp_path).make_image(image_for(T1, "web", content)) == made


@pytest.mark.parametrize("how", ["killed", "full"])
def test_a_hand_over_that_breaks_anywhere_leaves_no_half_image_and_goes_on(tmp_path: Path, how: str) -> None:
    ended, moment = {"killed": -signal.SIGKILL, "full": 28}[how], 0
    while True:
        root, moment = tmp_path / str(moment), moment + 1
        made_by_instance(root, "first")
        taking_over(root).make_image(image_for(T1, "web"))
        made_by_instance(root, "second")
        code = forked.code_of(partial(break_at, moment, how, root))
        shown = root / "images" / "web"
        assert not shown.exists() or content_of(shown) in (whole("first"), whole("second"))
        made = taking_over(root).make_image(image_for(T1, "web", "r2"))
        assert content_of(Path(made.location)) == whole("second")
        assert sorted(found.name for found in (root / "images").iterdir()) == [".web.json", "web"]
        if code == 0:
            break
        assert code == ended
    assert moment > len(FILES) + 3


def test_a_deleted_image_leaves_nothing_of_a_hand_over_that_broke(tmp_path: Path) -> None:
    made_by_instance(tmp_path, "first")
    (tmp_path / "instances" / T1 / "data" / "images" / "web" / FILES[1]).unlink()
    with pytest.raises(TargetFailed, match="lacks"):
        taking_over(tmp_path).make_image(image_for(T1, "web"))
    taking_over(tmp_path).delete_image("web")
    assert list((tmp_path / "images").iterdir()) == []


@pytest.mark.skipif(shutil.which("qemu-img") is None, reason="needs qemu-img (Debian package qemu-utils)")
@pytest.mark.parametrize("form", image_formats.FORMATS, ids=lambda form: form.name)
def test_an_image_has_beside_it_what_can_read_its_format(provider: LocalProvider, form: ImageFormat) -> None:
    """machine.json always; machine.xml where libvirt can run it; machine.ovf where an importer knows the format."""
    instance = provider.create_instance(request_for(T1))
    finish_a_pass(InstanceEndpoint(instance.address, AUTHORITY.issue(CertificateRole.CONTROL)))
    kept = provider.make_image(replace(image_for(T1, "web"), format=form.name))
    names = {Path(file).name for file in kept.files}
    beside = {"machine.json"}
    beside |= {"machine.xml"} if form.libvirt else set()
    beside |= {"machine.ovf"} if form.ovf else set()
    assert names == beside | {f"2000.{form.suffix}"}
    assert kept.details["format"] == form.name
    directory = Path(kept.location)
    machine = machine_files.read(directory)
    assert machine is not None and [disk.format for disk in machine.disks] == [form.driver]
    if form.ovf:
        envelope = xml.parse(directory / "machine.ovf").getroot()
        (file,) = envelope.iterfind(".//{http://schemas.dmtf.org/ovf/envelope/1}File")
        size = (directory / f"2000.{form.suffix}").stat().st_size
        assert file.get("{http://schemas.dmtf.org/ovf/envelope/1}size") == str(size)
