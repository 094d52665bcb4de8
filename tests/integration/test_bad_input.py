"""Whatever is wrong is told in one line that names the object, with the documented exit code, and vCenter is as before."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from connector.errors import catalogue
from simulator import certificate
from simulator.estate.inventory import Folder, PowerState, VirtualMachine
from tests.integration.command import Outcome
from tests.integration.conftest import Run, Start
from tests.integration.house import MIB, House, Shape, equal

SMALL = ((4 * MIB, 2 * MIB),)


@pytest.fixture
def small(make_house: Callable[..., House]) -> House:
    return make_house(Shape("web-01", SMALL))


def refused(house: House, outcome: Outcome, error: str, *words: str) -> None:
    """It ended as `error` does, said so in one line that contains `words`, and left nothing behind."""
    assert outcome.code == catalogue()[error].exit_code, outcome.stderr
    line = outcome.complaint
    assert "Traceback" not in outcome.stderr
    assert "unforeseen" not in line
    for word in words:
        assert word in line
    if outcome.events:
        assert outcome.events[-1]["error"] == error
    assert not house.snapshots()
    assert not house.images()


def without(words: list[str], option: str) -> list[str]:
    at = words.index(option)
    return words[:at] + words[at + 2 :]


def instead(words: list[str], option: str, value: object) -> list[str]:
    at = words.index(option)
    return [*words[: at + 1], str(value), *words[at + 2 :]]


def test_an_unknown_machine(small: House, run: Run) -> None:
    refused(small, run(small.migration("web-99")), "NotFound", "web-99")


def test_two_machines_of_that_name(make_house: Callable[..., House], run: Run) -> None:
    house = make_house(Shape("web-01", SMALL), Shape("web-01", SMALL))
    folder = Folder("group-v900", "staging", "vm", "group-v3")
    house.estate.change(lambda old: replace(old, folders=old.folders | {folder.moref: folder}))
    second = list(house.estate.inventory.vms)[1]
    house.estate.change_vm(second, parent=folder.moref)
    done = run(house.migration("web-01"))
    refused(house, done, "Ambiguous", "web-01", "/DC0/vm/web-01", "/DC0/vm/staging/web-01")
    chosen = run(house.migration("/DC0/vm/staging/web-01"))
    assert chosen.code == 0
    disk = house.estate.inventory.vm(second).disks[0]
    assert (house.out / "images" / "web-01" / f"{disk.key}.raw").read_bytes() == house.estate.storage.disk(
        disk.storage
    ).read(0, disk.capacity)


def test_another_certificate_than_the_pinned_one(small: House, run: Run) -> None:
    wrong = ":".join(["AB"] * 20)
    refused(small, run(instead(small.migration("web-01"), "--thumbprint", wrong)), "TrustFailed", "127.0.0.1")
    assert small.witness.count("Login") == 0


def test_a_thumbprint_that_is_none(small: House, run: Run) -> None:
    refused(small, run(instead(small.migration("web-01"), "--thumbprint", "AB:CD")), "BadInput")


def test_a_wrong_password_is_tried_once(small: House, run: Run) -> None:
    (small.root / "password").write_text("wrong-horse\n")
    done = run(small.migration("web-01"))
    refused(small, done, "AuthenticationFailed")
    assert "wrong-horse" not in done.stdout + done.stderr
    assert small.witness.count("Login") == 1


def test_nobody_says_whom_to_trust(small: House, run: Run) -> None:
    refused(small, run(without(small.migration("web-01"), "--thumbprint")), "BadInput", "--thumbprint")


@pytest.mark.slow
def test_an_authority_is_as_good_as_a_thumbprint(small: House, run: Run) -> None:
    words = without(small.migration("web-01"), "--thumbprint")
    assert run([*words, "--ca", str(small.server.certificate)]).code == 0
    equal(small, "web-01", "web-01")


def test_nobody_listens(small: House, run: Run) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"https://127.0.0.1:{closed.getsockname()[1]}"
        refused(small, run(instead(small.migration("web-01"), "--vcenter", url)), "Unreachable", url)


@contextmanager
def listener(answer: bytes, context: ssl.SSLContext | None = None) -> Iterator[int]:
    """A port on which something else than a vCenter answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            while True:
                try:
                    peer, _ = listener.accept()
                    with context.wrap_socket(peer, server_side=True) if context else peer as stream:
                        stream.recv(65536)
                        stream.sendall(answer)
                except ssl.SSLError:
                    continue
                except OSError:
                    return

        threading.Thread(target=serve, daemon=True).start()
        yield int(listener.getsockname()[1])
        listener.shutdown(socket.SHUT_RDWR)


PAGE = b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 14\r\nConnection: close\r\n\r\n<html></html>\n"


def test_something_else_answers_in_clear_text(small: House, run: Run) -> None:
    with listener(PAGE) as port:
        done = run(instead(small.migration("web-01"), "--vcenter", f"https://127.0.0.1:{port}"))
    assert done.code in (4, 6)
    assert "127.0.0.1" in done.complaint
    assert "unforeseen" not in done.complaint


