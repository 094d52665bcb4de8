"""How each fault of the matrix is done to a part of the works."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from connector.instance.records import Ranges, encode
from connector.kinds import RangeState
from connector.model import Extent
from simulator.faults import Rule
from simulator.nfc import Switches
from tests.faults.matrix import Cell, Fault, Moment, Part
from tests.faults.works import Works, filled
from tests.integration.house import MIB

HANG = 3.0  # seconds
ROLE: Final = {
    Part.APPLIANCE: "appliance",
    Part.WORKER: "worker",
    Part.INSTANCE: "instance",
    Part.CONTROL: "control",
}
BUSY: Final = {"status": 503, "body": "<html>vpxd is starting</html>"}
#: What a host does to one request; its call and its place are filled in.
_ON_REQUEST: Final = {
    Fault.HANG: Rule("nfc.read", "delay", seconds=HANG),
    Fault.CUT: Rule("nfc.read", "cut", bytes=20),
    Fault.WRONG: Rule("nfc.read", "answer", answer={"error": 1}),
    Fault.SLOW: Rule("nfc.read", "delay", seconds=0.3, times=4),
}
#: How all hosts are for a while.
_WHILE: Final[dict[Fault, dict[str, Any]]] = {
    Fault.FULL: {"memory": 0},
    Fault.EXPIRED: {"ticket_seconds": 0.0},
}
READS: Final = {Moment.FIRST: 1, Moment.MIDDLE: 8, Moment.LAST: 16}


@dataclass(slots=True)
class Strike:
    """One cell being done. Leaving `undo` takes the cause away; `done` tells whether it has happened."""

    works: Works
    cell: Cell
    total: int  # bytes that a whole pass sends
    undo: ExitStack
    done: bool = False

    def arm(self) -> None:
        """Everything is ready; it happens at the cell's moment."""
        part, fault = self.cell.part, self.cell.fault
        if part is Part.WORKER and fault not in (Fault.KILL, Fault.HANG):
            self._reader()
            return
        if part is Part.HOST and fault is not Fault.KILL:
            self._host()
            return
        self._when(self._act())

    def _when(self, do: Callable[[], None]) -> None:
        def once() -> None:
            self.done = True
            do()

        relay, witness = self.works.relay, self.works.house.witness
        match self.cell.moment:
            case Moment.PREPARING if self.cell.part is Part.NETWORK:
                once()
            case Moment.PREPARING:
                witness.when("CreateSnapshot_Task", once)
            case Moment.FIRST:
                relay.at(64 << 10, once)
            case Moment.MIDDLE:
                relay.at(self.total // 2, once)
            case Moment.LAST:
                relay.at(self.total - (256 << 10), once)
            case Moment.FINALISING:
                relay.after_blocks(once)
            case Moment.REMOVAL:
                witness.when("RemoveSnapshot_Task", once)

    def _act(self) -> Callable[[], None]:
        works, part = self.works, self.cell.part
        if part is Part.VCENTER:
            return self._vcenter
        if part is Part.NETWORK:
            return self._network
        if part is Part.DISK:
            return self._disk
        if part is Part.HOST:
            return self._host_down
        role = ROLE[part]
        actions: dict[Fault, Callable[[], None]] = {
            Fault.KILL: lambda: works.kill(role),
            Fault.HANG: lambda: works.freeze(role, HANG + (3.0 if part is Part.APPLIANCE else 0.0)),
            Fault.SLOW: lambda: works.stutter(role, HANG),
            Fault.FULL: self._fill_control,
        }
        return actions[self.cell.fault]

    def _fill_control(self) -> None:
        """While it is full nothing can be written down, not even that; an operator makes room."""
        full = self.undo.enter_context(ExitStack())
        full.enter_context(filled(self.works.small["control"]))
        _later(HANG, full.close)

    def _vcenter(self) -> None:
        witness = self.works.house.witness
        sessions = self.works.house.server.center.sessions
        match self.cell.fault:
            case Fault.KILL:  # as a client sees it: the proxy says 503, afterwards no session is known
                for session in sessions.all():
                    sessions.end(session)
                rule = Rule("*", "answer", times=None, answer=BUSY)
                witness.add(rule)
                _later(2.0, lambda: witness.replace(()))
            case Fault.HANG:
                witness.add(
                    Rule("*_Task", "delay", seconds=HANG), Rule("RetrievePropertiesEx", "delay", seconds=HANG)
                )
            case Fault.CUT:
                witness.add(Rule("*_Task", "cut", bytes=40), Rule("Retrieve*", "cut", bytes=400))
            case Fault.WRONG:
                witness.add(Rule("[A-Z]*", "answer", times=3, answer=BUSY))
            case Fault.SLOW:
                witness.add(Rule("[A-Z]*", "delay", seconds=0.2, times=None))
            case Fault.EXPIRED:
                for session in sessions.all():
                    sessions.end(session)
        self.undo.callback(witness.replace, ())

    def _network(self) -> None:
        relay, early = self.works.relay, self.cell.moment in (Moment.PREPARING, Moment.FINALISING)
        match self.cell.fault:
            case Fault.CUT if early:
                relay.refuse(2)
            case Fault.CUT:
                relay.cut()
            case Fault.HANG:
                relay.stall(HANG)
            case Fault.SLOW:
                relay.slow(8 * MIB)
            case Fault.FLIP:
                relay.flip()
            case Fault.WRONG:
                relay.garble()
        self.undo.callback(relay.reset)

    def _disk(self) -> None:
        match self.cell.fault:
            case Fault.FULL:
                self.undo.enter_context(filled(self.works.small["target"]))
            case Fault.FLIP:
                flip(self.works.disk_files()[0])
            case Fault.CUT:
                self.works.kill("instance")
                for disk in self.works.disk_files():
                    tear(disk.with_name("journal"))
            case Fault.WRONG:
                self.works.kill("instance")
                for disk in self.works.disk_files():
                    forget(disk.with_name("journal"))

    def _reader(self) -> None:
        """VDDK's own misbehaviour: a rule of the stand-in, read when the worker starts."""
        house, moment = self.works.house, self.cell.moment
        latch = self.works.root / "latch"
        latch.unlink(missing_ok=True)
        at = f"on=read at={READS[moment]}" if moment in READS else "on=open"
        rules = {
            Fault.CUT: f"error {at} times=1 code=14011 latch={latch}",
            Fault.WRONG: f"error {at} times=1 code=16002 latch={latch}",
            Fault.SLOW: f"delay {at} times=1 ms=2000 latch={latch}",
            Fault.EXPIRED: f"error on=open times=1 code=3047 latch={latch}",
        }
        house.reader(faults=rules[self.cell.fault], high_bits=1)
        self.undo.callback(house.reader)
        self.undo.callback(self._note, latch)

    def _host_down(self) -> None:
        """The host drops its connections, and its port is closed for a while."""
        house = self.works.house
        down = ExitStack()
        down.enter_context(house.nfc.host(house.machine().host).down())
        _later(1.0, down.close)

    def _host(self) -> None:
        """The host's own misbehaviour: rules that count what it serves, or its tickets and its memory for a while."""
        house, moment, fault = self.works.house, self.cell.moment, self.cell.fault
        if fault in _WHILE:
            house.nfc.switches = replace(house.nfc.switches, **_WHILE[fault])
            self.done = True
            _later(HANG, self._heal)
        else:
            point, skip = ("nfc.read", READS[moment] - 1) if moment in READS else ("nfc.open", 0)
            house.witness.add(replace(_ON_REQUEST[fault], call=point, skip=skip))
            self.undo.callback(self._served, point, skip + house.witness.count(point))
        self.undo.callback(self._heal)

    def _heal(self) -> None:
        house = self.works.house
        house.nfc.switches = Switches()

    def _served(self, point: str, before: int) -> None:
        """`before`: so many requests are served before the one that is hit."""
        witness = self.works.house.witness
        self.done = witness.count(point) > before
        witness.replace(())

    def _note(self, latch: Path) -> None:
        self.done = latch.exists()


def flip(file: Path) -> None:
    """One bit of the first byte that is not zero."""
    with file.open("r+b", buffering=0) as disk:
        content = disk.read()
        place = next(index for index, byte in enumerate(content) if byte)
        disk.seek(place)
        disk.write(bytes([content[place] ^ 1]))


def tear(journal: Path) -> None:
    """The power failed while a record was being written: some of its bytes are not there, and nobody was told of it."""
    written = encode(Ranges(((Extent(0, MIB), RangeState.DATA),)))
    with journal.open("ab") as file:
        file.write(written[: random.Random(journal.stat().st_size).randrange(1, len(written))])


def forget(journal: Path) -> None:
    """Storage that lied: of a record that it had said to hold, some bytes are not there."""
    size = journal.stat().st_size
    os.truncate(journal, max(0, size - random.Random(size).randrange(1, 9)))


def _later(seconds: float, do: Callable[[], None]) -> None:

    threading.Timer(seconds, do).start()
