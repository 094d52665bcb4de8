"""A machine in QEMU that boots copies of disks: throw-away overlays, no way out of its network, and it dies with us.

Everything that a guest could reach is made for this one start and removed after it. QEMU runs in its own sandbox (seccomp),
without our secrets, and is killed by the kernel when this process ends.
"""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final

from connector import environment
from connector.cloud.machine_files import MachineDescription
from connector.errors import BadInput, TargetFailed
from connector.transfer.qemu_img import qemu_img

MIB: Final = 1 << 20
QEMU: Final = "qemu-system-x86_64"
_INSTALL: Final = "install the Debian packages qemu-system-x86, qemu-utils and ovmf"
_FIRMWARE: Final = (
    ("/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"),
    ("/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.fd", "/usr/share/edk2/ovmf/OVMF_VARS.fd"),
)
#: The same with the keys that signed boot loaders are checked with.
_SECURE_FIRMWARE: Final = (
    ("/usr/share/OVMF/OVMF_CODE_4M.ms.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"),
    ("/usr/share/OVMF/OVMF_CODE.ms.fd", "/usr/share/OVMF/OVMF_VARS.ms.fd"),
    ("/usr/share/edk2/ovmf/OVMF_CODE.secboot.fd", "/usr/share/edk2/ovmf/OVMF_VARS.secboot.fd"),
)
_PLATFORM: Final = ("-machine", "q35", "-cpu", "max")
#: Only the firmware may write its variables, in the processor's system management mode: a guest must not switch the checks off.
_SECURE_PLATFORM: Final = (
    *("-machine", "q35,smm=on", "-cpu", "max"),
    *("-global", "driver=cfi.pflash01,property=secure,value=on"),
    *("-global", "ICH9-LPC.disable_s3=1"),
)
_KVM, _KERNELS = Path("/dev/kvm"), Path("/boot")
#: Seconds in which each says its first word, if KVM works.
_FIRMWARE_TRIAL, _KERNEL_TRIAL = 5.0, 15.0
_SERIAL_PORT: Final = (0x3F8).to_bytes(2, "little")  # SeaBIOS: show the screen's text there too
_LEAST_MEMORY: Final = 512 * MIB
_MOST_MEMORY: Final = 4096 * MIB  # of a start, unless more is asked for
PATIENCE: Final = 30.0  # seconds for an answer of QEMU


@dataclass(frozen=True, slots=True)
class BootDisk:
    """A disk to boot a copy of. `format` is qemu-img's word. The file is only read."""

    path: Path
    format: str


@dataclass(frozen=True, slots=True)
class Hardware:
    """What the machine has. `memory` in bytes. The first disk is the one to start from; `macs`: one network card for each.

    `secure_boot`: with "efi", its firmware starts signed boot loaders only.
    """

    disks: tuple[BootDisk, ...]
    firmware: str = "bios"  # or "efi"
    memory: int = 1024 * MIB
    cpus: int = 1
    macs: tuple[str, ...] = ("52:54:00:12:34:56",)
    secure_boot: bool = False


def hardware_for(
    machine: MachineDescription, disks: tuple[BootDisk, ...], memory: int | None = None, cpus: int = 1
) -> Hardware:
    """The machine to start for an image. `memory`: bytes; None: as the source had, within bounds."""
    macs = tuple(card.mac for card in machine.cards) or Hardware(disks).macs
    size = memory or min(max(machine.memory, _LEAST_MEMORY), _MOST_MEMORY)
    secure_boot = machine.firmware == "efi" and machine.secure_boot
    return Hardware(disks, machine.firmware, size, cpus, macs, secure_boot)


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """The directory of one start, and the files that QEMU writes there."""

    directory: Path

    @property
    def console(self) -> Path:
        return self.directory / "console.log"

    @property
    def trace(self) -> Path:
        """The packets of the first network card, as pcap."""
        return self.directory / "network.pcap"


def require_tools(firmware: str, *, secure_boot: bool = False) -> None:
    """Raises BadInput when this computer lacks what a start needs."""
    missing = [tool for tool in (QEMU, "qemu-img", "setpriv") if shutil.which(tool) is None]
    if missing:
        raise BadInput(f"{', '.join(missing)} is not installed", on="boot check", remedy=_INSTALL)
    if firmware == "efi":
        _efi(secure_boot=secure_boot)


