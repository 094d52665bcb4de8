"""A guest that keeps writing: log appends, scattered blocks, single sectors, bursts, zeroing and trims, at a
steady rate.

It writes to a disk's scratch region only, so file systems beside it stay whole and clean; `aggressive` lifts
that and destroys them. Disks without a scratch region are then left alone. It stops writing at the very
power-off.
"""

import hashlib
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from simulator.estate.errors import EstateFault, InvalidPowerState
from simulator.estate.estate import Estate
from simulator.estate.inventory import PowerState, VirtualDisk

SECTOR, PAGE = 512, 4096
_RETRY = 0.05  # seconds between two tries while the datastore is full or the disk is gone


class Kind(StrEnum):
    """One step of a guest: a write or a trim."""

    APPEND = "append"
    SCATTER = "scatter"
    SECTOR = "sector"
    BURST = "burst"
    ZERO = "zero"
    TRIM = "trim"


@dataclass(frozen=True)
class Mix:
    """Relative frequency of each kind, and the bounds of a burst in bytes."""

    append: int = 40
    scatter: int = 40
    sector: int = 12
    burst: int = 2
    zero: int = 3
    trim: int = 3
    burst_least: int = 1 << 20
    burst_most: int = 8 << 20

    def weights(self) -> list[int]:
        return [getattr(self, kind.value) for kind in Kind]


@dataclass(frozen=True)
class Step:
    """One write, in order of `number`. `digest` is SHA-256 of the bytes; None for a trim."""

    number: int
    key: int
    kind: Kind
    offset: int
    length: int
    digest: bytes | None


@dataclass(frozen=True)
class Region:
    """Where a workload may write on one disk: bytes [start, start + length)."""

    key: int
    start: int
    length: int


def regions(disks: tuple[VirtualDisk, ...], *, aggressive: bool = False) -> list[Region]:
    """The regions of a machine's disks, clipped to whole sectors; aggressive: whole disks."""
    result = []
    for disk in disks:
        place = (0, disk.capacity) if aggressive else disk.scratch
        if disk.storage and place is not None and place[1] >= PAGE:
            result.append(Region(disk.key, place[0], place[1] // SECTOR * SECTOR))
    return result


def plan(places: list[Region], mix: Mix, random: Random) -> Iterator[tuple[Kind, Region, int, int]]:
    """Endless (kind, region, offset, length); the same for the same generator and regions."""
    heads = {place.key: 0 for place in places}
    kinds, weights = list(Kind), mix.weights()
    while True:
        kind, place = random.choices(kinds, weights)[0], random.choice(places)
        length = min(_length(kind, mix, random), place.length)
        if kind is Kind.APPEND:
            at = heads[place.key] if heads[place.key] + length <= place.length else 0
            heads[place.key] = at + length
        else:
            unit = SECTOR if kind is Kind.SECTOR else PAGE
            at = random.randrange(0, (place.length - length) // unit + 1) * unit
        yield kind, place, place.start + at, length


def _length(kind: Kind, mix: Mix, random: Random) -> int:
    if kind is Kind.BURST:
        return random.randrange(mix.burst_least // PAGE, mix.burst_most // PAGE + 1) * PAGE
    if kind in (Kind.ZERO, Kind.TRIM):
        return random.randrange(1, 65) * PAGE
    if kind is Kind.APPEND:
        return random.randrange(1, 17) * PAGE
    return SECTOR if kind is Kind.SECTOR else PAGE


class Workload:
    """Writes to one machine from one thread, while it is powered on, until `stop`.

    `rate` in bytes per second (None: as fast as it goes). Same seed, same machine: same steps in the same
    order.
    """

    def __init__(
        self,
        estate: Estate,
        vm: str,
        *,
        rate: int | None = 4 << 20,
        seed: int = 0,
        mix: Mix | None = None,
        aggressive: bool = False,
        record: bool = True,
    ) -> None:
        """Without `record`, steps are counted but not kept: for runs of days."""
        self._estate, self._vm, self._rate = estate, vm, rate
        self._random = Random(f"{vm} {seed}")  # noqa: S311 - contents, not secrets
        self._places = regions(estate.inventory.vm(vm).disks, aggressive=aggressive)
        self._plan = plan(self._places, mix or Mix(), self._random)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"guest of {vm}", daemon=True)
        self._lock = threading.Condition()
        self._steps: list[Step] = []
        self._record, self._count = record, 0
        self._bytes = 0
        self.failure: EstateFault | None = None

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """End the thread; no write is under way afterwards."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def steps(self) -> list[Step]:
        """The writes so far, in order."""
        with self._lock:
            return list(self._steps)

    @property
    def written(self) -> int:
        """Bytes written or trimmed so far."""
        return self._bytes

    def wait(self, steps: int, timeout: float = 30) -> bool:
        """Until that many steps are done in all."""
        with self._lock:
            return self._lock.wait_for(lambda: self._count >= steps, timeout)

    def _run(self) -> None:
        if not self._places:
            return
        began, paid = time.monotonic(), 0
        while self._powered():
            kind, place, offset, length = next(self._plan)
            data = self._bytes_for(kind, length)
            if not self._until_done(kind, place.key, offset, length, data):
                return
            paid += length
            if self._rate is not None:
                self._stop.wait(max(0.0, began + paid / self._rate - time.monotonic()))

    def _powered(self) -> bool:
        """Wait while the machine is off; False when it is time to end."""
        estate, version = self._estate, 0
        while not self._stop.is_set() and not estate.closing.is_set() and self._vm in estate.inventory.vms:
            version = estate.version
            if estate.inventory.vm(self._vm).power_state is PowerState.ON:
                return True
            estate.wait_for_change(version, _RETRY)
        return False

    def _until_done(self, kind: Kind, key: int, offset: int, length: int, data: bytes) -> bool:
        """Do one step, again and again while the estate refuses it; False when it is time to end."""
        while self._powered():
            try:
                self._do(kind, key, offset, length, data)
            except InvalidPowerState:
                continue
            except EstateFault as fault:
                self.failure = fault
                self._stop.wait(_RETRY)
                continue
            self.failure = None
            return True
        return False

    def _do(self, kind: Kind, key: int, offset: int, length: int, data: bytes) -> None:
        if kind is Kind.TRIM:
            self._estate.power.discard(self._vm, key, offset, length)
        else:
            self._estate.power.write(self._vm, key, offset, data)
        digest = hashlib.sha256(data).digest() if self._record and kind is not Kind.TRIM else None
        with self._lock:
            if self._record:
                self._steps.append(Step(self._count, key, kind, offset, length, digest))
            self._count += 1
            self._bytes += length
            self._lock.notify_all()

    def _bytes_for(self, kind: Kind, length: int) -> bytes:
        if kind is Kind.ZERO:
            return bytes(length)
        if kind is Kind.APPEND:
            line = f"{self._random.getrandbits(64):016x} request served in {self._random.randrange(900)} ms\n"
            return (line.encode() * (length // len(line) + 1))[:length]
        if kind is Kind.TRIM:
            return b""
        return self._random.randbytes(length)
