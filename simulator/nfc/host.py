"""Listeners of the estate's ESXi hosts, the tickets for them, and their limits.

A host listens from its first ticket on, at a port of its own on the simulator's address; the ticket names it.
"""

from __future__ import annotations

import contextlib
import logging
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from simulator import certificate
from simulator.certificate import Certificate
from simulator.estate.errors import InvalidArgument, InvalidState, NotFound
from simulator.estate.estate import Estate
from simulator.faults import Rule
from simulator.nfc import disks
from simulator.nfc.aio import Session
from simulator.nfc.authd import Authd, Settings
from simulator.nfc.classic import introduce
from simulator.nfc.switches import Switches
from simulator.nfc.tickets import Ticket, Tickets, new_session_id
from simulator.nfc.wire import Ended, Wire

_BACKLOG = 128
_DRAIN_SECONDS = 5.0
_log = logging.getLogger("simulator.nfc")


class Hosts:
    """Every host of one estate as an NFC server. Thread-safe; `close` ends listeners and connections."""

    def __init__(
        self, estate: Estate, kept: Certificate, address: str = "127.0.0.1", switches: Switches | None = None
    ) -> None:
        self.estate, self.address = estate, address
        self.switches = switches or Switches()
        self.tickets = Tickets()
        self._kept = kept
        self._lock = threading.Lock()
        self._hosts: dict[str, Host] = {}

    def issue(self, vm: str, disk: int | None = None, host: str | None = None) -> Ticket:
        """A ticket for a machine's files, or for one disk. Raises NotFound, InvalidState, InvalidArgument."""
        machine = self.estate.inventory.vm(vm)
        if disk is not None and disk not in {known.key for known in machine.disks}:
            raise InvalidArgument("diskDeviceKey")
        moref = host or machine.host
        listener = self.host(moref)
        if not listener.serving():
            raise InvalidState(f"the host {self.estate.inventory.hosts[moref].name} does not serve disks now")
        ticket = Ticket(new_session_id(), vm, moref, self.address, listener.port, self._kept.sha1, disk)
        self.tickets.keep(ticket, self.switches.ticket_seconds)
        return ticket

    def host(self, moref: str) -> Host:
        """The listener of a host, opened when there was none. Raises NotFound."""
        if moref not in self.estate.inventory.hosts:
            raise NotFound(f"no host {moref}", obj=moref)
        with self._lock:
            if moref not in self._hosts:
                self._hosts[moref] = Host(self, moref)
            return self._hosts[moref]

    def certificate(self, which: str) -> Certificate:
        """The one whose thumbprint is in tickets ("host"), or another."""
        if which == "host":
            return self._kept
        return certificate.load_or_create(
            self.estate.directory / "certificate-other", name="other.simulated.test"
        )

    @property
    def connections(self) -> int:
        """Connections that are open now, to all hosts."""
        with self._lock:
            return sum(host.connections for host in self._hosts.values())

    @property
    def memory(self) -> int:
        """Bytes of NFC memory that sessions hold now, on all hosts."""
        with self._lock:
            return sum(host.memory for host in self._hosts.values())

    def close(self) -> None:
        """Nobody is served any more. Waits for the threads."""
        with self._lock:
            hosts = list(self._hosts.values())
        for host in hosts:
            host.shut()


class Host:
    """One ESXi host: its listener, its connections, its memory."""

    def __init__(self, hosts: Hosts, moref: str) -> None:
        self._hosts, self.moref = hosts, moref
        self._lock = threading.Lock()
        self._open: dict[threading.Thread, Wire] = {}
        self._memory = 0
        self.port = 0
        self.open()

    def open(self) -> None:
        """Listen, at the same port as before."""
        family = socket.AF_INET6 if ":" in self._hosts.address else socket.AF_INET
        self._listener = socket.create_server(
            (self._hosts.address, self.port), family=family, backlog=_BACKLOG
        )
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(
            target=self._accept, args=(self._listener,), name=f"nfc {self.moref}", daemon=True
        )
        self._thread.start()

    def shut(self) -> None:
        """Refuse connections and drop those that are open."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join(_DRAIN_SECONDS)
        self._listener.close()
        with self._lock:
            running = dict(self._open)
        for wire in running.values():
            wire.close()
        for thread in running:
            thread.join(_DRAIN_SECONDS)

    @contextmanager
    def down(self) -> Iterator[None]:
        """Port 902 is closed inside the block."""
        self.shut()
        try:
            yield
        finally:
            self.open()

    @property
    def connections(self) -> int:
        with self._lock:
            return len(self._open)

    @property
    def memory(self) -> int:
        """Bytes that sessions hold."""
        return self._memory

    # --- what a session asks of its host

    @property
    def switches(self) -> Switches:
        return self._hosts.switches

    def open_disk(self, ticket: Ticket, path: str) -> disks.OpenDisk:
        """Raises Refused."""
        return disks.open_disk(self._hosts.estate, ticket, path, lock_live=self.switches.lock_live)

    def reserve(self, size: int) -> bool:
        """Memory for a session; False when the host has none left."""
        with self._lock:
            if self._memory + size > self.switches.memory:
                return False
            self._memory += size
            return True

    def release(self, size: int) -> None:
        with self._lock:
            self._memory -= size

    def serving(self) -> bool:
        """Whether the host is connected and not in maintenance."""
        known = self._hosts.estate.inventory.hosts.get(self.moref)
        return known is not None and known.connection_state == "connected" and not known.in_maintenance

    def consult(self, point: str, vm: str) -> Rule | None:
        return self._hosts.estate.faults.consult(point, vm)

    # --- connections

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _peer = listener.accept()
            except OSError:
                return
            self._begin(connection)

    def _begin(self, connection: socket.socket) -> None:
        switches = self.switches
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wire = Wire(connection, switches.cut_after, switches.bandwidth, switches.rtt_ms / 1000)
        thread = threading.Thread(
            target=self._serve, args=(connection, wire), name=f"nfc {self.moref} connection", daemon=True
        )
        with self._lock:
            full = len(self._open) >= switches.connections
            if not full:
                self._open[thread] = wire
        if full:
            wire.finish()
            connection.close()
        else:
            thread.start()

    def _serve(self, connection: socket.socket, wire: Wire) -> None:
        try:
            self._converse(wire)
        except Ended as error:
            _log.debug("%s: connection ended: %s", self.moref, error)
        finally:
            wire.finish()
            connection.close()
            with self._lock:
                self._open.pop(threading.current_thread(), None)

    def _converse(self, wire: Wire) -> None:
        wire.deadline(self.switches.handshake_seconds)
        self._met("nfc.connect", wire)
        ticket = Authd(wire, self._authd_settings()).run()
        if introduce(wire, self.switches.nfc_version) is None:
            return
        session = Session(wire, self, ticket)
        try:
            session.run()
        finally:
            session.close()

    def _met(self, point: str, wire: Wire) -> None:
        """A rule for connections: wait, or hang up."""
        rule = self.consult(point, self.moref)
        if rule is not None:
            wire.pause(rule.seconds)
            if rule.action != "delay":
                raise Ended("a fault rule")

    def _authd_settings(self) -> Settings:
        switches = self.switches
        first, second = (
            self._hosts.certificate(which)
            for which in (switches.first_certificate, switches.second_certificate)
        )
        named = first if switches.digest_of == "first" else second
        return Settings(
            switches.banner,
            _context(first),
            _context(second),
            named.sha256,
            switches.plain_data,
            lambda session_id: self._hosts.tickets.redeem(session_id, self.moref),
        )


def _context(kept: Certificate) -> ssl.SSLContext:
    return kept.server_context()
