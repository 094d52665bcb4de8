"""Disks by datastore path, as a host opens them: files of snapshots at once, the live file when nobody writes it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from simulator.estate.chain import DiskChain
from simulator.estate.errors import NotFound
from simulator.estate.estate import Estate
from simulator.estate.inventory import PowerState, VirtualDisk, VirtualMachine
from simulator.nfc.refusals import GENERIC, INVALID, LOCKED, NOT_FOUND, Refused
from simulator.nfc.tickets import Ticket

SECTOR = 512
MOST_CHUNKS = 1 << 19
_ADAPTERS = {"pvscsi": "lsilogic", "lsisas": "lsilogic"}
_HEADS, _SECTORS = 255, 63

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class OpenDisk:
    """One view of a disk: as it is, or (`point`) as it was at a snapshot."""

    vm: str
    chain: DiskChain
    point: str | None
    keys: dict[str, str]

    @property
    def capacity(self) -> int:
        return self.chain.capacity

    @property
    def geometry(self) -> tuple[int, int, int]:
        """Cylinders, heads, sectors."""
        return self.capacity // SECTOR // (_HEADS * _SECTORS), _HEADS, _SECTORS

    def check(self, offset: int, length: int) -> None:
        """Whole sectors inside the disk. Raises Refused."""
        if length <= 0 or offset % SECTOR or length % SECTOR or offset + length > self.capacity:
            raise Refused(INVALID, f"{length} bytes at {offset} of {self.capacity}")

    def read(self, offset: int, length: int) -> bytes:
        """Raises Refused when the snapshot is gone."""
        return self._asked(lambda: self.chain.read(offset, length, self.point))

    def allocated(self, start: int, chunk: int, count: int) -> bytes:
        """One bit a chunk, least significant first, padded with zeros to whole 4 bytes. Raises Refused."""
        if chunk <= 0 or chunk % SECTOR or start % chunk or not 0 < count <= MOST_CHUNKS:
            raise Refused(INVALID, f"allocation of {count} chunks of {chunk} bytes at {start}")
        if start + chunk * count > self.capacity:
            raise Refused(INVALID, f"allocation up to {start + chunk * count} of {self.capacity} bytes")
        flags = bytearray(count)
        for area in self._asked(lambda: self.chain.allocated(self.point)):
            first = max(area.start - start, 0) // chunk
            last = min(-(-(area.stop - start) // chunk), count)
            if first < last:
                flags[first:last] = b"\1" * (last - first)
        return _bits(flags)

    def _asked(self, look: Callable[[], T]) -> T:
        try:
            return look()
        except NotFound as error:
            raise Refused(GENERIC, str(error)) from None


def _bits(flags: bytearray) -> bytes:
    """Bytes of 0 and 1 as bits, least significant first."""
    text = bytes(reversed(flags)).translate(bytes.maketrans(b"\0\1", b"01"))
    return int(text, 2).to_bytes(-(-len(flags) // 32) * 4, "little")


def open_disk(estate: Estate, ticket: Ticket, path: str, *, lock_live: bool) -> OpenDisk:
    """The view that this path of the ticket's machine names. Raises Refused."""
    vm = estate.inventory.vms.get(ticket.vm)
    disk, point = (None, None) if vm is None else _named(estate, vm, path)
    if vm is None or disk is None or ticket.disk not in (None, disk.key):
        raise Refused(NOT_FOUND, f"Failed to open '{path}': not a disk of the machine of this ticket")
    if point is None and lock_live and vm.power_state == PowerState.ON:
        raise Refused(LOCKED, f"Failed to open '{path}': Failed to lock the file")
    return OpenDisk(vm.moref, estate.storage.disk(disk.storage).chain, point, data_base(vm, disk))


def _named(estate: Estate, vm: VirtualMachine, path: str) -> tuple[VirtualDisk | None, str | None]:
    """The disk with this file, and the snapshot that the file belongs to."""
    for snapshot in vm.snapshots:
        for disk in snapshot.disks:
            if disk.path == path and disk.storage:
                chain = estate.storage.disk(disk.storage).chain
                if snapshot.moref in chain.points:
                    return disk, snapshot.moref
    live = next((disk for disk in vm.disks if disk.path == path and disk.storage), None)
    return live, None


def data_base(vm: VirtualMachine, disk: VirtualDisk) -> dict[str, str]:
    """The disk's data base, without the `ddb.` of its descriptor."""
    kinds = {controller.key: controller.kind for controller in vm.controllers}
    kind = kinds.get(disk.controller, "lsilogic")
    return {
        "adapterType": _ADAPTERS.get(kind, kind),
        "geometry.cylinders": str(disk.capacity // SECTOR // (_HEADS * _SECTORS)),
        "geometry.heads": str(_HEADS),
        "geometry.sectors": str(_SECTORS),
        "uuid": disk.uuid,
        "virtualHWVersion": vm.version.removeprefix("vmx-"),
    } | ({"thinProvisioned": "1"} if disk.thin else {})
