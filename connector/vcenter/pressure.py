"""What an open snapshot costs the datastores under it, as fresh as vCenter can say.

vCenter keeps free space and file sizes for minutes. So it is asked to refresh them first, where the user may do that.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any

from connector.errors import ConnectorError, VCenterFault
from connector.model import DatastoreLoad, Pressure
from connector.vcenter.datastore_paths import datastore
from connector.vcenter.devices import disks
from connector.vcenter.faults import translated
from connector.vcenter.properties import PropertyRow, read, related
from connector.vcenter.session import Session
from connector.vcenter.values import plain, text
from connector.vcenter.vmomi import moref, vim

_DEVICES, _FILES = "config.hardware.device", "config.files"
_MACHINE = ("datastore", "layoutEx", _DEVICES, _FILES)
_STORE = ("summary.name", "summary.capacity", "summary.freeSpace")


def pressure(session: Session, machine: str, snapshot: str | None) -> Pressure:
    """The datastores into which the machine writes, and the bytes of the files that came after `snapshot`.

    A datastore without a capacity is not shown to this user, or not accessible now: of it nothing is known.
    Raises `NotFound`, and a retryable `VCenterFault` when vCenter does not show the datastores now.
    """
    vm = session.managed(vim.VirtualMachine, machine)
    with suppress(ConnectorError), translated(machine):
        vm.RefreshStorageInfo()
    row = read(session, vm, _MACHINE, on=machine, partly=True)
    if row.get("datastore") is None and "datastore" not in row.refused:
        raise VCenterFault(
            "vCenter does not say on which datastores the machine is",
            on=machine,
            remedy="wait until its host is connected; if it stays, look at the machine in vCenter",
            retryable=True,
        )
    loads = [_load(session, store) for store in _written(session, row)]
    stores = tuple(load for load in loads if load.capacity > 0)
    unread = tuple(load.name for load in loads if load.capacity <= 0)
    layout = row.get("layoutEx")
    if not snapshot:
        return Pressure(stores, unread=unread)
    return Pressure(stores, _grown(layout, snapshot), measured=layout is not None, unread=unread)


def _written(session: Session, row: PropertyRow) -> list[Any]:
    """The datastores of the disks and of the machine's own files, to which deltas go; all, while vCenter does not show these.

    vSphere lists others too, such as that of a mounted ISO.
    """
    stores, devices, home = list(row.get("datastore") or ()), row.get(_DEVICES), row.get(_FILES)
    if len(stores) < 2 or devices is None or home is None:
        return stores
    of_disks = {disk.store for disk in disks(devices)}
    names = {moref(store): _name(session, store) for store in stores}
    paths = (text(home.vmPathName), text(home.snapshotDirectory))
    own = {datastore(path, names.values()) for path in paths}
    written = [store for store in stores if moref(store) in of_disks or names[moref(store)] in own]
    return written or stores  # a machine writes somewhere: without a match all are watched


def _name(session: Session, store: Any) -> str:
    row = read(session, store, ("summary.name",), on=moref(store), partly=True)
    return plain(text(row.get("summary.name")))


def _load(session: Session, store: Any) -> DatastoreLoad:
    with suppress(ConnectorError), translated(moref(store)):
        store.RefreshDatastore()
    rows = related(session, store, "vm", {type(store): _STORE, vim.VirtualMachine: ("rootSnapshot",)})
    own = next(row for row in rows if row.moref == moref(store))
    return DatastoreLoad(
        plain(str(own.get("summary.name", moref(store)))),
        int(own.get("summary.capacity", 0)),
        int(own.get("summary.freeSpace", 0)),
        _with_snapshots(rows),
    )


def _with_snapshots(rows: Iterable[PropertyRow]) -> int:
    return sum(bool(row.get("rootSnapshot")) for row in rows)


def _grown(layout: Any, snapshot: str) -> int:
    """Bytes of the files that are in the machine's chains now and not in the snapshot's chains."""
    if layout is None:
        return 0
    sizes: Mapping[int, int] = {file.key: int(file.size or 0) for file in layout.file or ()}
    frozen = next((entry for entry in layout.snapshot or () if moref(entry.key) == snapshot), None)
    if frozen is None:
        return 0
    new = _files(layout.disk) - _files(frozen.disk)
    return sum(sizes.get(key, 0) for key in new)


def _files(disks: Any) -> set[int]:
    return {key for disk in disks or () for unit in disk.chain or () for key in unit.fileKey or ()}
