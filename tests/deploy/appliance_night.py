"""An appliance's image in QEMU, with vCenter and control plane outside.

`python -m tests.deploy.appliance_night DIR IMAGE [cd [efi]]` runs in a network of its own, where the address OUTSIDE is on the
loopback device: QEMU's user network reaches it, as an appliance reaches computers elsewhere. On a serial console it answers what
the image asks, or with `cd` a CD of vCenter's answers does. Its last line of output is JSON: what happened.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final
from xml.sax.saxutils import quoteattr

from connector.cli.compare import Reader, compare
from simulator.estate.estate import Estate

OUTSIDE: Final = "198.18.0.1"
PATIENCE: Final = 2400.0  # of a machine that is emulated on a busy computer; nothing is measured with it
LOGIN: Final = "a-password-for-the-console"
_SCSI_DISK: Final = ("-device", "scsi-hd,drive=system,bootindex=0")
_ENVIRONMENT: Final = """<?xml version="1.0"?>
<Environment xmlns="http://schemas.dmtf.org/ovf/environment/1" xmlns:oe="http://schemas.dmtf.org/ovf/environment/1">
<PropertySection>{properties}</PropertySection></Environment>
"""


class Console:
    """The serial console of the machine: what it shows, and what is typed on it."""

    def __init__(self, place: Path, log: Path) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(place))
        self._log = log.open("wb")
        self._shown = ""  # since the last answer

    def expect(self, pattern: str) -> str:
        """Wait for it, and answer everything that was shown until then."""
        end = time.monotonic() + PATIENCE
        while (match := re.search(pattern, self._shown)) is None:
            self._socket.settimeout(max(1.0, end - time.monotonic()))
            piece = self._socket.recv(4096)
            if not piece:
                raise AssertionError(f"the machine ended before {pattern!r}: {self._shown[-2000:]}")
            self._log.write(piece)
            self._log.flush()
            self._shown += piece.decode(errors="replace").replace("\r", "")
        before, self._shown = self._shown[: match.end()], self._shown[match.end() :]
        return before

    def answer(self, question: str, answer: str) -> str:
        """Type an answer to a question; answers what was shown before it."""
        shown = self.expect(question)
        self._socket.sendall(f"{answer}\r".encode())
        return shown


def main(directory: Path, image: Path, way: str = "", firmware: str = "bios") -> None:
    """One night: outside starts, the image boots and is configured, a machine is migrated."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "address", "add", f"{OUTSIDE}/32", "dev", "lo"], check=True)
    with ExitStack() as stack:
        outside = stack.enter_context(_outside(directory))
        cd = _cd(directory, outside) if way == "cd" else None
        console = stack.enter_context(_machine(directory, image, cd, firmware))
        shown = console.expect("configured: ") if cd else _dialog(console, outside)
        listening = [] if cd else _listening(console)
        done = _migrated(outside)
    print(json.dumps({"shown": shown, "equal": _equal(directory), "job": done, "listening": listening}))


def _dialog(console: Console, outside: Mapping[str, str]) -> str:
    """What a person types on the console; answers all that was shown."""
    shown = console.answer("Press Enter to configure it here", "")
    shown += console.answer("Address with prefix length", "10.0.2.300/24")  # a mistake: nothing is lost
    shown += console.answer("Gateway", "") + console.answer("Name servers", "")
    shown += console.answer("Time servers", "") + console.answer("Host name", "")
    shown += console.answer("Press Enter to configure it here", "")
    shown += console.answer("Address with prefix length", "dhcp")
    shown += console.answer("Time servers", "") + console.answer("Host name", "edge-9")
    shown += console.answer("Password of root", LOGIN)
    shown += console.answer("Name of this appliance", "")
    shown += console.answer("vCenter, as https://HOST", outside["CONNECTOR_VCENTER_URL"])
    shown += console.answer("Is this what the vCenter itself shows", "y")
    shown += console.answer("vCenter user", outside["CONNECTOR_VCENTER_USER"])
    shown += console.answer("Control plane, as https://HOST:PORT", outside["CONNECTOR_CONTROL_URL"])
    shown += console.answer("Is this what the control plane itself shows", "y")
    shown += console.answer("Password of ", "wrong") + console.answer("Activation code", outside["code"])
    shown += console.answer("Password of ", outside["password"])
    return shown + console.expect("configured: ")


