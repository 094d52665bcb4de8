"""The program that opens a guest's disks with libguestfs; run by a Python that has the module `guestfs`, not imported by us.

It reads one command at a time from stdin and writes one answer to stdout: a line of JSON, followed by `length` raw bytes.
The guest's file systems are mounted inside libguestfs's own virtual machine, never by this computer's kernel, and no program of
the guest is run. It uses the standard library and `guestfs` only.
"""

from __future__ import annotations

import base64
import json
import os
import posixpath
import sys
from collections.abc import Sequence
from typing import Any, BinaryIO

LABEL = "security.selinux"
READ_ONLY = 1  # ST_RDONLY of statvfs(3)
PIECE = 2 << 20  # bytes; one message of libguestfs has at most 4 MiB


class GuestHandle:
    """The opened disks. What fails is a RuntimeError, the only error of libguestfs."""

    def __init__(self) -> None:
        import guestfs  # only here: a Python without it can still read this file

        self._handle: Any = guestfs.GuestFS(python_return_dict=True)
        self._labels = False

    def open(self, disks: list[dict[str, str]], memory: int, writable: bool) -> None:
        """Start libguestfs's virtual machine. `memory`: MiB."""
        self._handle.set_memsize(memory)
        for disk in disks:
            self._handle.add_drive_opts(
                disk["path"], format=disk["format"], readonly=not writable, discard="besteffort"
            )
        self._handle.launch()

    def systems(self) -> list[dict[str, object]]:
        """The installed operating systems, each with its mount points."""
        g = self._handle
        return [
            {
                "root": root,
                "kind": g.inspect_get_type(root),
                "distribution": g.inspect_get_distro(root),
                "name": g.inspect_get_product_name(root),
                "architecture": g.inspect_get_arch(root),
                "mounts": g.inspect_get_mountpoints(root),
                "directory": self._windows_directory(root),
            }
            for root in g.inspect_os()
        ]

    def _windows_directory(self, root: str) -> str:
        is_windows = self._handle.inspect_get_type(root) == "windows"
        return str(self._handle.inspect_get_windows_systemroot(root)) if is_windows else ""

    def file_systems(self) -> dict[str, dict[str, str]]:
        """Every device with a file system, swap space or encryption: its kind and UUID."""
        return {
            device: {"kind": kind, "uuid": self._uuid_of(device)}
            for device, kind in self._handle.list_filesystems().items()
        }

    def _uuid_of(self, device: str) -> str:
        try:
            return str(self._handle.vfs_uuid(device))
        except RuntimeError:
            return ""

    def mount(self, mounts: dict[str, str], writable: bool) -> dict[str, str]:
        """Mount file systems, the root first. The answer: those that could not be mounted, with the reason."""
        failed = {}
        for point, device in sorted(mounts.items(), key=lambda pair: len(pair[0])):
            try:
                if writable:
                    self._mount_writable(device, point)
                else:
                    self._handle.mount_ro(device, point)
            except RuntimeError as error:
                failed[point] = str(error)
        self._labels = self._has_labels()
        return failed

    def _mount_writable(self, device: str, point: str) -> None:
        """A file system with a fault or a hibernated Windows is mounted all the same, but cannot be written."""
        self._handle.mount(device, point)
        if int(self._handle.statvfs(point)["flag"]) & READ_ONLY:
            raise RuntimeError("it can be read only: it was not unmounted, or it needs a check")

    def _has_labels(self) -> bool:
        try:
            return bool(self._handle.getxattr("/etc", LABEL))
        except RuntimeError:
            return False

    def names(self, path: str) -> list[str] | None:
        """The names in a directory; None when there is none."""
        return self._handle.ls(path) if self._handle.is_dir(path, followsymlinks=True) else None

    def size(self, path: str) -> int | None:
        """The size of a file; None when there is none."""
        return self._handle.filesize(path) if self._handle.is_file(path, followsymlinks=True) else None

    def read(self, path: str, most: int) -> bytes:
        """The first `most` bytes of a file."""
        pieces: list[bytes] = []
        while most > 0 and (piece := self._handle.pread(path, min(most, PIECE), sum(map(len, pieces)))):
            pieces.append(piece)
            most -= len(piece)
        return b"".join(pieces)

    def write(self, data: bytes, path: str, mode: int) -> None:
        """Replace a file's content in place, so that owner, mode and labels stay; or make a new one like its directory."""
        if self.size(path) is not None:
            self._handle.write(path, data[:PIECE])
            return self.append(data[PIECE:], path)
        directory, new = posixpath.dirname(path), [path]
        while not self._handle.is_dir(directory, followsymlinks=True):
            new.append(directory)
            directory = posixpath.dirname(directory)
        self._handle.mkdir_p(posixpath.dirname(path))
        self._handle.write(path, data[:PIECE])
        self.append(data[PIECE:], path)
        self._handle.chmod(mode, path)
        return self._label(new, directory)

    def append(self, data: bytes, path: str) -> None:
        for place in range(0, len(data), PIECE):
            self._handle.write_append(path, data[place : place + PIECE])

    def _label(self, paths: Sequence[str], like: str) -> None:
        """Give new files and directories the label of the directory in which they are. A guest with SELinux gets nothing
        without a label: it would have to label its whole disk at the next start.
        """
        if not self._labels:
            return
        try:
            label = self._handle.getxattr(like, LABEL).rstrip(b"\0").decode()  # a label is set as text
        except RuntimeError:  # a file system without labels, such as that of EFI
            return
        for path in paths:
            self._handle.setxattr(LABEL, label, len(label), path)

    def remove(self, path: str) -> None:
        self._handle.rm_f(path)

    def is_directory(self, path: str) -> bool | None:
        """None: nothing has this path. A link is no directory."""
        if self._handle.is_dir(path):
            return True
        return False if self._handle.is_file(path) or self._handle.is_symlink(path) else None

    def usage(self, path: str) -> int:
        """Bytes that a file uses, or a directory with everything below it."""
        return int(self._handle.du(path)) * 1024

    def remove_tree(self, path: str) -> None:
        self._handle.rm_rf(path)

    def discard(self, mounts: list[str]) -> None:
        """Give back what mounted file systems do not use. One that cannot say so keeps it."""
        for point in mounts:
            try:
                self._handle.fstrim(point)
            except RuntimeError as error:
                print(f"{point}: {error}", file=sys.stderr)

    def free(self, path: str) -> int:
        """Free bytes of the file system that has a directory."""
        answer = self._handle.statvfs(path)
        return int(answer["bavail"]) * int(answer["bsize"])

    def used(self, path: str) -> int:
        """Bytes in use in the file system that has a directory."""
        answer = self._handle.statvfs(path)
        return (int(answer["blocks"]) - int(answer["bfree"])) * int(answer["bsize"])

    def archive(self, path: str, file: str, excludes: list[str]) -> None:
        """Write a directory as a tar archive to a file of this computer: numeric owners, hard links, extended attributes."""
        self._handle.tar_out(path, file, numericowner=True, excludes=excludes, xattrs=True)

    def resolve(self, path: str) -> str:
        """A path as it is written on the disk, for a system that does not tell capitals from small letters."""
        known = ""
        for part in path.strip("/").split("/"):
            try:
                known = str(self._handle.case_sensitive_path(f"{known}/{part}"))
            except RuntimeError:  # it does not exist
                known = f"{known}/{part}"
        return known

    def registry_keys(self, hive: str, paths: list[list[str]]) -> list[dict[str, object] | None]:
        """Keys of a hive: their values as [type, base64] by name, and their subkeys; None for one that is not there."""
        g = self._handle
        g.hivex_open(hive, unsafe=True)
        try:
            nodes = [self._node(path, is_made=False) for path in paths]
            return [self._key(node) if node else None for node in nodes]
        finally:
            g.hivex_close()

    def _node(self, path: list[str], is_made: bool) -> int:
        """0: there is no such key."""
        node = int(self._handle.hivex_root())
        for name in path:
            child = int(self._handle.hivex_node_get_child(node, name))
            if not child and is_made:
                child = int(self._handle.hivex_node_add_child(node, name))
            if not child:
                return 0
            node = child
        return node

    def _key(self, node: int) -> dict[str, object]:
        g = self._handle
        values = {}
        for row in g.hivex_node_values(node):
            value = row["hivex_value_h"]
            data = base64.b64encode(g.hivex_value_value(value)).decode()
            values[g.hivex_value_key(value)] = [g.hivex_value_type(value), data]
        subkeys = [g.hivex_node_name(row["hivex_node_h"]) for row in g.hivex_node_children(node)]
        return {"values": values, "subkeys": subkeys}

    def registry_write(self, hive: str, rows: list[tuple[list[str], str, int, str]]) -> None:
        """Set values: the key's path, the value's name, its type, its bytes in base64. Missing keys are made."""
        g = self._handle
        g.hivex_open(hive, write=True)
        try:
            for path, name, kind, data in rows:
                g.hivex_node_set_value(self._node(path, is_made=True), name, kind, base64.b64decode(data))
            g.hivex_commit(None)
        finally:
            g.hivex_close()

    def finish(self) -> None:
        """Everything is on the disks when this has answered."""
        self._handle.umount_all()
        self._handle.shutdown()
        self._handle.close()


