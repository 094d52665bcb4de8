"""Files of datastores over HTTPS, and what vCenter says about the files under a disk.

A reader of files holds no lease on them. So it asks here before, during and after reading whether they are still the same.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final
from urllib.parse import quote, urlencode

from connector import pasted
from connector.errors import Ineligible, NotFound, VCenterFault
from connector.model import DiskBacking, FileRoute, MachineDisk
from connector.vcenter import tasks
from connector.vcenter.datastore_paths import within
from connector.vcenter.devices import backing_kind, disks
from connector.vcenter.endpoint import VCenterAddress
from connector.vcenter.faults import translated
from connector.vcenter.partial import demand
from connector.vcenter.properties import PropertyRow, read
from connector.vcenter.session import Session
from connector.vcenter.values import kind_of, number, plain, text
from connector.vcenter.vmomi import moref, vim

#: In the names of tasks that rewrite or move files of a machine.
WORDS: Final = ("snapshot", "consolidate", "relocate", "revert")
_DEVICES: Final = "config.hardware.device"
_MACHINE: Final = ("snapshot", _DEVICES)
_OF_HOSTS: Final = "ha-datacenter"  # how hosts call the place of their datastores
_OF_TICKET: Final = (
    "disconnect the host in vCenter and connect it again: vCenter named the expected certificate"
)
_OTHER_READER: Final = "read it with another reader (reader: vddk or nfc)"
_DEEPEST: Final = 64  # folders above a datastore


def route(session: Session, path: str, store: str) -> FileRoute:
    """The way to the file at `path`, for example "[store] web/web.vmdk", through vCenter; `store` is its datastore's moref."""
    file, row = _located(session, path, store)
    datacenter = _datacenter(session, row.get("parent"), path)
    session.touch()
    return FileRoute(
        session.endpoint.host,
        session.endpoint.port,
        _target(file, datacenter, text(row.get("name"))),
        session.trust.pin,
        session.trust.authority,
        f'vmware_soap_session="{session.cookie}"',
        session.trust.setting,
    )


def host_route(session: Session, machine: str, path: str, store: str, port: int) -> FileRoute:
    """The way to the same file straight from the machine's host, with a ticket for it that vCenter gives.

    The ticket names the host's certificate, and it came over vCenter's own verified connection.
    """
    file, row = _located(session, path, store)
    target = _target(file, _OF_HOSTS, text(row.get("name")))
    host = _host_of(session, machine)
    url = f"{VCenterAddress(host, port)}{target}"
    with translated(path):
        spec = vim.SessionManager.HttpServiceRequestSpec(method="httpGet", url=url)
        ticket = session.content.sessionManager.AcquireGenericServiceTicket(spec)
    pin, cookie = _pin(ticket), getattr(ticket, "id", None)
    if not pin or not cookie:
        missing = "id" if pin else "thumbprint"
        raise VCenterFault(f"the ticket for its file has no {missing}", on=path, remedy=_OTHER_READER)
    name = text(ticket.hostName) or host
    return FileRoute(name, port, target, pin, None, f"vmware_cgi_ticket={cookie}", _OF_TICKET)


def _pin(ticket: Any) -> str:
    """The digest of the host's certificate in a ticket: SHA-256 where vCenter gives it, else SHA-1."""
    listed = getattr(ticket, "certThumbprintList", None) or ()
    strong = (entry.thumbprint for entry in listed if "256" in text(entry.hashAlgorithm))
    return pasted.thumbprint(next(strong, None) or getattr(ticket, "sslThumbprint", None) or "")


def _host_of(session: Session, machine: str) -> str:
    """The name of the host on which the machine runs now."""
    host = read(session, session.managed(vim.VirtualMachine, machine), ("runtime.host",), on=machine)
    demand(host, "runtime.host", machine)
    return text(read(session, host.get("runtime.host"), ("name",), on=machine).get("name"))


