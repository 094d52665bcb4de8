"""Disks whose first sector is a program of a few bytes: what it says on the serial port is the whole guest."""

from __future__ import annotations

from pathlib import Path

ORIGIN = 0x7C00
HALT = b"\xf4\xeb\xfd"  # hlt; jmp -3
POWER_OFF = b"\xba\x04\x06\xb8\x00\x20\xef"  # mov dx,0x604; mov ax,0x2000; out dx,ax: ACPI of the machine q35
FOREVER = b"\xb0x\xee\xeb\xfd"  # mov al,'x'; out dx,al; jmp -3


def saying(path: Path, text: bytes, after: bytes = HALT) -> Path:
    """A disk that writes `text` to the first serial port, then does `after`."""
    # cli, or the firmware adds to the text; cld; mov si,text; mov dx,0x3f8; lodsb; test al,al; jz +3; out dx,al; jmp -8
    code = b"\xfa\xfc\xbe%s\xba\xf8\x03\xac\x84\xc0\x74\x03\xee\xeb\xf8" + after
    place = ORIGIN + len(code) - 2 + 2
    sector = code.replace(b"%s", place.to_bytes(2, "little")) + text + b"\0"
    path.write_bytes(sector.ljust(510, b"\0") + b"\x55\xaa" + bytes(1 << 20))
    return path