#: Commands that take bytes, and all commands.
WRITING = ("append", "write")
COMMANDS = (
    *WRITING,
    "archive",
    "discard",
    "file_systems",
    "finish",
    "free",
    "is_directory",
    "mount",
    "names",
    "open",
    "read",
    "registry_keys",
    "registry_write",
    "remove",
    "remove_tree",
    "resolve",
    "size",
    "systems",
    "usage",
    "used",
)


def main() -> None:
    incoming, outgoing = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not be taken for an answer
    guest = GuestHandle()
    while line := incoming.readline():
        row = json.loads(line)
        data = incoming.read(row["length"])
        if row["command"] not in COMMANDS:
            raise ValueError(row["command"])
        command = getattr(guest, row["command"])
        try:
            answer = command(*([data] if row["command"] in WRITING else []), **row["words"])
        except RuntimeError as error:
            _say({"trouble": str(error)}, b"", outgoing)
        else:
            is_bytes = isinstance(answer, bytes)
            _say({"answer": None if is_bytes else answer}, answer if is_bytes else b"", outgoing)


def _say(row: dict[str, object], content: bytes, outgoing: BinaryIO) -> None:
    outgoing.write(json.dumps(row | {"length": len(content)}).encode() + b"\n" + content)
    outgoing.flush()


if __name__ == "__main__":
    main()
