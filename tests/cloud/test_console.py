"""What consoles say, in the words of real guests, and what is made of it."""

from __future__ import annotations

import re
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.cloud.console import LONGEST, MOST, BootOutcome, Console

SYSTEMD = (
    b"[    0.000000] Linux version 6.1.0-38-amd64 (debian-kernel@lists.debian.org) (gcc-12)\r\n"
    b"[\x1b[0;32m  OK  \x1b[0m] Reached target \x1b[0;1;39mgetty.target\x1b[0m - Login Prompts.\r\n"
    b"[\x1b[0;1;31mFAILED\x1b[0m] Failed to start \x1b[0;1;39mnginx.service\x1b[0m - A web server.\r\n"
)
CONSOLES = {
    BootOutcome.LOGIN: (
        SYSTEMD + b"\r\nDebian GNU/Linux 12 web-01 ttyS0\r\n\r\nweb-01 login: ",
        b"\r\nRed Hat Enterprise Linux 9.4 (Plow)\r\nKernel 5.14.0 on an x86_64\r\n\r\ndb login: ",
    ),
    BootOutcome.PANIC: (
        b'[ 1.5] VFS: Cannot open root device "sda1" or unknown-block(0,0): error -6\n'
        b"[ 1.6] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)\n",
        b"[    2.0] Kernel panic - not syncing: Attempted to kill init! exitcode=0x00000100\n",
    ),
    BootOutcome.NO_ROOT: (
        b"Gave up waiting for root file system device.  Common problems:\n",
        b"ALERT!  /dev/sda1 does not exist.  Dropping to a shell!\nGave up waiting for root device.\n",
        b"mount: Invalid argument\nFailed to mount /dev/vda3 as root file system.\n",
    ),
    BootOutcome.EMERGENCY: (
        b"[\x1b[0;1;33mDEPEND\x1b[0m] Dependency failed for \x1b[0;1;39m/data\x1b[0m.\r\n"
        b'You are in emergency mode. After logging in, type "journalctl -xb" to view\r\n',
        b"\nCannot open access to console, the root account is locked.\nSee sulogin(8) man page\n",
        b"Warning: /dev/disk/by-uuid/1 does not exist\n\nEntering emergency mode. Exit the shell to continue.\n",
        b"BusyBox v1.35.0 (Debian 1:1.35.0-4+b5) built-in shell (ash)\n(initramfs) ",
    ),
    BootOutcome.BOOT_LOADER: (
        b"GRUB loading.\r\nWelcome to GRUB!\r\n\r\nerror: no such device: 11111111-2222.\r\ngrub rescue> ",
        b"   GNU GRUB  version 2.06\r\n\r\n   Minimal BASH-like line editing is supported.\r\n\r\ngrub> ",
    ),
    BootOutcome.NOT_BOOTABLE: (
        b"SeaBIOS (version 1.16.2)\r\n"
        b"Booting from Hard Disk...\r\nBoot failed: not a bootable disk\r\n\r\nNo bootable device.\r\n",
        b'BdsDxe: failed to load Boot0001 "UEFI Misc Device": Not Found\r\nBdsDxe: No bootable option or device was found.\r\n',
    ),
}
CASES = [(outcome, text) for outcome, texts in CONSOLES.items() for text in texts]


@pytest.mark.parametrize(("outcome", "text"), CASES)
def test_how_a_start_ended(outcome: BootOutcome, text: bytes) -> None:
    console = Console()
    console.feed(text)
    assert console.outcome is outcome


@given(st.sampled_from(CASES), st.lists(st.integers(0, 600), max_size=20))
def test_the_pieces_do_not_matter(case: tuple[BootOutcome, bytes], cuts: list[int]) -> None:
    outcome, text = case
    console = Console()
    places = sorted({0, len(text), *(min(cut, len(text)) for cut in cuts)})
    for start, end in pairwise(places):
        console.feed(text[start:end])
    assert console.outcome is outcome


def test_what_else_it_says() -> None:
    console = Console()
    console.feed(CONSOLES[BootOutcome.LOGIN][0])
    assert console.kernel == "6.1.0-38-amd64"
    assert console.host == "web-01"
    assert console.failed == ["Failed to start nginx.service - A web server."]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            CONSOLES[BootOutcome.PANIC][0],
            "Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)",
        ),
        (CONSOLES[BootOutcome.NO_ROOT][1], "ALERT!  /dev/sda1 does not exist.  Dropping to a shell!"),
        (CONSOLES[BootOutcome.BOOT_LOADER][0], "error: no such device: 11111111-2222."),
        (
            CONSOLES[BootOutcome.NOT_BOOTABLE][1],
            'BdsDxe: failed to load Boot0001 "UEFI Misc Device": Not Found',
        ),
    ],
)
def test_a_failure_has_a_reason(text: bytes, reason: str) -> None:
    console = Console()
    console.feed(text)
    assert console.reason == reason


