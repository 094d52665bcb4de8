"""Reads files of an ext2, ext3 or ext4 at rest. Layout: the kernel's Documentation/filesystems/ext4.

The journal is not replayed: of a guest that runs, the newest metadata may be missing. Every count is bounded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from connector.offline.window import Bytes, Unreadable

ROOT: Final = 2
_EXTENTS: Final = 0x80000  # inode flag
_INLINE: Final = 0x10000000
_DEPTH: Final = 5
_LINKS: Final = 8
_MOST_ENTRIES: Final = 20_000
_LONGEST_PATH: Final = 4096
_DEEPEST: Final = 32
_DIRECTORY, _FILE, _LINK = 0x4000, 0x8000, 0xA000


@dataclass(frozen=True, slots=True)
class Inode:
    """What of an inode is used here. `flags` are those of chattr."""

    mode: int
    size: int
    flags: int
    block: bytes  # 60 bytes: extents, block numbers, or a short link's target

    @property
    def kind(self) -> int:
        return self.mode & 0xF000


class Ext4:
    """One file system. Every method raises Unreadable for what is not as it must be, or not there."""

    def __init__(self, volume: Bytes) -> None:
        self._volume = volume
        sb = volume.read(1024, 1024)
        if sb[56:58] != b"\x53\xef":
            raise Unreadable("there is no ext4 superblock")
        (log,) = struct.unpack_from("<I", sb, 24)
        if log > 6:
            raise Unreadable("the ext4 superblock makes no sense")
        self.block = 1024 << log
        self._incompatible = struct.unpack_from("<I", sb, 96)[0]
        self._inodes, self._per_group = (struct.unpack_from("<I", sb, at)[0] for at in (0, 40))
        self.blocks = struct.unpack_from("<I", sb, 4)[0] | (
            self._wide and struct.unpack_from("<I", sb, 0x150)[0] << 32
        )
        self.free = struct.unpack_from("<I", sb, 12)[0] | (
            self._wide and struct.unpack_from("<I", sb, 0x158)[0] << 32
        )
        self.free_inodes = struct.unpack_from("<I", sb, 16)[0]
        self.inodes = self._inodes
        self._first = struct.unpack_from("<I", sb, 20)[0]
        revision = struct.unpack_from("<I", sb, 76)[0]
        self._inode = struct.unpack_from("<H", sb, 88)[0] if revision else 128
        self._descriptor = struct.unpack_from("<H", sb, 254)[0] if self._wide else 32
        if not (128 <= self._inode <= 4096 and 32 <= self._descriptor <= 1024 and self._per_group):
            raise Unreadable("the ext4 superblock makes no sense")

    @property
    def _wide(self) -> int:
        return int(self._incompatible & 0x80)  # 64 bit

    def read(self, path: str, most: int = 1 << 20) -> bytes:
        """The first `most` bytes of a file; links are followed."""
        inode = self.find(path)
        if inode.kind != _FILE:
            raise Unreadable(f"{path} is no file")
        return self._content(inode, most)

    def names(self, path: str) -> list[str]:
        """What is in a directory."""
        inode = self.find(path)
        if inode.kind != _DIRECTORY:
            raise Unreadable(f"{path} is no directory")
        return [name for name, _ in self._entries(inode) if name not in (".", "..")]

    def find(self, path: str, links: int = _LINKS) -> Inode:
        """Follows links, within this file system."""
        words = [word for word in path.split("/") if word not in ("", ".")]
        if len(words) > _DEEPEST:
            raise Unreadable("a path is deeper than is looked at")
        inode = self.inode(ROOT)
        for place, word in enumerate(words):
            number = next((number for name, number in self._entries(inode) if name == word), 0)
            if not number:
                raise Unreadable(f"there is no {path}")
            inode = self.inode(number)
            if inode.kind == _LINK:
                if not links:
                    raise Unreadable(f"{path} has too many links")
                target = self._target(inode)
                base = [] if target.startswith("/") else words[:place]
                return self.find("/".join([*base, target, *words[place + 1 :]]), links - 1)
        return inode

    def inode(self, number: int) -> Inode:
        """One inode by its number."""
        if not 0 < number <= self._inodes:
            raise Unreadable("a directory names an inode that does not exist")
        group, index = divmod(number - 1, self._per_group)
        at = (self._first + 1) * self.block + group * self._descriptor
        descriptor = self._volume.read(at, self._descriptor)
        table = struct.unpack_from("<I", descriptor, 8)[0]
        if self._descriptor >= 64:
            table |= struct.unpack_from("<I", descriptor, 40)[0] << 32
        raw = self._volume.read(table * self.block + index * self._inode, 128)
        mode, size, high = (struct.unpack_from(f, raw, o)[0] for f, o in (("<H", 0), ("<I", 4), ("<I", 108)))
        return Inode(mode, size | high << 32, struct.unpack_from("<I", raw, 32)[0], raw[40:100])

    def _target(self, inode: Inode) -> str:
        raw = inode.block[: inode.size] if inode.size < 60 else self._content(inode, _LONGEST_PATH)
        return raw.decode("utf-8", "replace").partition("\0")[0]

    def _entries(self, inode: Inode) -> Iterator[tuple[str, int]]:
        """Names and inode numbers; an indexed directory reads as a plain one."""
        if inode.kind != _DIRECTORY:
            raise Unreadable("a path leads through something that is no directory")
        seen = 0
        for block in self._blocks(inode, min(inode.size, _MOST_ENTRIES * 300)):
            at = 0
            while at + 8 <= len(block):
                number, length, name_length = struct.unpack_from("<IHB", block, at)
                seen += 1
                if length < 8 or seen > _MOST_ENTRIES:
                    return
                if number and at + 8 + name_length <= len(block):
                    yield block[at + 8 : at + 8 + name_length].decode("utf-8", "replace"), number
                at += length

    def _content(self, inode: Inode, most: int) -> bytes:
        wanted = min(inode.size, most)
        found = bytearray()
        for block in self._blocks(inode, wanted):
            found += block
        return bytes(found[:wanted])

    def _blocks(self, inode: Inode, length: int) -> Iterator[bytes]:
        """The first `length` bytes by blocks; what is not mapped reads as zeros."""
        if inode.flags & _INLINE:
            if inode.kind == _DIRECTORY or inode.size > len(inode.block):
                raise Unreadable("what is kept within its inode is not looked into")
            yield inode.block[:length]
            return
        count = -(-length // self.block)
        places = self._mapped(inode, count)
        for logical in range(count):
            place = places.get(logical, 0)
            yield self._volume.read(place * self.block, self.block) if place else bytes(self.block)

    def _mapped(self, inode: Inode, count: int) -> dict[int, int]:
        if inode.flags & _EXTENTS:
            found: dict[int, int] = {}
            self._extents(inode.block, (0, count), found, _DEPTH)
            return found
        return self._listed(inode, count)

    def _extents(self, node: bytes, within: tuple[int, int], found: dict[int, int], depth: int) -> None:
        """The extents of one node, which lie within its parent's entry, one after the other: so every tree has an end."""
        magic, entries, _, level = struct.unpack_from("<HHHH", node)
        if magic != 0xF30A or depth < level or 12 * entries + 12 > len(node):
            raise Unreadable("a tree of extents is damaged")
        firsts = [struct.unpack_from("<I", node, 12 + 12 * number)[0] for number in range(entries)]
        least, end = within
        if any(one >= other for one, other in pairwise(firsts)) or (firsts and firsts[0] < least):
            raise Unreadable("a tree of extents is tangled")
        for number, first in enumerate(firsts):
            if first >= end:
                return
            upto = min(end, firsts[number + 1] if number + 1 < entries else end)
            if level:
                low, high = struct.unpack_from("<IH", node, 16 + 12 * number)
                child = self._volume.read((low | high << 32) * self.block, self.block)
                self._extents(child, (first, upto), found, level - 1)
                continue
            length, high, low = struct.unpack_from("<HHI", node, 16 + 12 * number)
            if length > 0x8000:  # preallocated, reads as zeros
                continue
            for offset in range(min(length, upto - first)):
                found[first + offset] = (low | high << 32) + offset

    def _listed(self, inode: Inode, count: int) -> dict[int, int]:
        """The block numbers of ext2 and ext3: twelve, then a block of them, then a block of such blocks."""
        numbers = list(struct.unpack("<15I", inode.block))
        per, found = self.block // 4, numbers[:12]
        if count > 12:
            found += self._numbers(numbers[12])
        if count > 12 + per:
            for place in self._numbers(numbers[13])[: -(-(count - 12 - per) // per)]:
                found += self._numbers(place)
        if count > len(found) and numbers[14]:
            raise Unreadable("the file is too long to be looked into")
        return {logical: place for logical, place in enumerate(found[:count]) if place}

    def _numbers(self, place: int) -> list[int]:
        """A block of block numbers; a missing one stands for as many holes."""
        raw = self._volume.read(place * self.block, self.block) if place else bytes(self.block)
        return list(struct.unpack(f"<{self.block // 4}I", raw))
