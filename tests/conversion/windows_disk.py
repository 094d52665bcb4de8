"""A disk with an NTFS on which libguestfs recognises a Windows: hives, a command shell, and nothing that could start.

Run by the system's own Python, which has the module `guestfs`: arguments are the disk, and a JSON with files and registry values.
"""

from __future__ import annotations

import base64
import json
import struct
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

MIB = 1 << 20
CONFIG = "/Windows/System32/config"


def shell() -> bytes:
    """The head of a 64-bit program of Windows, by which libguestfs knows the processor. Layout: Microsoft's page "PE Format"."""
    file = struct.pack("<HHIIIHH", 0x8664, 0, 0, 0, 0, 240, 0x22)
    optional = struct.pack("<H", 0x20B).ljust(68, b"\0") + struct.pack("<H", 3)
    return b"MZ".ljust(60, b"\0") + struct.pack("<I", 64) + b"PE\0\0" + file + optional.ljust(240, b"\0")


def make(
    disk: Path, files: Mapping[str, bytes], hives: Mapping[str, Mapping[tuple[str, ...], Mapping[str, Any]]]
) -> None:
    """`hives`: by path, which is one of `files`: the values of each key, with `kind` and `data`."""
    disk.write_bytes(b"")
    disk.open("r+b").truncate(192 * MIB)
    order = {
        "files": {path: base64.b64encode(data).decode() for path, data in files.items()},
        "hives": {
            hive: [
                [
                    list(key),
                    [
                        [name, value.kind, base64.b64encode(value.data).decode()]
                        for name, value in row.items()
                    ],
                ]
                for key, row in keys.items()
            ]
            for hive, keys in hives.items()
        },
    }
    environment = {
        "LIBGUESTFS_BACKEND": "direct",
        "LIBGUESTFS_BACKEND_SETTINGS": "force_tcg",
        "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    }
    subprocess.run(
        ["/usr/bin/python3", "-I", __file__, str(disk)],
        input=json.dumps(order).encode(),
        check=True,
        env=environment,
    )


def main() -> None:
    import guestfs

    order = json.load(sys.stdin)
    g = guestfs.GuestFS(python_return_dict=True)
    g.set_memsize(768)
    g.add_drive_opts(sys.argv[1], format="raw")
    g.launch()
    g.part_disk("/dev/sda", "mbr")
    g.mkfs("ntfs", "/dev/sda1")
    g.mount("/dev/sda1", "/")
    for path, data in order["files"].items():
        g.mkdir_p(path.rpartition("/")[0] or "/")
        g.write(path, base64.b64decode(data))
    for hive, keys in order["hives"].items():
        g.hivex_open(hive, write=True)
        for key, values in keys:
            node = g.hivex_root()
            for name in key:
                node = g.hivex_node_get_child(node, name) or g.hivex_node_add_child(node, name)
            for name, kind, data in values:
                g.hivex_node_set_value(node, name, kind, base64.b64decode(data))
        g.hivex_commit(None)
        g.hivex_close()
    g.umount_all()
    g.shutdown()
    g.close()


if __name__ == "__main__":
    main()