def test_a_reason_that_comes_after_the_failure_is_heard() -> None:
    console = Console()
    console.feed(b"Gave up waiting for root file system device.  Common problems:\n - Boot args\n")
    console.feed(b"ALERT!  UUID=1-2 does not exist.  Dropping to a shell!\n")
    console.feed(b"ALERT!  something else does not exist.\n")
    assert console.outcome is BootOutcome.NO_ROOT
    assert console.reason == "ALERT!  UUID=1-2 does not exist.  Dropping to a shell!"


def test_the_first_final_sign_counts() -> None:
    console = Console()
    console.feed(b"Kernel panic - not syncing: x\nweb login: ")
    assert console.outcome is BootOutcome.PANIC


@pytest.mark.parametrize(
    "harmless",
    [
        b"[ 3.0] systemd[1]: Reached target Login Prompts.\n",
        b"Last login: Mon Nov 30 on tty1\n",
        b"error: file `/boot/grub/fonts/unicode.pf2' not found.\n",
        b"Starting Emergency Shell support...\n",
        b"the user said: login: please\n",
        b"you may now log in or login: ",
    ],
)
def test_what_only_looks_like_a_sign(harmless: bytes) -> None:
    console = Console()
    console.feed(harmless)
    assert console.outcome is None


def test_a_marker_is_waited_for_and_a_prompt_is_not_enough() -> None:
    console = Console(re.compile(r"^READY \d+$"))
    console.feed(b"web login: \r\n")
    assert console.outcome is None
    console.feed(b"READY 7")
    assert console.outcome is BootOutcome.MARKER


def test_a_failure_ends_the_wait_for_a_marker() -> None:
    console = Console(re.compile("READY"))
    console.feed(b"You are in emergency mode.")
    assert console.outcome is BootOutcome.EMERGENCY


@given(st.binary(max_size=3000))
def test_any_bytes_are_read(text: bytes) -> None:
    Console().feed(text)


@pytest.mark.parametrize(
    "part",
    [
        b"/dev/",
        b"UUID=",
        b"error: ",
        b"[FAILED] ",
        b"Timed out waiting for device",
        b"a",
        b" ",
        b"\x1b[",
        b"\x1b]",
    ],
)
def test_a_hostile_guest_gets_no_time(part: bytes) -> None:
    """A pattern that is quadratic takes longer than any test may."""
    console = Console()
    for _ in range(300):
        console.feed(part * (LONGEST // len(part)) + b"\n")
    assert console.outcome is None


def test_a_hostile_guest_gets_no_memory() -> None:
    console = Console()
    for _ in range(100):
        console.feed(b"x" * 65536)
    for number in range(1000):
        console.feed(b"\n[FAILED] Failed to start %d\n" % number)
    assert len(console._line) <= LONGEST
    assert len(console.failed) == MOST


@pytest.mark.parametrize(
    ("text", "only"),
    [
        (b"SeaBIOS (version 1.16.2)\r\n\r\nBooting from Hard Disk...\r\n", True),
        (b"Booting from Hard Disk...\r\n\r\n  \r\n", True),
        (b"Booting from Hard Disk...\r\nGRUB loading.\r\n", False),
        (b"hello", False),
    ],
)
def test_a_console_on_which_only_the_firmware_wrote(text: bytes, only: bool) -> None:
    console = Console()
    console.feed(text)
    assert console.firmware_only is only


def test_a_prompt_that_may_go_on_by_itself_is_no_end() -> None:
    """SYSLINUX asks, and starts its default when its timeout is over. It has stopped if nothing follows."""
    console = Console()
    console.feed(b"SYSLINUX 6.04 EDD Copyright (C) 1994-2015 H. Peter Anvin et al\r\nboot: ")
    assert (console.outcome, console.last_word) == (None, BootOutcome.BOOT_LOADER)
    console.feed(b"\r\n")
    assert console.last_word is BootOutcome.BOOT_LOADER
    console.feed(b"Loading vmlinuz... ok\r\n")
    assert (console.outcome, console.last_word) == (None, BootOutcome.SILENT)
    console.feed(SYSTEMD + b"\r\nalpine login: ")
    assert console.outcome is BootOutcome.LOGIN