def test_something_else_answers_over_tls(small: House, run: Run, tmp_path: Path) -> None:
    kept = certificate.load_or_create(tmp_path / "other", "127.0.0.1")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(kept.certificate, kept.key)
    with listener(PAGE, context) as port:
        words = instead(small.migration("web-01"), "--vcenter", f"https://127.0.0.1:{port}")
        done = run(instead(words, "--thumbprint", kept.sha1))
    assert done.code == 6, done.stderr
    assert "127.0.0.1" in done.complaint
    assert "unforeseen" not in done.complaint


def test_clear_text_is_never_spoken(small: House, run: Run) -> None:
    words = instead(small.migration("web-01"), "--vcenter", f"http://127.0.0.1:{small.server.port}")
    refused(small, run(words), "BadInput", "https")


def test_no_vddk_there(small: House, run: Run) -> None:
    shutil.rmtree(small.vddk)
    done = run(small.migration("web-01"))
    assert done.code in (2, 7)
    assert str(small.vddk) in done.complaint
    assert not small.out.exists()


def test_a_vddk_that_lacks_a_function(small: House, run: Run) -> None:
    (library,) = (p for p in (small.vddk / "lib64").iterdir() if not p.is_symlink())
    subprocess.run(["cc", "-shared", "-o", library, "-x", "c", "/dev/null"], check=True)
    refused(small, run(small.migration("web-01")), "ReaderFailed", "VixDiskLib_")


def test_a_file_that_is_no_library(small: House, run: Run) -> None:
    (library,) = (p for p in (small.vddk / "lib64").iterdir() if not p.is_symlink())
    library.write_text("not ELF")
    refused(small, run(small.migration("web-01")), "ReaderFailed", "libvixDiskLib")


@pytest.mark.parametrize("version", ["6.5.0", "6.7.3"])
def test_a_vddk_too_old_for_this_vcenter(small: House, run: Run, version: str) -> None:
    small.reader(version=version)
    refused(small, run(small.migration("web-01")), "ReaderFailed", "6.7")
    assert not small.witness.count("CreateSnapshot_Task")


@dataclass(frozen=True)
class Odd:
    """A machine that cannot be migrated as it is, and a word that says why."""

    change: Callable[[VirtualMachine], dict[str, object]]
    word: str


ODDITIES = {
    "independent disk": Odd(
        lambda vm: {"disks": (replace(vm.disks[0], mode="independent_persistent"),)}, "Hard disk 1"
    ),
    "physical RDM": Odd(lambda vm: {"disks": (replace(vm.disks[0], backing="rdm-physical"),)}, "Hard disk 1"),
    "template": Odd(lambda _: {"template": True, "power_state": PowerState.OFF}, "template"),
    "suspended": Odd(lambda _: {"power_state": PowerState.SUSPENDED}, "suspended"),
    "disconnected": Odd(lambda _: {"connection_state": "disconnected"}, "disconnected"),
}


@pytest.mark.parametrize("oddity", ODDITIES)
def test_a_machine_that_cannot_be_migrated_as_it_is(small: House, run: Run, oddity: str) -> None:
    vm = small.machine()
    small.estate.change_vm(vm.moref, **ODDITIES[oddity].change(vm))
    refused(small, run(small.migration("web-01")), "Ineligible", "web-01", ODDITIES[oddity].word)
    assert not small.witness.count("CreateSnapshot_Task")


def test_a_missing_privilege_is_named(small: House, run: Run) -> None:
    small.server.center.authority.deny("VirtualMachine.State.CreateSnapshot", "*")
    done = run(small.migration("web-01"))
    refused(small, done, "NotPermitted", "VirtualMachine.State.CreateSnapshot")


@pytest.mark.parametrize("target", ["/proc/nowhere/out", "{file}/out"])
def test_a_target_that_cannot_be_written(small: House, run: Run, tmp_path: Path, target: str) -> None:
    (tmp_path / "file").write_text("x")
    place = target.format(file=tmp_path / "file")
    refused(small, run(instead(small.migration("web-01"), "--to", place)), "BadInput", place)