def _listening(console: Console) -> list[str]:
    """The ports that others may reach, as somebody sees them who logs in on the console."""
    console.answer("login: ", "root")
    console.answer("Password: ", LOGIN)
    console.answer(
        "root@edge-9:~# ", "ss -Hltun | awk '{print \"<\" $5 \">\"}' | grep -v '<127\\.'; echo the-end"
    )
    return re.findall(r"<([^\s<>]+)>", console.expect(r"\nthe-end"))


def _migrated(outside: Mapping[str, str]) -> Mapping[str, Any]:
    """Migrate the machine with a job, as a person at the control plane does."""
    environment = {**os.environ, **outside}

    def connector(*words: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "connector.cli.main", *words],
            env=environment,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    names: list[str] = []
    while not names:
        names = [json.loads(line)["Name"] for line in connector("source", "list", "--json").splitlines()]
        time.sleep(1)
    connector("job", "create", names[0], "--start")
    end = time.monotonic() + PATIENCE
    while True:
        job = json.loads(connector("job", "list", "--json").splitlines()[0])
        if job["Status"] in ("Finished", "InError") or time.monotonic() > end:
            return {"status": job["Status"], "name": names[0]}
        time.sleep(2)


def _equal(directory: Path) -> list[bool]:
    """Whether each disk of the image has the bytes of its source, by a comparison that uses no record of the transfer."""
    estate = Estate(directory / "lab")
    machine = next(iter(estate.inventory.vms.values()))
    images = sorted((directory / "images" / "images").glob("*/*.qcow2"))
    return [
        _same(estate.storage.disk(disk.storage).read, image, disk.capacity, directory / "disk.raw")
        for disk, image in zip(machine.disks, images, strict=True)
    ]


def _same(source: Reader, image: Path, capacity: int, raw: Path) -> bool:
    subprocess.run(["qemu-img", "convert", "-O", "raw", str(image), str(raw)], check=True)
    with raw.open("rb") as target:
        return compare(source, partial(_piece, target.fileno()), capacity).equal


def _piece(descriptor: int, offset: int, length: int) -> bytes:
    return os.pread(descriptor, length, offset)


