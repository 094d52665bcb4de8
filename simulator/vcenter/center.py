"""The vCenter over one estate finds managed objects by reference, reads their properties, and connects all other parts.

A property is computed from the frozen inventory value it belongs to and kept until that value is replaced.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from simulator.estate.errors import EstateFault
from simulator.estate.estate import Estate
from simulator.estate.inventory import (
    Cluster,
    Datacenter,
    Datastore,
    Folder,
    Host,
    Network,
    ResourcePool,
    VirtualMachine,
)
from simulator.nfc import Hosts
from simulator.vcenter import entity_kinds, files, filters, host_calls, managers
from simulator.vcenter.api import vmodl
from simulator.vcenter.authority import Authority
from simulator.vcenter.changes import Changes
from simulator.vcenter.entities import Index, SnapshotOf, changed_morefs
from simulator.vcenter.hostile import Variant
from simulator.vcenter.kinds import HostFolders, Kind, Target, View
from simulator.vcenter.options import Options
from simulator.vcenter.pages import Pages
from simulator.vcenter.service_tickets import ServiceTickets
from simulator.vcenter.sessions import Session, Sessions
from simulator.vcenter.tasks import Tasks
from simulator.vcenter.views import Views

_MOST_CACHED = 20_000
_REAP_SECONDS = 0.5


class Center:
    """One vCenter. Thread-safe; `close` ends waiting calls and the background threads."""

    def __init__(
        self,
        estate: Estate,
        accounts: Mapping[str, str],
        options: Options,
        thumbprint: str = "",
        nfc: Hosts | None = None,
    ) -> None:
        self.estate = estate
        self.options = options
        self.thumbprint = thumbprint
        self.nfc = nfc
        self.started = datetime.now(UTC)
        self.instance_uuid = "5f2ad0b5-1f2b-4d0b-9f3b-000000000001"
        self.closing = False
        self.changes = Changes()
        self._indexed = Index.of(estate.inventory)
        self._cache: dict[str, tuple[Any, dict[str, Any]]] = {}
        self.naming = threading.Lock()
        self.pages = Pages()
        self.sessions: Sessions = Sessions(accounts, options.session_timeout, estate.export.open_session)
        self.service_tickets: ServiceTickets = ServiceTickets()
        self.host_folders: HostFolders | None = None  # set by who opens the listeners
        self.authority: Authority = Authority(self, accounts)
        self.tasks: Tasks = Tasks(self, options.task_seconds)
        self.views: Views = Views(self)
        self.collectors = filters.Collectors(self)
        self.settings: dict[str, Any] = dict(managers.settings(options.session_timeout, estate.inventory))
        self.extensions: dict[str, Any] = {}
        self.custom_fields: dict[int, Any] = {}
        self.custom_values: dict[str, dict[int, str]] = {}
        self.extra: dict[str, Target] = {}
        self.hostile: dict[str, dict[str, Variant]] = {}  # by moref and path: what is answered instead
        self.placed: dict[str, str] = {}  # which host was exported for each machine
        self._singletons = managers.singletons(self)
        self.sessions.ended.append(self._session_ended)
        host_calls.export_states(self)
        self._stop = threading.Event()
        for work in (self._watch, self._reap):
            threading.Thread(target=work, name=f"vcenter {work.__name__}", daemon=True).start()

    def close(self) -> None:
        """End every waiting call and session."""
        self.closing = True
        self._stop.set()
        self.changes.touch()
        for session in self.sessions.all():
            self.sessions.end(session)

    @property
    def index(self) -> Index:
        """The tree of the inventory as it is now."""
        current = self.estate.inventory
        known = self._indexed
        if known.inventory is not current:
            known = self._indexed = Index.of(current)
        return known

    def locate(self, reference: Any) -> Target:
        """The object behind a reference. Raises ManagedObjectNotFound."""
        target = self.find(reference)
        if target is None:
            raise vmodl.fault.ManagedObjectNotFound(
                obj=reference,
                msg=f"The object '{type(reference).__name__}:{reference._moId}' has already been deleted"
                " or has not been completely created",
            )
        return target

    def find(self, reference: Any) -> Target | None:
        """The object behind a reference; None when there is no object of this type with this moref."""
        target = self._find(reference._moId)
        if target is None:
            return None
        wanted = type(reference)
        return (
            target if issubclass(target.kind.type, wanted) or issubclass(wanted, target.kind.type) else None
        )

    def _find(self, moref: str) -> Target | None:
        singleton = self._singletons.get(moref)
        if singleton is not None:
            return singleton
        index = self.index
        entity = index.entities.get(moref)
        if entity is not None:
            return Target(_kind_of(entity), moref, entity)
        snapshot = index.snapshots.get(moref)
        if snapshot is not None:
            return Target(entity_kinds.SNAPSHOT, moref, snapshot)
        return (
            self.tasks.find(moref)
            or self.views.find(moref)
            or self.extra.get(moref)
            or self.collectors.find(moref)
            or files.browser(self, moref)
        )

    def reference(self, moref: str) -> Any:
        """A reference to an inventory entity by its moref."""
        return _kind_of(self.index.entities[moref]).type(moref)

    def read(self, target: Target, name: str, session: Session | None) -> Any:
        """A top-level property; None when unset. The value is shared: never change it."""
        compute = target.kind.properties.get(name)
        if compute is None:
            return None
        view = View(self, session, target)
        if name in target.kind.volatile:
            return compute(view)
        subject = target.subject
        stamp = subject.vm if isinstance(subject, SnapshotOf) else subject
        known = self._cache.get(target.moref)
        if known is None or known[0] is not stamp:
            if len(self._cache) > _MOST_CACHED:
                self._cache.clear()
            known = self._cache[target.moref] = (stamp, {})
        if name not in known[1]:
            known[1][name] = compute(view)
        return known[1][name]

    def entity_of(self, target: Target) -> str | None:
        """The inventory entity whose permissions rule this object: a snapshot's is its machine; None for
        services.
        """
        if isinstance(target.subject, SnapshotOf):
            return target.subject.vm.moref
        return target.moref if target.moref in self.index.entities else None

    def name_of(self, target: Target) -> str:
        """The entity's name for people."""
        entity = self.index.entities.get(self.entity_of(target) or "")
        return entity.name if entity is not None else target.moref

    def disk_bytes(self, vm: VirtualMachine) -> dict[str, int]:
        """Bytes that each disk of a machine occupies, by storage name."""
        sizes: dict[str, int] = {}
        for disk in vm.disks:
            if disk.storage:
                try:
                    sizes[disk.storage] = self.estate.storage.disk(disk.storage).chain.used(thin=disk.thin)
                except EstateFault:
                    continue
        return sizes

    def file_sizes(self, vm: VirtualMachine) -> dict[str, int]:
        """Bytes of each disk file of a machine, deltas of snapshots included, by its datastore path."""
        sizes: dict[str, int] = {}
        for disk in vm.disks:
            folder = disk.path.rpartition("/")[0]
            try:
                layers = self.estate.storage.disk(disk.storage).chain.sizes(thin=disk.thin)
            except EstateFault:
                continue
            sizes |= {f"{folder}/{name}": size for name, size in layers.items()}
        return sizes

    def free_space(self, datastore: str) -> int:
        return self.estate.free_space(datastore)

    def _session_ended(self, session: Session) -> None:
        self.estate.export.close_session(session.cookie)
        self.collectors.end_session(session.key)
        self.views.end_session(session.key)
        for moref, target in list(self.extra.items()):
            if getattr(target.subject, "owner", None) == session.key:
                self.extra.pop(moref, None)

    def _watch(self) -> None:
        """Pass the estate's changes on to waiting property collectors."""
        known, version = self.estate.inventory, 0
        while not self._stop.is_set() and not self.estate.closing.is_set():
            version = self.estate.wait_for_change(version, 1.0)
            current = self.estate.inventory
            if current is not known:
                self.changes.touch(*changed_morefs(known, current))
                if known.hosts is not current.hosts or known.vms is not current.vms:
                    host_calls.export_states(self)
                known = current

    def _reap(self) -> None:
        while not self._stop.wait(_REAP_SECONDS):
            self.sessions.reap()


_KINDS: Mapping[type, Kind] = {
    Folder: entity_kinds.FOLDER,
    Datacenter: entity_kinds.DATACENTER,
    Cluster: entity_kinds.CLUSTER,
    ResourcePool: entity_kinds.POOL,
    Host: entity_kinds.HOST,
    Datastore: entity_kinds.DATASTORE,
    VirtualMachine: entity_kinds.MACHINE,
}


def _kind_of(entity: Any) -> Kind:
    if isinstance(entity, Network):
        return (
            entity_kinds.PORTGROUP if entity.type == "DistributedVirtualPortgroup" else entity_kinds.NETWORK
        )
    return _KINDS[type(entity)]


def all_kinds() -> Iterable[Kind]:
    """Every entity kind, for documentation and tests."""
    return [*_KINDS.values(), entity_kinds.NETWORK, entity_kinds.PORTGROUP, entity_kinds.SNAPSHOT]
