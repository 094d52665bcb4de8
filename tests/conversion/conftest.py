from __future__ import annotations

import shutil

import pytest

from connector.conversion import virtual_machine
from connector.errors import BadInput


@pytest.fixture
def qemu() -> None:
    """Skips where there is no QEMU."""
    try:
        virtual_machine.require_tools("efi")
    except BadInput as missing:
        pytest.skip(f"needs QEMU and its firmware (Debian: qemu-system-x86, ovmf): {missing}")
    assert shutil.which("qemu-img")
