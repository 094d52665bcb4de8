"""Starts a copy of an image's disks in QEMU and reports how far it came. The image is only read.

The machine has no way out: its network ends in QEMU. It counts as booted when its serial console shows a login prompt (or a
marker), or, for guests without a serial console, when it asked its network for an address and no failure was seen afterwards.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from threading import Event
from typing import Final

from connector import files
from connector.cloud.console import BootOutcome, Console
from connector.conversion import network_trace
from connector.conversion.virtual_machine import (
    Hardware,
    VirtualMachine,
    accelerator,
    require_tools,
    started,
)
from connector.errors import BootFailed, Interrupted, TargetFailed

PATIENCE: Final = 600.0  # seconds until a machine that shows nothing counts as silent
PROMPT: Final = 60.0  # further seconds for a login prompt, after the machine has asked for an address
EVERY: Final = 30.0  # seconds between two lines about a start that goes on
_PACE: Final = 0.2
_REASON: Final = 5.0  # further seconds for a reason, after a failure
_MOST_OUTPUT: Final = 256 << 20  # bytes that a guest may write to its console, or send, before it is stopped
_LARGEST_LOG: Final = 4 << 20  # bytes of the console that are kept
_LARGEST_TRACE: Final = 16 << 20
_PREFIX: Final = "connector-boot-"


@dataclass(frozen=True, slots=True)
class BootReport:
    """How a start ended. `seconds` until then; `reason`: what the console says of a failure; `failed`: units that did not start.

    `console` and `screen` are the files that were kept, if any. They may hold what the guest shows to its users.
    """

    outcome: BootOutcome
    seconds: float
    accelerator: str
    secure_boot: bool = False
    kernel: str = ""
    host: str = ""
    address: str = ""
    reason: str = ""
    failed: tuple[str, ...] = ()
    console: Path | None = None
    screen: Path | None = None

    @property
    def boots(self) -> bool:
        return self.outcome.boots

    def to_json(self) -> dict[str, object]:
        return {
            "boots": self.boots,
            "outcome": str(self.outcome),
            "seconds": round(self.seconds, 1),
            "accelerator": self.accelerator,
            "secure_boot": self.secure_boot,
            "kernel": self.kernel,
            "host": self.host,
            "address": self.address,
            "reason": self.reason,
            "failed_units": list(self.failed),
            "console": str(self.console) if self.console else None,
            "screen": str(self.screen) if self.screen else None,
        }


#: Linux tries its timer for a few hundredths of a second (check_timer in its io_apic.c), and panics without it.
_NO_TIMER: Final = "IO-APIC + timer doesn't work"
_MORE_STARTS: Final = 2  # after one whose timer stood still


def boot_check(
    hardware: Hardware,
    *,
    keep: Path | None = None,
    marker: re.Pattern[str] | None = None,
    patience: float = PATIENCE,
    halt: Event | None = None,
    say: Callable[[str], None] = lambda _line: None,
    every: float = EVERY,
) -> BootReport:
    """Start a copy and watch it. `keep`: a directory for console log, screenshot and report. `marker`: wait for this line instead
    of a login prompt. `patience`: seconds for each start; a machine that shows nothing with KVM is started once more without it.
    `say` gets a line each time another `every` seconds have passed.

    Raises BadInput without the tools, TargetFailed when QEMU fails, BootFailed when the guest writes without end, and
    Interrupted after `halt`.
    """
    require_tools(hardware.firmware, secure_boot=hardware.secure_boot)
    halt = halt or Event()

    def start(accel: str) -> BootReport:
        with scratch_directory() as directory, started(hardware, directory, accel) as machine:
            report = _Watch(
                machine, hardware, Console(marker), accel, patience, halt, _Progress(say, every)
            ).run()
            return report if keep is None else _kept(report, machine, keep)

    if accelerator() == "kvm":
        with suppress(TargetFailed):  # QEMU failed, and maybe only with KVM
            report = start("kvm")
            if report.outcome not in (BootOutcome.SILENT, BootOutcome.OFF):
                return report
    report = start("tcg")  # a KVM that shows nothing may be at fault itself
    for _ in range(_MORE_STARTS):
        if not _is_starved(report):
            break
        say("this computer was too busy to keep the emulated machine's timer: it is started again")
        report = start("tcg")
    return report


def _is_starved(report: BootReport) -> bool:
    """Whether Linux gave up because its timer stood still while it was tried. An emulator that gets no processor does that."""
    return report.outcome is BootOutcome.PANIC and _NO_TIMER in report.reason


@dataclass(frozen=True, slots=True)
class _Progress:
    """Says how long a start has taken, each time another `every` seconds have passed."""

    say: Callable[[str], None]
    every: float

    def after(self, passed: float, line: Callable[[], str], *, lines_before: int) -> int:
        """Say the line if it is due; answer how many lines were due so far."""
        due = int(passed / self.every)
        if due > lines_before:
            self.say(line())
        return due


class _Watch:
    """Follows one start until its outcome is known."""

    def __init__(
        self,
        machine: VirtualMachine,
        hardware: Hardware,
        console: Console,
        accel: str,
        patience: float,
        halt: Event,
        progress: _Progress,
    ) -> None:
        self._machine, self._hardware, self._console = machine, hardware, console
        self._accel, self._patience, self._halt = accel, patience, halt
        self._progress = progress
        self._read = 0
        self._network: network_trace.Sign | None = None

    def run(self) -> BootReport:
        began = time.monotonic()
        deadline = began + self._patience
        lines = 0
        while True:
            passed = time.monotonic() - began
            lines = self._progress.after(
                passed, partial(self._waits, passed, deadline - began), lines_before=lines
            )
            ran = self._machine.runs
            self._bound_output()
            self._follow_console()
            if self._network is None and (sign := self._network_sign()) is not None:
                self._network = sign
                if self._console.marker is None:  # a marker is waited for as long as the caller says
                    deadline = min(deadline, time.monotonic() + PROMPT)
            outcome = self._console.outcome or self._without_console(ran, time.monotonic() >= deadline)
            if outcome is not None:
                took = time.monotonic() - began
                self._hear_why(outcome)
                return self._report(outcome, took)
            if self._halt.wait(_PACE):
                raise Interrupted("the boot check was stopped", remedy="run the same command again")

    def _waits(self, passed: float, most: float) -> str:
        """What is awaited, how long, and why it may be slow."""
        awaited = (
            f"a line like {self._console.marker.pattern!r}" if self._console.marker else "a login prompt"
        )
        slow = "emulated: without KVM a start takes minutes" if self._accel == "tcg" else "with KVM"
        return f"{passed:.0f} of at most {most:.0f} s: waiting for {awaited} on the serial console ({slow})"

    def _bound_output(self) -> None:
        """A guest that writes without end must not fill this computer's disk."""
        for path in (self._machine.files.console, self._machine.files.trace):
            if path.exists() and path.stat().st_size > _MOST_OUTPUT:
                raise BootFailed(
                    f"the guest wrote more than {_MOST_OUTPUT} bytes to {path.name}",
                    on="boot check",
                    remedy="start it with `connector machine run` and see what it writes",
                )

    def _hear_why(self, outcome: BootOutcome) -> None:
        """Some guests say why only after they have said that they failed."""
        end = time.monotonic() + _REASON
        while (
            not outcome.boots and not self._console.reason and time.monotonic() < end and self._machine.runs
        ):
            self._halt.wait(_PACE)
            self._follow_console()

    def _without_console(self, ran: bool, late: bool) -> BootOutcome | None:
        if not ran:
            if not self._read:
                raise TargetFailed(
                    self._machine.why_not_started(), on="boot check", remedy="see the message of QEMU"
                )
            return BootOutcome.OFF
        if late:
            waits_for_address = self._console.marker is None and self._network is not None
            return BootOutcome.NETWORK if waits_for_address else self._console.last_word
        return None

    def _follow_console(self) -> None:
        path = self._machine.files.console
        if not path.exists():
            return
        with open(path, "rb") as file:
            file.seek(self._read)
            data = file.read(_LARGEST_LOG)  # not to its end: a guest may write faster than this reads
            self._read += len(data)
            self._console.feed(data)

    def _network_sign(self) -> network_trace.Sign | None:
        path = self._machine.files.trace
        if not self._hardware.macs or not path.exists():
            return None
        with open(path, "rb") as file:
            return network_trace.last_sign(file.read(_LARGEST_TRACE), self._hardware.macs[0])

    def _report(self, outcome: BootOutcome, seconds: float) -> BootReport:
        console = self._console
        sign = self._network_sign() or network_trace.Sign()
        return BootReport(
            outcome,
            seconds,
            self._accel,
            self._hardware.secure_boot,
            kernel=console.kernel,
            host=console.host or sign.host,
            address=sign.address,
            reason=""
            if outcome.boots
            else console.reason or "".join(console.failed[:1]) or _of_firmware(console, outcome),
            failed=tuple(console.failed),
        )


