"""The interface of this room: values of `connector.model` in and out; no pyVmomi object gets outside."""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from dataclasses import dataclass
from threading import Event
from types import TracebackType
from typing import Self, TypeVar

from connector.errors import NotPermitted
from connector.model import (
    DiskAccess,
    DiskBacking,
    Extent,
    FileRoute,
    Finding,
    Inventory,
    Machine,
    MachineDisk,
    NfcTicket,
    PowerState,
    Pressure,
    TargetLimits,
)
from connector.settings import VCenterSettings
from connector.vcenter import (
    eligibility,
    files,
    inventory,
    occupancy,
    power,
    pressure,
    removal,
    snapshots,
    tasks,
    tracking,
)
from connector.vcenter.eligibility import CheckContext, disk_set_changes
from connector.vcenter.facts import VCenterFacts, facts
from connector.vcenter.ledger import SNAPSHOT, TRACKING, SnapshotLedger
from connector.vcenter.naming import Ticket
from connector.vcenter.nfc_tickets import NfcTickets
from connector.vcenter.removal import Leftover
from connector.vcenter.session import KEEP_ALIVE, About, Session
from connector.vcenter.snapshots import Quiesce, Snapshot, SnapshotCost, SnapshotTimeouts
from connector.vcenter.tasks import WaitLimit
from connector.vcenter.tracking import Tracking
from connector.vcenter.watching import InventoryWatch

__all__ = [
    "SNAPSHOT",
    "TRACKING",
    "About",
    "Leftover",
    "Quiesce",
    "Snapshot",
    "SnapshotCost",
    "SnapshotLedger",
    "SnapshotTimeouts",
    "Ticket",
    "Tracking",
    "VCenter",
    "disk_set_changes",
]


Result = TypeVar("Result")


