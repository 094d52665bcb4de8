"""The files of virtual disks as a datastore holds them: descriptors, flat files, and the files of snapshots.

A flat file is served as it is on the datastore. While a snapshot is open nobody writes to it. It changes when the snapshot
above it is removed, because the delta is then copied into it.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from simulator.estate.chain import DiskChain
from simulator.estate.estate import Estate
from simulator.estate.inventory import Datastore, PowerState, VirtualDisk, VirtualMachine
from simulator.nfc.disks import data_base

SECTOR = 512
_FLAT, _DELTA, _SESPARSE = "-flat.vmdk", "-delta.vmdk", "-sesparse.vmdk"
_MAGIC = {_DELTA: b"COWD", _SESPARSE: struct.pack("<Q", 0xCAFEBABE)}
_EXTENTS = {_DELTA: ("vmfsSparse", "VMFSSPARSE"), _SESPARSE: ("seSparse", "SESPARSE")}
_RAW = {
    "rdm-virtual": ("vmfsRawDeviceMap", "VMFSRDM", "-rdm.vmdk"),
    "rdm-physical": ("vmfsPassthroughRawDeviceMap", "VMFSRDM", "-rdmp.vmdk"),
}


@dataclass(frozen=True, slots=True)
class DatastoreFile:
    """One file: its length, when it was written (seconds since 1970), and its bytes. `locked`: a running machine has it open."""

    length: int
    written: float
    read: Callable[[int, int], bytes]
    locked: bool = False


@dataclass(frozen=True, slots=True)
class _Layer:
    """One level of one disk, by the name of its descriptor."""

    vm: VirtualMachine
    disk: VirtualDisk
    store: Datastore
    chain: DiskChain
    name: str

    @property
    def stem(self) -> str:
        return self.name.removesuffix(".vmdk")

    @property
    def parent(self) -> str | None:
        return self.chain.parent(self.name)

    @property
    def ending(self) -> str:
        """The end of the name of the file with its bytes."""
        if self.disk.backing == "sesparse" or (self.parent is not None and self.store.type == "VMFS"):
            return _SESPARSE
        return _FLAT if self.parent is None else _DELTA

    @property
    def locked(self) -> bool:
        return self.chain.is_written(self.name) and self.vm.power_state == PowerState.ON


def find(estate: Estate, store: Datastore, path: str) -> DatastoreFile | None:
    """The file at `folder/name` of a datastore, if it belongs to a virtual disk. Raises the estate's NotFound when it goes."""
    place = PurePosixPath(path)
    for layer in _layers(estate, store, str(place.parent)):
        if place.name == layer.name:
            text = descriptor(layer).encode()
            return DatastoreFile(len(text), _written(layer), _within(text))
        if place.name == layer.stem + layer.ending:
            return _content(layer)
    return None


def _layers(estate: Estate, store: Datastore, folder: str) -> Iterator[_Layer]:
    """Every level of every disk whose files are in one folder."""
    wanted = f"[{store.name}] {folder}"
    for vm in estate.inventory.vms.values():
        disks = {
            disk.storage: disk
            for disk in (*(d for shot in vm.snapshots for d in shot.disks), *vm.disks)
            if disk.storage and disk.datastore == store.moref and disk.path.rpartition("/")[0] == wanted
        }
        for storage, disk in disks.items():
            chain = estate.storage.disk(storage).chain
            yield from (_Layer(vm, disk, store, chain, name) for name in chain.sizes())


def _content(layer: _Layer) -> DatastoreFile:
    chain, name = layer.chain, layer.name
    if layer.ending == _FLAT:
        length = chain.capacity
        return DatastoreFile(
            length,
            _written(layer),
            lambda offset, count: chain.read_layer(name, offset, count),
            layer.locked,
        )
    body = _sparse(layer)
    return DatastoreFile(len(body), _written(layer), _within(body), layer.locked)


def _sparse(layer: _Layer) -> bytes:
    """A header with the format's magic, then what the layer stores. The tables between them are not imitated."""
    head = _MAGIC[layer.ending].ljust(SECTOR, b"\0")
    pieces = layer.chain.stored(layer.name)
    return head + b"".join(layer.chain.read_layer(layer.name, lo, hi - lo) for lo, hi in pieces)


def _written(layer: _Layer) -> float:
    return layer.chain.file_of(layer.name).stat().st_mtime


def _within(body: bytes) -> Callable[[int, int], bytes]:
    return lambda offset, length: body[offset : offset + length]


def descriptor(layer: _Layer) -> str:
    """The descriptor of one level, as ESXi writes it."""
    parent = layer.parent
    kind, extent, ending = _kind(layer)
    head = [
        "# Disk DescriptorFile",
        "version=1",
        'encoding="UTF-8"',
        f"CID={_cid(layer, layer.name)}",
        f"parentCID={'ffffffff' if parent is None else _cid(layer, parent)}",
        'isNativeSnapshot="no"',
        f'createType="{kind}"',
        *([] if parent is None else [f'parentFileNameHint="{parent}"']),
    ]
    extents = ["# Extent description", f'RW {layer.chain.capacity // SECTOR} {extent} "{layer.stem}{ending}"']
    tracked = ["# Change Tracking File", f'changeTrackPath="{layer.stem}-ctk.vmdk"']
    keys = [f'ddb.{key} = "{value}"' for key, value in sorted(data_base(layer.vm, layer.disk).items())]
    parts = [
        head,
        extents,
        *([tracked] if layer.vm.change_tracking else []),
        ["# The Disk Data Base ", "#DDB"],
    ]
    return "\n\n".join("\n".join(part) for part in [*parts, keys]) + "\n"


def _kind(layer: _Layer) -> tuple[str, str, str]:
    """createType, the extent's type, and the end of the extent's file name."""
    if layer.ending in _EXTENTS:
        return (*_EXTENTS[layer.ending], layer.ending)
    return _RAW.get(layer.disk.backing, ("vmfs", "VMFS", _FLAT))


def _cid(layer: _Layer, name: str) -> str:
    """The content id; the same name has the same one here, whatever is written."""
    return f"{random.Random(f'{layer.disk.uuid} {name}').getrandbits(31):08x}"  # noqa: S311 - a number, no secret
