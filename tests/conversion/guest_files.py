"""A guest's mounted file systems as a dictionary of paths, for plans that read only."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from connector.conversion.changes import ChangePlan
from connector.conversion.guest_disks import FileSystem
from connector.conversion.linux import LinuxGuest
from connector.offline.window import Missing

GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class GuestFiles:
    content: Mapping[str, bytes]
    room: int = GIB

    def read(self, path: str, most: int = 1 << 20) -> bytes:
        if path not in self.content:
            raise Missing(path)
        return self.content[path][:most]

    def size(self, path: str) -> int:
        return len(self.read(path, GIB))

    def names(self, path: str) -> list[str]:
        home = f"{path.rstrip('/')}/"
        names = {file[len(home) :].split("/")[0] for file in self.content if file.startswith(home)}
        if not names:
            raise Missing(path)
        return sorted(names)

    def free(self, directory: str) -> int:
        assert directory
        return self.room

    def after(self, plan: ChangePlan) -> GuestFiles:
        """The files after the plan was carried out."""
        files = dict(self.content)
        for change in plan.changes:
            if change.after is None:
                del files[change.path]
            else:
                files[change.path] = change.after
        for append in plan.appends:
            files[append.path] += append.data
        return replace(self, content=files)


@dataclass(frozen=True, slots=True)
class Disk:
    """Volumes of the guest's first disk by partition, as UUIDs."""

    uuids: Mapping[str, str] = field(default_factory=lambda: {"/dev/sda1": "ROOT-1", "/dev/sda5": "SWAP-5"})


def guest(
    files: Mapping[str, bytes | str], *, firmware: str = "bios", disks: int = 1, **more: object
) -> LinuxGuest:
    content = {path: data.encode() if isinstance(data, str) else data for path, data in files.items()}
    uuids = more.pop("uuids", Disk().uuids)
    kinds = {"SWAP-5": "swap", "X": "xfs"}
    volumes = {device: FileSystem(kinds.get(uuid, "ext4"), uuid) for device, uuid in uuids.items()}  # type: ignore[attr-defined]
    room = more.pop("room", GIB)
    return LinuxGuest("web-01", GuestFiles(content, room), volumes, disks, firmware=firmware, **more)  # type: ignore[arg-type]