@contextmanager
def _outside(directory: Path) -> Iterator[dict[str, str]]:
    """vCenter and control plane at the address OUTSIDE; answers what a person who uses them knows."""
    lab, state = directory / "lab", directory / "control"
    sizes = ["--system-size", "64M", "--system-content", "20M", "--data-size", "32M", "--data-content", "8M"]
    vcenter = [
        "simulator",
        "--vms",
        "1",
        "--directory",
        str(lab),
        "--host",
        OUTSIDE,
        "--port",
        "8989",
        "--no-guest",
        "--no-vddk",
    ]
    plane = [
        "connector.control",
        "--state",
        str(state),
        "--images",
        str(directory / "images"),
        "--host",
        OUTSIDE,
        "--port",
        "8443",
    ]
    with ExitStack() as stack:
        for words in ([*vcenter, *sizes], [*plane, "--instance-ports", f"{OUTSIDE}:9100-9119"]):
            log = stack.enter_context((directory / f"{words[0]}.log").open("wb"))
            process = subprocess.Popen(
                [sys.executable, "-m", *words, "--exit-with-stdin"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
            )
            stack.callback(process.wait)
            assert process.stdin is not None and process.stdout is not None
            stack.callback(process.stdin.close)
            assert process.stdout.readline(), (directory / f"{words[0]}.log").read_text()
        variables = _exported((lab / "environment").read_text())
        command = [
            "-m",
            "connector.cli.main",
            "control",
            "environment",
            "--state",
            str(state),
            "--endpoint",
            f"https://{OUTSIDE}:8443",
        ]
        variables |= _exported(subprocess.check_output([sys.executable, *command], text=True))
        variables["password"] = Path(variables["CONNECTOR_VCENTER_PASSWORD_FILE"]).read_text().strip()
        variables["code"] = (state / "activation-code").read_text().strip()
        yield variables


def _exported(text: str) -> dict[str, str]:
    words = [word for line in text.splitlines() for word in shlex.split(line)]
    return dict(word.split("=", 1) for word in words if "=" in word)


def _cd(directory: Path, outside: Mapping[str, str]) -> Path:
    """The CD that vCenter makes of the answers."""
    typed = {
        "host_name": "edge-9",
        "vcenter": outside["CONNECTOR_VCENTER_URL"],
        "thumbprint": outside["CONNECTOR_VCENTER_THUMBPRINT"],
        "user": outside["CONNECTOR_VCENTER_USER"],
        "vcenter_password": outside["password"],
        "control": outside["CONNECTOR_CONTROL_URL"],
        "control_thumbprint": outside["CONNECTOR_CONTROL_THUMBPRINT"],
        "activation_code": outside["code"],
    }
    properties = "".join(
        f"<Property oe:key={quoteattr(f'connector.{key}')} oe:value={quoteattr(value)}/>"
        for key, value in typed.items()
    )
    folder, cd = directory / "cd", directory / "cd.iso"
    folder.mkdir()
    (folder / "ovf-env.xml").write_text(_ENVIRONMENT.format(properties=properties))
    subprocess.run(["genisoimage", "-quiet", "-V", "OVF ENV", "-r", "-o", str(cd), str(folder)], check=True)
    return cd


@contextmanager
def _machine(directory: Path, image: Path, cd: Path | None, firmware: str) -> Iterator[Console]:
    """The image in a machine with VMware's devices, as QEMU has them; what it writes goes to an overlay."""
    overlay, place = directory / "overlay.qcow2", directory / "serial"
    subprocess.run(
        ["qemu-img", "create", "-q", "-f", "qcow2", "-b", str(image), "-F", "qcow2", str(overlay)], check=True
    )
    words: Sequence[str] = (
        *("qemu-system-x86_64", "-machine", "q35", "-cpu", "max", "-accel", "tcg", "-smp", "2", "-m", "1536"),
        *("-nodefaults", "-display", "none", "-no-reboot", "-device", "VGA"),
        *("-drive", f"if=none,id=system,file={overlay},format=qcow2,cache=unsafe"),
        # QEMU's EFI firmware knows no pvscsi, VMware's does.
        *(
            ("-device", "ide-hd,drive=system,bus=ide.0,bootindex=0")
            if firmware == "efi"
            else ("-device", "pvscsi", *_SCSI_DISK)
        ),
        *("-netdev", "user,id=net", "-device", "vmxnet3,netdev=net"),
        *(("-bios", "/usr/share/ovmf/OVMF.fd") if firmware == "efi" else ()),
        *("-chardev", f"socket,id=serial,path={place},server=on,wait=off", "-serial", "chardev:serial"),
        *(
            (
                "-drive",
                f"if=none,id=cd,media=cdrom,readonly=on,file={cd},format=raw",
                "-device",
                "ide-cd,drive=cd,bus=ide.1",
            )
            if cd
            else ()
        ),
    )
    with (directory / "qemu.log").open("wb") as log:
        process = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            while not place.exists():
                assert process.poll() is None, (directory / "qemu.log").read_text()
                time.sleep(0.1)
            yield Console(place, directory / "console.log")
        finally:
            process.kill()
            process.wait()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:])