@cache
def accelerator() -> str:
    """QEMU's word for the fastest way that really works here, tried once in a process.

    A device for KVM proves nothing. Nor does a firmware that starts: nested KVM was seen that runs a firmware, but no Linux.
    """
    if not os.access(_KVM, os.R_OK | os.W_OK):
        return "tcg"
    with tempfile.TemporaryDirectory(prefix="connector-kvm-") as home:
        words = Path(home) / "firmware.log"
        device = ["-chardev", f"file,id=c,path={words}", "-device", "isa-debugcon,iobase=0x402,chardev=c"]
        if not _speaks(["-m", "64", *device], words, _FIRMWARE_TRIAL):
            return "tcg"
        kernel = _own_kernel()
        words = Path(home) / "kernel.log"
        start = ["-m", "256", "-kernel", str(kernel), "-append", "console=ttyS0 panic=-1", "-no-reboot"]
        if kernel is not None and not _speaks([*start, "-serial", f"file:{words}"], words, _KERNEL_TRIAL):
            return "tcg"
    return "kvm"


def _own_kernel() -> Path | None:
    """A Linux kernel of this computer that can be started on its own; None when none can be read."""
    kernels = sorted(path for path in _KERNELS.glob("vmlinuz*") if os.access(path, os.R_OK))
    return kernels[-1] if kernels else None


def _speaks(arguments: Sequence[str], words: Path, patience: float) -> bool:
    """Whether a machine with KVM writes anything to the file `words` within `patience` seconds."""
    order = [QEMU, *_PLATFORM, "-accel", "kvm", "-nodefaults", "-display", "none", *arguments]
    with _running(order, words.with_suffix(".qemu")) as process:
        end = time.monotonic() + patience
        while time.monotonic() < end and process.poll() is None:
            if words.exists() and words.stat().st_size:
                return True
            time.sleep(0.05)
    return words.exists() and words.stat().st_size > 0


@contextmanager
def started(hardware: Hardware, directory: Path, accel: str) -> Iterator[VirtualMachine]:
    """The machine runs inside the block, on overlays in `directory`, and is gone after it. Raises BadInput, TargetFailed."""
    files = RunDirectory(directory)
    ours, theirs = socket.socketpair()  # a path could be too long for a socket
    with ours, theirs:
        order = command(hardware, files, copies(hardware, files), accel)
        order += [
            "-chardev",
            f"socket,id=monitor,fd={theirs.fileno()}",
            "-mon",
            "chardev=monitor,mode=control",
        ]
        with _running(order, directory / "qemu.log", theirs.fileno()) as process:
            theirs.close()
            yield VirtualMachine(process, files, Monitor(ours))


def copies(hardware: Hardware, files: RunDirectory) -> list[Path]:
    """An overlay for each disk. Nothing is ever written to the disks. Raises TargetFailed."""
    return [
        overlay(disk, files.directory / f"disk-{place}.qcow2") for place, disk in enumerate(hardware.disks)
    ]


def command(hardware: Hardware, files: RunDirectory, overlays: Sequence[Path], accel: str) -> list[str]:
    """QEMU's arguments. `overlays`: one for each disk, in their order."""
    platform = _SECURE_PLATFORM if hardware.secure_boot else _PLATFORM
    order = [QEMU, "-name", "boot-check", *platform, "-accel", accel]
    order += [
        "-m",
        f"{max(hardware.memory // MIB, 128)}M",
        "-smp",
        str(hardware.cpus),
        "-nodefaults",
        "-no-user-config",
    ]
    order += ["-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny"]
    order += ["-display", "none", "-vga", "std", "-device", "virtio-rng-pci"]
    order += ["-serial", f"file:{files.console}"]
    for place, overlay in enumerate(overlays):
        order += [
            "-drive",
            f"if=none,id=disk{place},file={_escaped(overlay)},format=qcow2,cache=unsafe,discard=unmap",
        ]
        order += ["-device", f"virtio-blk-pci,drive=disk{place},bootindex={place + 1}"]
    for place, mac in enumerate(hardware.macs):
        order += [
            "-netdev",
            f"user,id=net{place},restrict=on",
            "-device",
            f"virtio-net-pci,netdev=net{place},mac={mac},romfile=",
        ]
    if hardware.macs:
        order += ["-object", f"filter-dump,id=trace,netdev=net0,file={_escaped(files.trace)}"]
    return order + _firmware(hardware, files)


class VirtualMachine:
    """A machine that was started. One thread at a time."""

    def __init__(self, process: subprocess.Popen[bytes], files: RunDirectory, monitor: Monitor) -> None:
        self._process, self.files, self._monitor = process, files, monitor

    @property
    def runs(self) -> bool:
        return self._process.poll() is None

    def screenshot(self, path: Path) -> bool:
        """Write what the screen shows, as PNG. False when QEMU gives none."""
        with suppress(TargetFailed):
            self._monitor.ask("screendump", filename=str(path), format="png")
            return path.exists() and path.stat().st_size > 0
        return False

    def why_not_started(self) -> str:
        """Why QEMU did not start, by the last line that it wrote."""
        log = self.files.directory / "qemu.log"
        lines = log.read_text(errors="replace").strip().splitlines() if log.exists() else []
        return f"QEMU did not start ({lines[-1][:300] if lines else 'it said nothing'})"


