"""Reads files of an ext2, ext3 or ext4 at rest. Layout: the kernel's Documentation/filesystems/ext4.

The journal is not replayed, so the newest metadata of a running guest may be missing. Every count is bounded.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from connector.offline.window import Bytes, Missing, UnreadableStructure

ROOT: Final = 2
_COMPRESSED_FEATURE, _OTHER_JOURNAL, _META_BG = 0x1, 0x8, 0x10
#: Features that this reader must know, and knows. Features of "read-only compatible" do not concern a reader.
_UNDERSTOOD: Final = {
    0x2: "filetype",
    0x4: "recover",
    _META_BG: "meta_bg",
    0x40: "extents",
    0x80: "64bit",
    0x100: "mmp",
    0x200: "flex_bg",
    0x400: "ea_inode",
    0x2000: "metadata_csum_seed",
    0x4000: "large_dir",
    0x8000: "inline_data",
    0x10000: "encrypt",
    0x20000: "casefold",
}
_NAMES: Final = {_COMPRESSED_FEATURE: "compression", _OTHER_JOURNAL: "journal_dev", 0x1000: "dirdata"}
_SPARSE, _SPARSE2 = 0x1, 0x200  # which groups have copies: a read-only feature, a compatible feature
_EXTENTS: Final = 0x80000  # inode flags
_INLINE: Final = 0x10000000
_ENCRYPTED: Final = 0x800
_FOLDED: Final = 0x40000000
_ATTRIBUTES: Final = 0xEA020000
_SYSTEM_DATA: Final = (7, b"data")  # the extended attribute with the rest of inline data
_DEPTH: Final = 5
_LINKS: Final = 8
_MOST_ENTRIES: Final = 20_000
_LONGEST_PATH: Final = 4096
_DEEPEST: Final = 32
_DIRECTORY, _FILE, _LINK = 0x4000, 0x8000, 0xA000


@dataclass(frozen=True, slots=True)
class Inode:
    """The used fields of an inode. `flags` are those of chattr."""

    mode: int
    size: int
    flags: int
    block: bytes  # 60 bytes: extents, block numbers, a short link's target, or the content's beginning
    more: bytes = b""  # of inline data: the bytes after those in `block`

    @property
    def kind(self) -> int:
        return self.mode & 0xF000


class Ext4:
    """One file system. Every method raises UnreadableStructure for damage, and Missing for what does not exist."""

    def __init__(self, volume: Bytes) -> None:
        self._volume = volume
        sb = volume.read(1024, 1024)
        if sb[56:58] != b"\x53\xef":
            raise UnreadableStructure("there is no ext4 superblock")
        (log,) = struct.unpack_from("<I", sb, 24)
        if log > 6:
            raise UnreadableStructure("the ext4 superblock makes no sense")
        self.block = 1024 << log
        compatible, self._incompatible, read_only = struct.unpack_from("<III", sb, 92)
        _understand(self._incompatible)
        self._inodes, self._per_group = (struct.unpack_from("<I", sb, at)[0] for at in (0, 40))
        self.blocks = struct.unpack_from("<I", sb, 4)[0] | (
            self._wide and struct.unpack_from("<I", sb, 0x150)[0] << 32
        )
        self.free = struct.unpack_from("<I", sb, 12)[0] | (
            self._wide and struct.unpack_from("<I", sb, 0x158)[0] << 32
        )
        self.free_inodes = struct.unpack_from("<I", sb, 16)[0]
        self.inodes = self._inodes
        revision = struct.unpack_from("<I", sb, 76)[0]
        self._inode = struct.unpack_from("<H", sb, 88)[0] if revision else 128
        self._descriptor = struct.unpack_from("<H", sb, 254)[0] if self._wide else 32
        if not (128 <= self._inode <= 4096 and 32 <= self._descriptor <= 1024 and self._per_group):
            raise UnreadableStructure("the ext4 superblock makes no sense")
        self._groups = _Groups.of(
            sb, self.block, self._descriptor, (compatible, self._incompatible, read_only)
        )

    @property
    def _wide(self) -> int:
        return int(self._incompatible & 0x80)  # 64 bit

    def read(self, path: str, most: int = 1 << 20) -> bytes:
        """The first `most` bytes of a file; links are followed."""
        inode = self.find(path)
        if inode.kind != _FILE:
            raise UnreadableStructure(f"{path} is no file")
        return self._content(inode, most)

    def names(self, path: str) -> list[str]:
        """The names in a directory."""
        inode = self.find(path)
        if inode.kind != _DIRECTORY:
            raise Missing(f"there is no directory {path}")
        return [name for name, _ in self._entries(inode) if name not in (".", "..")]

    def find(self, path: str, links: int = _LINKS) -> Inode:
        """The inode of a path. Links are followed within this file system."""
        words = [word for word in path.split("/") if word not in ("", ".")]
        if len(words) > _DEEPEST:
            raise UnreadableStructure(f"a path has more than {_DEEPEST} parts")
        inode = self.inode(ROOT)
        for place, word in enumerate(words):
            number = self._looked_up(inode, word)
            if not number:
                raise Missing(f"there is no {path}")
            inode = self.inode(number)
            if inode.kind == _LINK:
                if not links:
                    raise UnreadableStructure(f"{path} has too many links")
                target = self._target(inode)
                base = [] if target.startswith("/") else words[:place]
                return self.find("/".join([*base, target, *words[place + 1 :]]), links - 1)
        return inode

    def _looked_up(self, directory: Inode, word: str) -> int:
        """The inode number of a name in a directory; 0 when there is none."""
        if directory.kind != _DIRECTORY:
            return 0
        folded = 0
        for name, number in self._entries(directory):
            if name == word:
                return number
            if directory.flags & _FOLDED and name.casefold() == word.casefold():
                folded = number
        return folded

    def inode(self, number: int) -> Inode:
        """One inode by its number."""
        if not 0 < number <= self._inodes:
            raise UnreadableStructure("a directory names an inode that does not exist")
        group, index = divmod(number - 1, self._per_group)
        descriptor = self._volume.read(self._groups.descriptor(group), self._descriptor)
        table = struct.unpack_from("<I", descriptor, 8)[0]
        if self._descriptor >= 64:
            table |= struct.unpack_from("<I", descriptor, 40)[0] << 32
        raw = self._volume.read(table * self.block + index * self._inode, self._inode)
        mode, size, high = (struct.unpack_from(f, raw, o)[0] for f, o in (("<H", 0), ("<I", 4), ("<I", 108)))
        flags = struct.unpack_from("<I", raw, 32)[0]
        more = _kept(raw) if flags & _INLINE else b""
        return Inode(mode, size | high << 32, flags, raw[40:100], more)

    def _target(self, inode: Inode) -> str:
        short = inode.size < 60 and not inode.flags & (_ENCRYPTED | _INLINE)
        raw = inode.block[: inode.size] if short else self._content(inode, _LONGEST_PATH)
        return raw.decode("utf-8", "replace").partition("\0")[0]

    def _entries(self, inode: Inode) -> Iterator[tuple[str, int]]:
        """Names and inode numbers; an indexed directory reads like a plain one. Raises UnreadableStructure at a bound."""
        if inode.kind != _DIRECTORY:
            raise UnreadableStructure("a path leads through something that is no directory")
        most = _MOST_ENTRIES * 300
        damaged, count = False, 0
        for block in self._listings(inode, min(inode.size, most)):
            at = 0
            while at + 8 <= len(block):
                number, length, name_length = struct.unpack_from("<IHB", block, at)
                length = _record(length, len(block))
                count += 1
                if count > _MOST_ENTRIES:
                    raise UnreadableStructure(f"a directory has more than {_MOST_ENTRIES} entries")
                if length < 8:
                    damaged = damaged or any(block[at:])
                    break
                if number and at + 8 + name_length <= len(block):
                    yield block[at + 8 : at + 8 + name_length].decode("utf-8", "replace"), number
                at += length
        if damaged:
            raise UnreadableStructure("a directory is damaged")
        if inode.size > most:
            raise UnreadableStructure(f"a directory has more than {most} bytes")

    def _listings(self, inode: Inode, length: int) -> Iterator[bytes]:
        """The runs of entries in a directory. Inline data has two of them, after the parent's number."""
        if not inode.flags & _INLINE:
            yield from self._blocks(inode, length)
            return
        _refuse_encrypted(inode)
        yield inode.block[4:]
        yield inode.more

    def _content(self, inode: Inode, most: int) -> bytes:
        length = min(inode.size, most)
        content = bytearray()
        for block in self._blocks(inode, length):
            content += block
        return bytes(content[:length])

    def _blocks(self, inode: Inode, length: int) -> Iterator[bytes]:
        """The first `length` bytes by blocks; what is not mapped reads as zeros."""
        _refuse_encrypted(inode)
        if inode.flags & _INLINE:
            if inode.size > len(inode.block) + len(inode.more):
                raise UnreadableStructure("what is kept within an inode is damaged")
            yield (inode.block + inode.more)[:length]
            return
        count = -(-length // self.block)
        places = self._mapped(inode, count)
        for logical in range(count):
            place = places.get(logical, 0)
            yield self._volume.read(place * self.block, self.block) if place else bytes(self.block)

    def _mapped(self, inode: Inode, count: int) -> dict[int, int]:
        if inode.flags & _EXTENTS:
            places: dict[int, int] = {}
            self._extents(inode.block, (0, count), places, _DEPTH)
            return places
        return self._listed(inode, count)

    def _extents(self, node: bytes, within: tuple[int, int], places: dict[int, int], depth: int) -> None:
        """Add the extents of one node. They must be in order and within the parent's entry, so every tree has an end."""
        magic, entries, _, level = struct.unpack_from("<HHHH", node)
        if magic != 0xF30A or depth < level or 12 * entries + 12 > len(node):
            raise UnreadableStructure("a tree of extents is damaged")
        firsts = [struct.unpack_from("<I", node, 12 + 12 * number)[0] for number in range(entries)]
        least, end = within
        if any(first >= second for first, second in pairwise(firsts)) or (firsts and firsts[0] < least):
            raise UnreadableStructure("a tree of extents is tangled")
        for number, first in enumerate(firsts):
            if first >= end:
                return
            upto = min(end, firsts[number + 1] if number + 1 < entries else end)
            if level:
                low, high = struct.unpack_from("<IH", node, 16 + 12 * number)
                child = self._volume.read((low | high << 32) * self.block, self.block)
                self._extents(child, (first, upto), places, level - 1)
                continue
            length, high, low = struct.unpack_from("<HHI", node, 16 + 12 * number)
            if length > 0x8000:  # preallocated, reads as zeros
                continue
            for offset in range(min(length, upto - first)):
                places[first + offset] = (low | high << 32) + offset

    def _listed(self, inode: Inode, count: int) -> dict[int, int]:
        """The block numbers of ext2 and ext3: twelve, then a block of them, then a block of such blocks."""
        numbers = list(struct.unpack("<15I", inode.block))
        per, places = self.block // 4, numbers[:12]
        if count > 12:
            places += self._numbers(numbers[12])
        if count > 12 + per:
            for place in self._numbers(numbers[13])[: -(-(count - 12 - per) // per)]:
                places += self._numbers(place)
        if count > len(places) and numbers[14]:
            raise UnreadableStructure("the file is too long to be read")
        return {logical: place for logical, place in enumerate(places[:count]) if place}

    def _numbers(self, place: int) -> list[int]:
        """The numbers in a block of block numbers; a missing block means holes."""
        raw = self._volume.read(place * self.block, self.block) if place else bytes(self.block)
        return list(struct.unpack(f"<{self.block // 4}I", raw))


@dataclass(frozen=True, slots=True)
class _Groups:
    """The places of block group descriptors: in one table after the superblock, or spread over the groups (meta_bg)."""

    block: int
    each: int  # bytes of a descriptor
    first_data: int
    per_group: int  # blocks
    spread_from: int | None  # the first block of descriptors that is not in the table
    copies: frozenset[int] | None  # sparse_super2: groups with a copy of the superblock, besides the first
    sparse: bool

    @classmethod
    def of(cls, sb: bytes, block: int, each: int, features: tuple[int, int, int]) -> _Groups:
        """From a superblock and its features: compatible, incompatible, read-only."""
        compatible, incompatible, read_only = features
        (first, per_group, spread) = (struct.unpack_from("<I", sb, at)[0] for at in (20, 32, 0x104))
        copies = frozenset(struct.unpack_from("<2I", sb, 0x24C)) if compatible & _SPARSE2 else None
        return cls(
            block,
            each,
            first,
            per_group,
            spread if incompatible & _META_BG else None,
            copies,
            bool(read_only & _SPARSE),
        )

    def descriptor(self, group: int) -> int:
        """The offset of a group's descriptor."""
        per_block = self.block // self.each
        number, place = divmod(group, per_block)
        behind = 2 if self.block == 1024 else 1  # the superblock is 1024 bytes into the file system
        if self.spread_from is None or number < self.spread_from:
            return (behind + number) * self.block + place * self.each
        if not number:
            return behind * self.block + place * self.each
        first = number * per_block  # the group with the descriptors of its neighbours
        at = self.first_data + first * self.per_group + self._has_copy(first)
        return at * self.block + place * self.each

    def _has_copy(self, group: int) -> bool:
        if self.copies is not None:
            return group in self.copies
        return not self.sparse or group <= 1 or any(_power(group, base) for base in (3, 5, 7))


def _power(number: int, base: int) -> bool:
    while number % base == 0:
        number //= base
    return number == 1


def _understand(features: int) -> None:
    """Raises UnreadableStructure for an unknown feature that may change the layout."""
    strange = [1 << bit for bit in range(32) if features >> bit & 1 and 1 << bit not in _UNDERSTOOD]
    if strange:
        names = ", ".join(_NAMES.get(bit, f"{bit:#x}") for bit in strange)
        raise UnreadableStructure(f"not understood: an ext4 with the feature {names}")


def _refuse_encrypted(inode: Inode) -> None:
    if inode.flags & _ENCRYPTED:
        raise UnreadableStructure("not understood: a file or directory that ext4 encrypts")


def _record(length: int, block: int) -> int:
    """The length of a directory's entry. In a block of 64 KiB it is encoded, because 65536 does not fit into the field."""
    if block < 65536:
        return length
    return 65536 if length in (0, 65535) else length & 0xFFFC | (length & 3) << 16


def _kept(raw: bytes) -> bytes:
    """The bytes of inline data in the extended attribute system.data."""
    if len(raw) <= 132:
        return b""
    start = 128 + struct.unpack_from("<H", raw, 128)[0]
    if start + 4 > len(raw) or struct.unpack_from("<I", raw, start)[0] != _ATTRIBUTES:
        return b""
    first = at = start + 4
    while at + 16 <= len(raw) and any(raw[at : at + 4]):
        length, index, offset, _, size = struct.unpack_from("<BBHII", raw, at)
        if (index, raw[at + 16 : at + 16 + length]) == _SYSTEM_DATA:
            return raw[first + offset : first + offset + size]
        at += 16 + -(-length // 4) * 4
    return b""
