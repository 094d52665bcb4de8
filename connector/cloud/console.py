"""What a machine's serial console says about how its start ended. Pure: text in, an outcome out.

The signs are the words of SeaBIOS, OVMF, GRUB, SYSLINUX, the Linux kernel, initramfs-tools, dracut and systemd.
The first final sign counts.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final

LONGEST: Final = 4096  # bytes of a line; the rest of a longer one is left out
MOST: Final = 20  # details that are kept
_TERMINAL: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_c=>78])")


class BootOutcome(StrEnum):
    """How a start ended."""

    MARKER = "marker"  # it wrote what was waited for
    LOGIN = "login prompt"
    NETWORK = "asked for an address"  # it is up, but shows no prompt on its serial console
    NOT_BOOTABLE = "no bootable disk"
    BOOT_LOADER = "stopped in the boot loader"
    NO_ROOT = "root file system missing"
    PANIC = "kernel panic"
    EMERGENCY = "emergency mode"
    OFF = "switched itself off"
    SILENT = "no sign of life"  # neither success nor failure was seen in time

    @property
    def boots(self) -> bool:
        return self in (BootOutcome.MARKER, BootOutcome.LOGIN, BootOutcome.NETWORK)


#: Final signs. A prompt has no end of line, so each line is looked at while it grows.
SIGNS: Final[Mapping[BootOutcome, tuple[str, ...]]] = {
    BootOutcome.PANIC: (r"Kernel panic - not syncing",),
    BootOutcome.NO_ROOT: (
        r"Gave up waiting for root (?:file system )?device",
        r"Failed to mount \S+ as root file system",
        r"Cannot find root device",
        r"Unable to mount root fs",
        r"Timed out waiting for device.*(?:sysroot|root device)",
    ),
    BootOutcome.EMERGENCY: (
        r"You are in (?:emergency|rescue) mode",
        r"Entering emergency mode",
        r"Give root password for maintenance",
        r"Press Enter for (?:emergency|maintenance)",
        r"Cannot open access to console, the root account is locked",
        r"^\(initramfs\) *$",
        r"^dracut:/# *$",
    ),
    BootOutcome.BOOT_LOADER: (
        r"^grub rescue> *$",
        r"^grub> *$",
        r"^Entering rescue mode\.\.\.",
    ),
    BootOutcome.NOT_BOOTABLE: (
        r"^No bootable device",
        r"BdsDxe: No bootable option or device was found",
        r"^Shell> *$",
        r"^Missing operating system",
        r"^Operating System not found",
    ),
    BootOutcome.LOGIN: (r"^[A-Za-z0-9][A-Za-z0-9._-]* login: *$",),
}
_SIGNS: Final = {outcome: re.compile("|".join(patterns)) for outcome, patterns in SIGNS.items()}

#: What explains a failure: the last of these is shown with it. No pattern begins with a repetition: a guest chooses the text.
_REASONS: Final = re.compile(
    r"(?:Kernel panic - not syncing|ALERT! |error: |Failed to mount |mount: ).*"
    r"|BdsDxe: failed to (?!\w+ \w+ \"EFI Internal Shell\").*"
    r"|VFS: (?:Cannot open|Unable to mount).*"
    r"|(?:/dev/|UUID=)\S{1,200} does not exist|\S{1,40}: bad geometry.*"
)
_FAILED: Final = re.compile(r"\[(?:FAILED|DEPEND| ?TIME ?)\] +(.+)")
_FIRMWARE: Final = re.compile(r"Booting from (?:Hard Disk|\d{4}:\d{4})")  # SeaBIOS's last words
_BOOT_PROMPT: Final = re.compile(r"^boot: *$")  # of SYSLINUX, which goes on by itself if it has a timeout
_KERNEL: Final = re.compile(r"Linux version (\S+)")
_HOST: Final = re.compile(r"^(\S+) login: *$")


@dataclass(slots=True)
class Console:
    """Give what the console wrote to `feed`; `outcome` is set when it is known.

    `reason` explains a failure as far as the console does. `failed` are systemd's units that did not start.
    """

    marker: re.Pattern[str] | None = None
    outcome: BootOutcome | None = None
    kernel: str = ""
    host: str = ""
    reason: str = ""
    failed: list[str] = field(default_factory=list)
    firmware_only: bool = False  # the last line with text says that the firmware gave control to a disk
    boot_prompt: bool = False  # the last line with text is a prompt of a boot loader that may go on by itself
    _line: bytearray = field(default_factory=bytearray)

    @property
    def last_word(self) -> BootOutcome:
        """The outcome if nothing more is written."""
        return BootOutcome.BOOT_LOADER if self.boot_prompt else BootOutcome.SILENT

    def feed(self, data: bytes) -> None:
        """More bytes of the console, in any pieces."""
        *ended, rest = data.replace(b"\r", b"\n").split(b"\n")
        for piece in ended:
            self._line += piece
            self._look(complete=True)
            self._line.clear()
        self._line += rest[: max(LONGEST - len(self._line), 0)]
        if self._line:
            self._look(complete=False)

    def _look(self, *, complete: bool) -> None:
        text = _TERMINAL.sub("", bytes(self._line[:LONGEST]).decode(errors="replace")).replace("\0", "")
        if text.strip():
            self.firmware_only = _FIRMWARE.match(text) is not None
            self.boot_prompt = _BOOT_PROMPT.match(text) is not None
        if complete:
            self._learn(text.strip())
        if self.outcome is None and (outcome := self._judge(text)) is not None:
            if not outcome.boots:
                self._learn(text.strip())
            if outcome is BootOutcome.LOGIN and (prompt := _HOST.match(text)):
                self.host = prompt[1]
            self.outcome = outcome

    def _judge(self, text: str) -> BootOutcome | None:
        if self.marker is not None and self.marker.search(text):
            return BootOutcome.MARKER
        outcome = next((outcome for outcome, pattern in _SIGNS.items() if pattern.search(text)), None)
        return None if outcome is BootOutcome.LOGIN and self.marker is not None else outcome

    def _learn(self, text: str) -> None:
        if not self.kernel and (version := _KERNEL.search(text)):
            self.kernel = version[1]
        if (unit := _FAILED.search(text)) and len(self.failed) < MOST and unit[1] not in self.failed:
            self.failed.append(unit[1])
        if (reason := _REASONS.search(text)) and (self.outcome is None or not self.reason):
            self.reason = reason[0].strip()  # the last one before the end, or the first one after it