class Monitor:
    """A connection to QEMU's monitor. Protocol: QMP, lines of JSON."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self._socket.settimeout(PATIENCE)
        self._pending = b""
        self._ready = False

    def ask(self, name: str, **arguments: object) -> object:
        """The answer to a command. Raises TargetFailed."""
        if not self._ready:
            self._ready = True
            self.ask("qmp_capabilities")
        order: Mapping[str, object] = {"execute": name, "arguments": arguments}
        try:
            self._socket.sendall(json.dumps(order).encode() + b"\n")
            while True:
                answer = json.loads(self._line())
                if "error" in answer:
                    raise _broken(f"{name}: {answer['error'].get('desc')}")
                if "return" in answer:  # what has neither is an event, or the greeting
                    return answer["return"]
        except (OSError, ValueError) as error:
            raise _broken(f"{name}: {error}") from error

    def _line(self) -> bytes:
        while b"\n" not in self._pending:
            piece = self._socket.recv(65536)
            if not piece or len(self._pending) > MIB:
                raise _broken("it ended")
            self._pending += piece
        line, _, self._pending = self._pending.partition(b"\n")
        return line


def _broken(why: str) -> TargetFailed:
    return TargetFailed(
        f"QEMU's monitor failed ({why})", on="boot check", remedy="run the same command again"
    )


@contextmanager
def _running(order: Sequence[str], log: Path, *inherited: int) -> Iterator[subprocess.Popen[bytes]]:
    with open(log, "wb") as out:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "KILL", *order],
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            env=environment.without_secrets(),
            pass_fds=inherited,
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def other_files(disk: BootDisk) -> list[str]:
    """The other files that an image reads (a backing file, parts, an external data file), as it names them.

    Raises TargetFailed when qemu-img cannot read the image in its format.
    """
    if disk.format == "raw":
        return []
    answer = json.loads(_qemu_img("info", "--output=json", "-f", disk.format, str(disk.path), on=disk.path))
    extents = answer.get("format-specific", {}).get("data", {})
    parts = [row.get("filename", "") for row in extents.get("extents", ())]
    named = [answer.get("backing-filename", ""), extents.get("data-file", ""), *parts]
    home, own = disk.path.parent, disk.path.resolve()
    return [name for name in named if name and (home / name).resolve() != own]


def overlay(disk: BootDisk, path: Path) -> Path:
    """A new overlay of a disk, whose bytes it shows until something is written. Raises TargetFailed."""
    base = str(disk.path.resolve())
    _qemu_img("create", "-q", "-f", "qcow2", "-F", disk.format, "-b", base, str(path), on=disk.path)
    return path


def _qemu_img(*words: str, on: Path) -> str:
    answer = qemu_img(*words)
    if answer.trouble:
        raise TargetFailed(
            f"no copy could be made ({answer.trouble})",
            on=str(on),
            remedy="check that it is a whole image, and the free space of the temporary directory",
        )
    return answer.text


def _firmware(hardware: Hardware, files: RunDirectory) -> list[str]:
    if hardware.firmware != "efi":
        port = files.directory / "serial-port"
        port.write_bytes(_SERIAL_PORT)
        return ["-fw_cfg", f"name=etc/sercon-port,file={_escaped(port)}"]
    code, variables = _efi(secure_boot=hardware.secure_boot)
    own = files.directory / "variables.fd"
    shutil.copyfile(variables, own)
    return [
        *("-drive", f"if=pflash,format=raw,readonly=on,file={code}"),
        *("-drive", f"if=pflash,format=raw,file={_escaped(own)}"),
    ]


def _efi(*, secure_boot: bool) -> tuple[str, str]:
    """The files of a firmware for EFI. Raises BadInput."""
    for code, variables in _SECURE_FIRMWARE if secure_boot else _FIRMWARE:
        if Path(code).exists() and Path(variables).exists():
            return code, variables
    what = "EFI with secure boot" if secure_boot else "EFI"
    raise BadInput(f"no firmware for {what} is installed", on="boot check", remedy=_INSTALL)


def _escaped(path: Path) -> str:
    """A path inside an option of QEMU, where commas separate."""
    return str(path).replace(",", ",,")