def _located(session: Session, path: str, store: str) -> tuple[str, PropertyRow]:
    """The part of a path within its datastore, and the datastore's name and parent."""
    if not store:
        raise Ineligible("vCenter does not say on which datastore it is", on=path, remedy=_OTHER_READER)
    row = read(session, session.managed(vim.Datastore, store), ("name", "parent"), on=path)
    name = plain(text(row.get("name")))
    file = within(path, name)
    if not file:
        raise VCenterFault(f"it is not on its datastore {name}", on=path, remedy=_OTHER_READER)
    return file, row


def _target(file: str, datacenter: str, store: str) -> str:
    return f"/folder/{quote(file)}?{urlencode({'dcPath': datacenter, 'dsName': store}, quote_via=quote)}"


def _datacenter(session: Session, above: Any, on: str) -> str:
    """The inventory path of the datacenter that is, or is above, this object."""
    names: list[str] = []
    for _ in range(_DEEPEST):
        if above is None:
            break
        row = read(session, above, ("name", "parent"), on=on)
        parent = row.get("parent")
        if parent is not None and (names or isinstance(above, vim.Datacenter)):
            names.append(text(row.get("name")))
        above = parent
    if not names:
        raise VCenterFault(
            "its datastore is in no datacenter that the user may see", on=on, remedy=_OTHER_READER
        )
    return "/".join(reversed(names))


def backing(session: Session, machine: str, snapshot: str | None, disk: MachineDisk) -> DiskBacking:
    """What vCenter says now about the files of a disk of `snapshot`."""
    vm = session.managed(vim.VirtualMachine, machine)
    row = read(session, vm, _MACHINE, on=machine)
    demand(row, _DEVICES, machine)
    live = _device(row.get(_DEVICES), disk.key)
    frozen = _frozen(session, snapshot, disk.key) if snapshot else None
    frozen_disk = disks([frozen])[0] if frozen is not None else None
    return DiskBacking(
        kind=backing_kind(frozen.backing) if frozen is not None else "",
        files=tuple(_chain(frozen)),
        live=tuple(_chain(live)),
        store=_kind_of_store(session, frozen_disk.store if frozen_disk else disk.store, disk.path),
        snapshots=tuple(_tree(row.get("snapshot"))),
        work=_work(session, vm, machine),
        encrypted=frozen_disk.encrypted if frozen_disk else False,
    )


def snapshot_file(session: Session, snapshot: str, key: int) -> str:
    """The file of a disk (device key) as a snapshot (moref) has it now; empty when there is no such snapshot or disk."""
    return next(_chain(_frozen(session, snapshot, key)), "")


def _frozen(session: Session, snapshot: str, key: int) -> Any:
    """The disk in the snapshot's own configuration; None when the snapshot is gone."""
    try:
        row = read(session, session.managed(vim.vm.Snapshot, snapshot), (_DEVICES,), on=snapshot)
    except NotFound:
        return None
    demand(row, _DEVICES, snapshot)
    return _device(row.get(_DEVICES), key)


def _device(devices: Sequence[Any], key: int) -> Any:
    listed = (device for device in devices or () if kind_of(device) == "VirtualDisk")
    return next((device for device in listed if number(device.key) == key), None)


def _chain(device: Any) -> Iterator[str]:
    at = None if device is None else device.backing
    while at is not None:
        yield text(getattr(at, "fileName", None))
        at = getattr(at, "parent", None)


def _tree(info: Any) -> Iterator[tuple[str, str]]:
    pending = [("", node) for node in (info.rootSnapshotList if info is not None else None) or ()]
    while pending:
        above, node = pending.pop()
        yield moref(node.snapshot), above
        pending += [(moref(node.snapshot), child) for child in node.childSnapshotList or ()]


def _kind_of_store(session: Session, store: str, on: str) -> str:
    if not store:
        return ""
    row = read(session, session.managed(vim.Datastore, store), ("summary.type",), on=on)
    return text(row.get("summary.type"))


def _work(session: Session, vm: Any, machine: str) -> str:
    busy = tasks.running(session, vm, machine, WORDS)
    return f"a task of vCenter works on the machine's snapshots or files ({moref(busy[0])})" if busy else ""