def _of_firmware(console: Console, outcome: BootOutcome) -> str:
    """A likely reason if only the firmware wrote: its last line says that it gave control to the disk."""
    silent = outcome is BootOutcome.SILENT and console.firmware_only
    return "the firmware started the disk, and nothing on it wrote: it may hold no system" if silent else ""


def _kept(report: BootReport, machine: VirtualMachine, keep: Path) -> BootReport:
    """The report, with the console log and a screenshot in `keep`. Readable by their owner only: guests show secrets."""
    keep.mkdir(parents=True, exist_ok=True, mode=0o700)
    console, screen = keep / "console.log", keep / "screen.png"
    shot = machine.files.directory / "screen.png"
    has_screen = machine.runs and machine.screenshot(shot)
    if has_screen:
        files.replace(screen, shot.read_bytes())
    with open(machine.files.console, "rb") as log:
        log.seek(max(machine.files.console.stat().st_size - _LARGEST_LOG, 0))
        files.replace(console, log.read(_LARGEST_LOG))
    report = replace(report, console=console, screen=screen if has_screen else None)
    files.replace(keep / "report.json", (json.dumps(report.to_json(), indent=2) + "\n").encode())
    return report


@contextmanager
def scratch_directory(home: Path | None = None, prefix: str = _PREFIX) -> Iterator[Path]:
    """A directory for one start. Those of starts that were killed are removed first: nobody holds their lock any more.

    `home`: where it is made; None: in the temporary directory.
    It is made and locked while the directory above it is locked, so that nobody takes a new one for an abandoned one.
    """
    home = home or Path(tempfile.gettempdir())
    with _locked(home):
        for old in home.glob(f"{prefix}*"):
            if _is_abandoned(old):
                shutil.rmtree(old, ignore_errors=True)
        directory = Path(tempfile.mkdtemp(prefix=prefix, dir=home))
        lock = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
        fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
        os.close(lock)


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    lock = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield
    finally:
        os.close(lock)


def _is_abandoned(directory: Path) -> bool:
    """Whether it is ours, and no start uses it. The caller holds the lock of the directory above it."""
    try:
        lock = os.open(directory, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        if os.fstat(lock).st_uid != os.geteuid():
            return False
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(lock)
    return True
