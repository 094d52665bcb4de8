"""Whether KVM really works here is tried, not believed. A stand-in for QEMU says what a firmware and a kernel say."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from connector.conversion import virtual_machine

QEMU = """#!/bin/sh
file=; kernel=
for word; do
    case "$word" in
        file,id=c,path=*) file="${word#file,id=c,path=}" ;;
        file:*) file="${word#file:}" ;;
        -kernel) kernel=1 ;;
    esac
done
if [ "$kernel" ]; then says="$KERNEL_SAYS"; else says="$FIRMWARE_SAYS"; fi
printf '%s' "$says" > "$file"
[ "$says" ] && exec sleep 60
"""


@pytest.fixture
def computer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with KVM's device, a kernel, and the stand-in as QEMU."""
    (tmp_path / "kvm").touch()
    (tmp_path / "vmlinuz-6.1").touch()
    (tmp_path / "bin").mkdir()
    qemu = tmp_path / "bin" / virtual_machine.QEMU
    qemu.write_text(QEMU)
    qemu.chmod(0o755)
    monkeypatch.setenv("PATH", f"{qemu.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(virtual_machine, "_KVM", tmp_path / "kvm")
    monkeypatch.setattr(virtual_machine, "_KERNELS", tmp_path)
    return tmp_path


def tried() -> str:
    return virtual_machine.accelerator.__wrapped__()


@pytest.mark.parametrize(
    ("firmware", "kernel", "expected"),
    [("SeaBIOS", "Linux version", "kvm"), ("SeaBIOS", "", "tcg"), ("", "Linux version", "tcg")],
)
def test_kvm_is_used_when_a_kernel_starts_with_it(
    computer: Path, monkeypatch: pytest.MonkeyPatch, firmware: str, kernel: str, expected: str
) -> None:
    monkeypatch.setenv("FIRMWARE_SAYS", firmware)
    monkeypatch.setenv("KERNEL_SAYS", kernel)
    assert tried() == expected


def test_a_kernel_that_stays_silent_is_not_waited_for_without_end(
    computer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(virtual_machine, "_KERNEL_TRIAL", 0.2)
    qemu = computer / "bin" / virtual_machine.QEMU
    qemu.write_text(QEMU.replace('[ "$says" ] && exec', "exec"))
    monkeypatch.setenv("FIRMWARE_SAYS", "SeaBIOS")
    assert tried() == "tcg"


def test_without_a_kernel_to_try_the_firmware_is_believed(
    computer: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (computer / "vmlinuz-6.1").unlink()
    monkeypatch.setenv("FIRMWARE_SAYS", "SeaBIOS")
    assert tried() == "kvm"


def test_without_the_device_nothing_is_tried(computer: Path) -> None:
    (computer / "kvm").unlink()
    assert tried() == "tcg"
