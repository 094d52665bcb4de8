"""Knows the drivers that a Linux guest needs on a target, and finds those in its initramfs and in its kernel."""

from __future__ import annotations

import gzip
import io
import lzma
import re
import zlib
from collections.abc import Iterator, Mapping
from typing import Any, Final

import zstandard

from connector.offline.window import UnreadableStructure

MOST: Final = 96 << 20  # bytes of an initramfs on the disk
_UNPACKED: Final = 512 << 20  # bytes of an unpacked initramfs, at most; only names are kept
_STEP: Final = 1 << 20
_LONGEST_NAME: Final = 4096
_ARCHIVES: Final = 16
_FILES: Final = 100_000  # of one archive
_ZEROS: Final = re.compile(rb"\0+")
_CPIO: Final = re.compile(rb"07070[12][0-9a-fA-F]{104}")

#: Drivers for the disks and network cards of a target, and how a kernel's configuration calls each. One of each is enough.
DRIVERS: Final[Mapping[str, Mapping[str, str]]] = {
    "disk": {
        "virtio_blk": "CONFIG_VIRTIO_BLK",
        "virtio_scsi": "CONFIG_SCSI_VIRTIO",
        "nvme": "CONFIG_BLK_DEV_NVME",
    },
    "network": {"virtio_net": "CONFIG_VIRTIO_NET"},
}


def modules(image: bytes) -> set[str]:
    """The kernel modules in an initramfs, with _ for -. Raises UnreadableStructure when its format is unknown."""
    names = set()
    for name in _names(image):
        leaf = name.rpartition("/")[2]
        if ".ko" in leaf:
            names.add(leaf.partition(".ko")[0].replace("-", "_"))
    return names


def built_in(config: str) -> set[str]:
    """The drivers of a target that a kernel has without its initramfs, by the kernel's configuration."""
    lines = {line.rstrip() for line in config.splitlines()}
    return {
        driver for drivers in DRIVERS.values() for driver, option in drivers.items() if f"{option}=y" in lines
    }


def _names(image: bytes) -> Iterator[str]:
    """The names in every archive: first plain archives with microcode, then a packed archive."""
    plain, at = io.BytesIO(image), 0
    for _ in range(_ARCHIVES):
        padding = _ZEROS.match(image, at)
        at = padding.end() if padding else at
        if at == len(image):
            return
        if not _CPIO.match(image, at):
            yield from _packed(image[at:])
            return
        plain.seek(at)
        reader = _Reader(plain)
        yield from _archive(reader)
        at += reader.at
    raise UnreadableStructure(f"the initramfs has more than {_ARCHIVES} archives")


def _packed(data: bytes) -> Iterator[str]:
    stream = _unpacked(data)
    if stream is None:
        raise UnreadableStructure("the initramfs has an unknown compression")
    try:
        yield from _archive(_Reader(stream))
    except (zlib.error, gzip.BadGzipFile, lzma.LZMAError, zstandard.ZstdError, EOFError) as broken:
        raise UnreadableStructure(f"the initramfs is damaged ({type(broken).__name__})") from None


def _unpacked(data: bytes) -> Any:
    if data[:2] == b"\x1f\x8b":
        return gzip.GzipFile(fileobj=io.BytesIO(data))
    if data[:6] == b"\xfd7zXZ\0" or data[:3] == b"\x5d\0\0":
        return _Lzma(data)
    if data[:4] == b"\x28\xb5\x2f\xfd":
        return zstandard.ZstdDecompressor(max_window_size=1 << 27).stream_reader(
            data, read_across_frames=True
        )
    return None


class _Lzma(io.RawIOBase):
    """Unpacks step by step while it is read, with a limit of memory that `lzma.LZMAFile` does not have."""

    def __init__(self, data: bytes) -> None:
        self._data, self._packer, self._ready = data, lzma.LZMADecompressor(memlimit=256 << 20), b""

    def read(self, size: int = -1) -> bytes:
        while len(self._ready) < size and not self._packer.eof:
            packed, self._data = (self._data, b"") if self._packer.needs_input else (b"", self._data)
            piece = self._packer.decompress(packed, _STEP)
            if not piece and self._packer.needs_input and not self._data:
                break
            self._ready += piece
        unpacked, self._ready = self._ready[:size], self._ready[size:]
        return unpacked


class _Reader:
    """Counts the bytes read, and raises UnreadableStructure beyond the limit."""

    def __init__(self, stream: Any) -> None:
        self._stream, self.at = stream, 0

    def take(self, length: int) -> bytes:
        if self.at + length > _UNPACKED:
            raise UnreadableStructure(f"the initramfs unpacks to more than {_UNPACKED >> 20} MiB")
        data: bytes = self._stream.read(length)
        self.at += len(data)
        if len(data) < length:
            raise UnreadableStructure("the initramfs ends too early")
        return data

    def skip(self, length: int) -> None:
        while length > 0:
            length -= len(self.take(min(length, _STEP)))


def _archive(reader: _Reader) -> Iterator[str]:
    """The names in one cpio archive (newc), up to its trailer."""
    for _ in range(_FILES):
        head = reader.take(110)
        if not _CPIO.fullmatch(head):
            raise UnreadableStructure("the initramfs is no cpio archive")
        size, length = int(head[54:62], 16), int(head[94:102], 16)
        if length > _LONGEST_NAME:
            raise UnreadableStructure("the initramfs has a name that is too long")
        name = reader.take(length).rstrip(b"\0").decode("utf-8", "replace")
        reader.skip(-(110 + length) % 4)
        if name == "TRAILER!!!":
            return
        reader.skip(size + -size % 4)
        yield name
    raise UnreadableStructure(f"the initramfs has more than {_FILES} files")
