"""Knows the drivers that a Linux guest needs on a target, and finds those in its initramfs and in its kernel."""

from __future__ import annotations

import io
import lzma
import re
import zlib
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, Final, Protocol

import zstandard

from connector.offline.window import UnreadableStructure

MOST: Final = 96 << 20  # bytes of an initramfs on the disk
_UNPACKED: Final = 512 << 20  # bytes of an unpacked initramfs, at most; only names are kept
_STEP: Final = 1 << 20
_LONGEST_NAME: Final = 4096
_ARCHIVES: Final = 16
_FILES: Final = 100_000  # of one archive
_ZEROS: Final = re.compile(rb"\0+")
_GZIP, _XZ, _ZSTD = b"\x1f\x8b", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"
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
    present = set()
    for name in names(image):
        leaf = name.rpartition("/")[2]
        if ".ko" in leaf:
            present.add(leaf.partition(".ko")[0].replace("-", "_"))
    return present


def built_in(config: str) -> set[str]:
    """The drivers of a target that a kernel has without its initramfs, by the kernel's configuration."""
    lines = {line.rstrip() for line in config.splitlines()}
    return {
        driver for drivers in DRIVERS.values() for driver, option in drivers.items() if f"{option}=y" in lines
    }


def names(image: bytes) -> Iterator[str]:
    """The names in every archive, plain or packed, one after the other. Raises UnreadableStructure."""
    plain, at = io.BytesIO(image), 0
    for _ in range(_ARCHIVES):
        padding = _ZEROS.match(image, at)
        at = padding.end() if padding else at
        if at == len(image):
            return
        if not _CPIO.match(image, at):
            at = yield from _packed(image, at)
            continue
        plain.seek(at)
        reader = _Reader(plain)
        yield from _archive(reader)
        at += reader.at
    raise UnreadableStructure(f"the initramfs has more than {_ARCHIVES} archives")


def _packed(image: bytes, at: int) -> Generator[str, None, int]:
    """The names in a packed archive, and where it ends in `image`."""
    stream = _unpacked(image[at:])
    if stream is None:
        raise UnreadableStructure("the initramfs has an unknown compression")
    reader = _Reader(stream)
    try:
        yield from _archive(reader)
        reader.skip_rest()
    except (zlib.error, lzma.LZMAError, zstandard.ZstdError, EOFError) as broken:
        raise UnreadableStructure(f"the initramfs is damaged ({type(broken).__name__})") from None
    return len(image) - len(stream.rest)


def _unpacked(data: bytes) -> _Unpacker | None:
    if data[:2] == _GZIP:
        return _Unpacker(data, _Gzip, _GZIP)
    if data[:6] == _XZ or data[:3] == b"\x5d\0\0":
        return _Unpacker(data, lambda: lzma.LZMADecompressor(memlimit=256 << 20), _XZ)
    if data[:4] == _ZSTD:
        return _Zstd(data)
    return None


class _Decompressor(Protocol):
    """What Python's decompressors have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def needs_input(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class _Gzip:
    """zlib's decompressor with the interface of lzma's."""

    def __init__(self) -> None:
        self._packer = zlib.decompressobj(31)
        self._waiting = b""

    @property
    def eof(self) -> bool:
        return self._packer.eof

    @property
    def needs_input(self) -> bool:
        return not self._waiting and not self._packer.eof

    @property
    def unused_data(self) -> bytes:
        return self._packer.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        piece = self._packer.decompress(self._waiting + data, max_length)
        self._waiting = self._packer.unconsumed_tail
        return piece


class _Unpacker:
    """Unpacks step by step while it is read, in bounded memory. Members that begin with `magic` follow one another.

    `rest`: what follows the last of them, once everything is read.
    """

    def __init__(self, data: bytes, start: Callable[[], _Decompressor], magic: bytes) -> None:
        self.rest, self._start, self._magic = data, start, magic
        self._packer, self._ready = start(), b""

    def read(self, size: int) -> bytes:
        while len(self._ready) < size and self._goes_on():
            packed, self.rest = (self.rest, b"") if self._packer.needs_input else (b"", self.rest)
            self._ready += self._packer.decompress(packed, _STEP)
            if self._packer.eof:
                self.rest = self._packer.unused_data
            elif self._packer.needs_input and not self.rest:
                break
        unpacked, self._ready = self._ready[:size], self._ready[size:]
        return unpacked

    def _goes_on(self) -> bool:
        if self._packer.eof and self.rest.startswith(self._magic):
            self._packer = self._start()
        return not self._packer.eof


class _Zstd(_Unpacker):
    """Frames of zstd. Their ends are known by their headers (RFC 8878), since the library does not say where it stopped."""

    def __init__(self, data: bytes) -> None:
        end = 0
        while data.startswith(_ZSTD, end):
            end = _end_of_frame(data, end)
        self.rest = data[end:]
        unpacker = zstandard.ZstdDecompressor(max_window_size=1 << 27)
        self._stream = unpacker.stream_reader(data[:end], read_across_frames=True)

    def read(self, size: int) -> bytes:
        return self._stream.read(size)


def _end_of_frame(data: bytes, at: int) -> int:
    """Where a frame of zstd ends."""
    flags = data[at + 4] if at + 4 < len(data) else 0
    single, checksum = bool(flags & 0x20), bool(flags & 4)
    content = (1 if single else 0, 2, 4, 8)[flags >> 6]
    at += 5 + (0 if single else 1) + (0, 1, 2, 4)[flags & 3] + content
    while at + 3 <= len(data):
        head = int.from_bytes(data[at : at + 3], "little")
        at += 3 + (1 if head >> 1 & 3 == 1 else head >> 3)  # a block of one repeated byte has one byte
        if head & 1:
            return at + (4 if checksum else 0)
    raise UnreadableStructure("the initramfs ends too early")


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

    def skip_rest(self) -> None:
        """Read to the end of the stream."""
        while data := self._stream.read(_STEP):
            self.at += len(data)
            if self.at > _UNPACKED:
                raise UnreadableStructure(f"the initramfs unpacks to more than {_UNPACKED >> 20} MiB")


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