def test_a_target_that_is_a_file(small: House, run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    refused(
        small, run(instead(small.migration("web-01"), "--to", tmp_path / "file")), "BadInput", str(tmp_path)
    )


@pytest.mark.parametrize("word", ["--no-such-option", "--format=vdi"])
def test_a_word_that_the_command_line_does_not_know(small: House, run: Run, word: str) -> None:
    done = run([*small.migration("web-01"), word])
    assert done.code == 2
    assert word.removeprefix("--format=") in done.complaint
    assert len(done.stderr.splitlines()) == 1


def test_a_password_file_that_others_can_read(small: House, run: Run) -> None:
    (small.root / "password").chmod(0o644)
    refused(small, run(small.migration("web-01")), "BadInput", "others can read", "chmod 600")


def test_no_password_file(small: House, run: Run) -> None:
    (small.root / "password").unlink()
    refused(small, run(small.migration("web-01")), "BadInput", str(small.root / "password"))


@pytest.mark.slow
def test_two_commands_in_one_directory(small: House, run: Run, start: Start) -> None:
    small.reader(bandwidth=MIB // 5)
    first = start(small.migration("web-01"))
    first.until(lambda event: event.get("phase") == "copying")
    second = run(small.migration("web-01"))
    assert second.code == 11, second.stderr
    assert str(small.out) in second.complaint
    assert first.process.poll() is None
    first.interrupt()
    assert first.wait().code == 130
    small.reader()
    assert run(small.migration("web-01")).code == 0
    equal(small, "web-01", "web-01")


@pytest.fixture
def tiny(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MiB."""
    place = tmp_path / "tiny"
    place.mkdir()
    if os.geteuid() != 0:
        pytest.skip("needs root: mount")
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", place],
        capture_output=True,
        text=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", place], check=True)


def test_a_full_target(make_house: Callable[..., House], run: Run, tiny: Path) -> None:
    house = make_house(Shape("web-01", ((24 * MIB, 20 * MIB),)))
    house.out = tiny
    done = run(house.migration("web-01"))
    refused(house, done, "TargetFull", "space")


@pytest.mark.slow
def test_a_full_target_resumes_when_there_is_room(
    make_house: Callable[..., House], run: Run, tiny: Path
) -> None:
    house = make_house(Shape("web-01", ((24 * MIB, 20 * MIB),)))
    house.out = tiny
    assert run(house.migration("web-01")).code == 9
    subprocess.run(["mount", "-o", "remount,size=200m", tiny], check=True)
    done = run(house.migration("web-01"))
    assert done.code == 0, done.stderr
    equal(house, "web-01", "web-01")


@pytest.mark.slow
def test_the_instances_port_is_taken(small: House, run: Run, start: Start) -> None:
    small.reader(bandwidth=MIB // 2)
    first = start(small.migration("web-01"))
    first.copied(0.1)
    first.kill("cli")
    first.wait()
    first.gone()
    (record,) = small.out.glob("instances/*/instance.json")
    host = json.loads(record.read_text())["host"]
    small.reader()
    with socket.create_server((host, 8703)):
        done = run(small.migration("web-01"))
    assert done.code in (8, 9), (
        done.stderr
    )  # the appliance or the control plane, whoever loses patience first
    assert host in done.complaint
    assert not small.snapshots()
    assert run(small.migration("web-01")).code == 0
    equal(small, "web-01", "web-01")


ALONE = """
import fcntl, json, socket, struct, sys
from pathlib import Path
from tests.integration.command import Command
from tests.integration.house import MIB, Shape, house

with socket.socket() as any_socket:  # SIOCSIFFLAGS: the loopback device of this network is up
    fcntl.ioctl(any_socket, 0x8914, struct.pack("16sh22x", b"lo", 0x41))
root = Path(sys.argv[1])
with socket.create_server(("0.0.0.0", int(sys.argv[2]))), house(root, (Shape("web-01", ((MIB, 4096),)),)) as made:
    done = Command(made.migration("web-01"), root, {}).wait()
    print(json.dumps([done.code, done.complaint, made.snapshots()]))
"""


@pytest.mark.parametrize("port", [8703, pytest.param(8080, marks=pytest.mark.slow)])
def test_a_program_that_listens_on_every_address(tmp_path: Path, port: int) -> None:
    """In a network of its own, so that no other instance on this machine is disturbed."""
    done = subprocess.run(
        ["unshare", "--net", sys.executable, "-c", ALONE, tmp_path, str(port)],
        capture_output=True,
        text=True,
        check=False,
    )
    if "unshare failed" in done.stderr or "Operation not permitted" in done.stderr:
        pytest.skip("needs root: unshare --net")
    code, complaint, left = json.loads(done.stdout)
    assert code == catalogue()["PortInUse"].exit_code, complaint
    assert str(port) in complaint
    assert not left


@pytest.mark.slow
def test_a_guest_that_does_not_shut_down_is_not_forced(small: House, run: Run) -> None:
    small.estate.timing = replace(small.estate.timing, guest_shutdown=None)
    done = run([*small.migration("web-01"), "--cutover", "--shutdown-deadline", "1"])
    assert done.code == 11, done.stderr
    assert "web-01: the guest did not shut down" in done.complaint
    assert small.images() == {"web-01_CYCLE_1"}
    assert small.machine().power_state is PowerState.ON
    assert not small.snapshots()
    forced = run([*small.migration("web-01"), "--cutover", "--shutdown-deadline", "1", "--power-off"])
    assert forced.code == 0
    assert small.machine().power_state is PowerState.OFF
    equal(small, "web-01", "web-01")


def test_help_names_every_exit_code(run: Run) -> None:
    shown = run(["--help"])
    assert shown.code == 0
    for kind in catalogue().values():
        assert re.search(rf"\b{kind.exit_code}\b", shown.stdout), kind