class VCenter:
    """One vCenter, logged in while inside the `with`. Safe to share between threads.

    Every method raises errors of `connector.errors` only. Machines are named by moref; sizes are bytes.
    """

    def __init__(
        self, settings: VCenterSettings, *, owner: str, ledger: SnapshotLedger, keep_alive: float = KEEP_ALIVE
    ) -> None:
        """`owner` marks our snapshots; `ledger` remembers them across a crash."""
        self.owner = owner
        self._ledger = ledger
        self._stop: Event | None = None
        self._session = Session(settings, keep_alive=keep_alive)
        self._nfc_tickets = NfcTickets(self._session)

    def __enter__(self) -> Self:
        self._session.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session.__exit__(kind, error, trace)

    def during(self, stop: Event) -> VCenter:
        """The same vCenter for long work: outages of it (a restart, a failover) and merges are waited out, until `stop`."""
        patient = copy.copy(self)
        patient._stop = stop
        return patient

    def _steady(self, work: Callable[[], Result], on: str) -> Result:
        """Do work that may be repeated: once only, or, with `during`, through an outage."""
        if self._stop is None:
            return work()
        wait = WaitLimit(tasks.OUTAGE, self._stop)
        return tasks.persist(work, on=on, wait=wait, what="vCenter", tries=1)

    @property
    def url(self) -> str:
        """Where it is reached."""
        return self._session.url

    @property
    def certificate_ends(self) -> float | None:
        """When the certificate ends that vCenter showed last, in seconds since the epoch."""
        return self._session.certificate_ends

    @property
    def about(self) -> About:
        return self._session.about

    def machines(self) -> tuple[Machine, ...]:
        """Every machine that the user may see, in one sweep."""
        return inventory.machines(self._session)

    def inventory(self) -> Inventory:
        """Every machine with what is around it: hosts, datastores, networks, clusters, folders."""
        return inventory.whole(self._session)

    def now(self) -> float:
        """Seconds since the epoch by vCenter's own clock. Its time stamps are compared with this clock, never with ours."""
        return self._steady(self._session.now, "the clock of vCenter")

    def facts(self, chosen: Collection[str] = ()) -> VCenterFacts:
        """The clock, the hosts' certificates and the user's missing privileges, for the doctor.

        `chosen`: the only machines that are to be migrated, by moref; none: all may be.
        """
        return facts(self._session, chosen)

    def watch(self, stop: Event) -> InventoryWatch:
        """The inventory, and then each change of it, until `stop`."""
        return InventoryWatch(self._session, stop)

    def find(self, phrase: str) -> Machine:
        """The one machine with that moref, instance UUID, inventory path or name."""
        return self._steady(lambda: inventory.find(self._session, phrase), phrase)

    def check(
        self,
        machine: Machine,
        limits: TargetLimits = TargetLimits(),  # noqa: B008 - frozen
    ) -> tuple[Finding, ...]:
        """Pre-flight findings about a machine, the gravest first: by the rules of the survey, with its host, its datastores
        and networks as they are now. Of other machines nothing is known here: what needs them only ever warns.
        """
        surroundings = self._steady(lambda: inventory.surroundings(self._session), machine.name)
        return eligibility.check(machine, limits, CheckContext.of(surroundings, limits, self.now()))

    def clear_leftovers(
        self, *, keep: Collection[str] = (), machine: str | None = None, limit: float = removal.PATIENCE
    ) -> tuple[Leftover, ...]:
        """Remove snapshots of this owner that no pass in `keep` (tokens) holds; on one machine or on all."""
        listed = self.leftovers(machine)
        return removal.clear_leftovers(
            self._session, listed, self._ledger, keep=keep, limit=limit, stop=self._stop
        )

    def leftovers(self, machine: str | None = None) -> tuple[Leftover, ...]:
        """Every snapshot that carries this owner's token, also those that a pass uses now."""
        return self._steady(
            lambda: removal.leftovers(self._session, self.owner, machine), machine or "vCenter"
        )

    def occupied(self, machine: str) -> str:
        """What somebody else, such as a backup, is doing on the machine now; empty when nobody is."""
        return self._steady(lambda: occupancy.occupied(self._session, machine), machine)

    def locked(self, machine: str | None = None) -> tuple[str, ...]:
        """The machines that vCenter may not move now, as while their disks are read. Looks at one machine or at all."""
        if machine is None:
            return occupancy.all_locked(self._session)
        return (machine,) if occupancy.locked(self._session, machine) else ()

    def dismiss(self, machine: str, token: str, limit: float = removal.PATIENCE) -> None:
        """Remove the snapshot with this token of ours if it still exists, and consolidate what it left.

        Raises the error of a removal that fails for `limit` seconds, after writing it to the ledger; with `during`, its stop
        ends the wait.
        """
        ticket = Ticket.of(token)
        if ticket is None or ticket.owner != self.owner:
            raise NotPermitted(
                "this snapshot is not ours", on=f"{machine} {token}", remedy="let its owner remove it"
            )
        removal.dismiss(
            self._session, machine, ticket, self._ledger, wait=WaitLimit(limit, self._stop or Event())
        )

    def ensure_tracking(self, machine: str, pass_id: str, *, stop: Event | None = None) -> Tracking:
        """Turn CBT on where it is off."""
        ticket = self._ticket(pass_id)
        return self._steady(
            lambda: tracking.ensure(self._session, machine, ticket, self._ledger, stop=stop), machine
        )

    def restore_tracking(self, before: Tracking) -> None:
        """Turn CBT off again where it was off before `ensure_tracking`."""
        tracking.restore(self._session, before)

    def snapshot(
        self,
        machine: str,
        pass_id: str,
        *,
        quiesce: Quiesce = Quiesce.OFF,
        stop: Event | None = None,
        limits: SnapshotTimeouts = SnapshotTimeouts(),  # noqa: B008 - frozen
    ) -> AbstractContextManager[Snapshot]:
        """The machine's snapshot for one pass: taken or adopted on entry, removed and consolidated on exit.

        A removal that fails is no error: `Snapshot.cost.left` and the ledger say why.
        """
        return snapshots.held(
            self._session,
            machine,
            self._ticket(pass_id),
            self._ledger,
            quiesce=quiesce,
            stop=stop,
            limits=limits,
        )

    def changed(
        self, machine: str, snapshot: Snapshot | None, disk: MachineDisk, base: MachineDisk | None
    ) -> tuple[Extent, ...]:
        """The areas of a snapshot's disk that changed since `base`; without a base, the areas in use.

        Raises `ChangesUnknown` when they cannot be known. Without `snapshot` the machine itself is asked, which must be off.
        """
        view = snapshot.moref if snapshot else None
        if base is None:
            return self.in_use(machine, view, disk)
        return self._steady(lambda: tracking.changed(self._session, machine, view, disk, base), machine)

    def in_use(self, machine: str, snapshot: str | None, disk: MachineDisk) -> tuple[Extent, ...]:
        """The areas of a disk that are in use by CBT, all of it where CBT does not know. `snapshot` is a moref."""
        return self._steady(lambda: tracking.in_use(self._session, machine, snapshot, disk), machine)

    def file_route(self, path: str, disk: MachineDisk) -> FileRoute:
        """The way to a file beside the disk's own, over HTTPS through vCenter; see `files`."""
        return self._steady(lambda: files.route(self._session, path, disk.store), path)

    def host_file_route(self, machine: str, path: str, disk: MachineDisk, port: int) -> FileRoute:
        """The same, straight from the host on which the machine runs now, with a ticket."""
        return self._steady(lambda: files.host_route(self._session, machine, path, disk.store, port), path)

    def backing(self, machine: str, snapshot: str | None, disk: MachineDisk) -> DiskBacking:
        """The files under a disk of a snapshot (moref), as vCenter shows them now."""
        return self._steady(lambda: files.backing(self._session, machine, snapshot, disk), machine)

    def snapshot_file(self, machine: str, snapshot: str, disk: MachineDisk) -> str:
        """The disk's file as the snapshot (moref) has it now; empty when the snapshot is gone."""
        return self._steady(lambda: files.snapshot_file(self._session, snapshot, disk.key), machine)

    def pressure(self, machine: str, snapshot: Snapshot | None) -> Pressure:
        """How full the machine's datastores are now, and how large the files are that grow because of `snapshot`.

        Without a snapshot, before a pass takes one, it outlasts an outage; whoever watches one has to know of the outage.
        """
        if snapshot is None:
            return self._steady(lambda: pressure.pressure(self._session, machine, None), machine)
        return pressure.pressure(self._session, machine, snapshot.moref)

    def power(self, machine: str) -> PowerState:
        """The power state right now."""
        return self._steady(lambda: power.state(self._session, machine), machine)

    def shut_down(
        self, machine: str, *, within: float, force: bool = False, stop: Event | None = None
    ) -> PowerState:
        """Shut the guest down and confirm that the machine is off."""
        return self._steady(
            lambda: power.shut_down(self._session, machine, within=within, force=force, stop=stop), machine
        )

    def power_on(self, machine: str, *, stop: Event | None = None) -> PowerState:
        """Power the machine on and confirm it."""
        return self._steady(lambda: power.power_on(self._session, machine, stop=stop), machine)

    def disk_access(self, machine: str, snapshot: Snapshot | None, disk: MachineDisk) -> DiskAccess:
        """What a worker needs to open the disk now.

        The cookie lives as long as the session: ask again before each open.
        """
        self._steady(self._session.touch, machine)
        return DiskAccess(
            server=self._session.endpoint.host,
            port=self._session.endpoint.port,
            thumbprint=self._session.thumbprint,
            user=self._session.user,
            secret=self._session.cookie,
            secret_is_cookie=True,
            vm=machine,
            snapshot=snapshot.moref if snapshot else None,
            path=disk.path,
            capacity=disk.capacity,
            routes=_Routes(self, machine, snapshot.moref if snapshot else None, disk),
            owner=self.owner,
        )

    def nfc_ticket(self, machine: str) -> NfcTicket:
        """A ticket for one NFC connection to the host on which the machine runs now; see `nfc_tickets`."""
        return self._steady(lambda: self._nfc_tickets.ticket(machine), machine)

    def _ticket(self, pass_id: str) -> Ticket:
        return Ticket(self.owner, pass_id)


@dataclass(frozen=True, slots=True)
class _Routes:
    """See `DiskRoutes`."""

    vcenter: VCenter
    machine: str
    snapshot: str | None
    disk: MachineDisk

    def nfc_ticket(self) -> NfcTicket:
        return self.vcenter.nfc_ticket(self.machine)

    def file(self, path: str, host_port: int = 0) -> FileRoute:
        if host_port:
            return self.vcenter.host_file_route(self.machine, path, self.disk, host_port)
        return self.vcenter.file_route(path, self.disk)

    def snapshot_file(self) -> str:
        return self.vcenter.snapshot_file(self.machine, self.snapshot, self.disk) if self.snapshot else ""

    def backing(self) -> DiskBacking:
        return self.vcenter.backing(self.machine, self.snapshot, self.disk)

    def in_use(self) -> tuple[Extent, ...]:
        return self.vcenter.in_use(self.machine, self.snapshot, self.disk)
