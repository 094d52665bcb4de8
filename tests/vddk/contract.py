"""What every kind of open disk must do, of VDDK and of NFC. Each check gets a freshly opened disk.

Both rooms have errors of the same names, so a check names an error by its name.
"""

import random
from collections.abc import Callable
from typing import Final

from tests.vddk.estate import CAPACITY, CHUNK, Estate
from vddk.spec import Disk, Extent

DEPTH: Final = 4
MIB: Final = 1 << 20
UUID: Final = "60 00 C2 9a"
Check = Callable[[Disk, Estate], None]


def raises(name: str, call: Callable[[], object]) -> Exception:
    try:
        call()
    except Exception as error:  # noqa: BLE001 - its name is what is asserted
        assert name in [kind.__name__ for kind in type(error).__mro__], error
        return error
    raise AssertionError(f"{name} was not raised")


def tells_about_itself(disk: Disk, estate: Estate) -> None:
    assert disk.info.capacity == CAPACITY
    assert disk.info.logical_sector_size == 512
    assert disk.transport in ("nbdssl", "nfcssl")
    assert disk.metadata()["uuid"] == UUID
    assert disk.metadata()["adapterType"] == "lsilogic"


def tells_about_its_chain(disk: Disk, estate: Estate) -> None:
    assert (disk.info.adapter, disk.info.links, disk.info.uuid) == ("lsilogic", 2, UUID)
    assert disk.info.physical_sector_size == 512
    assert disk.transport == "nbdssl"


def reads_into_any_memory(disk: Disk, estate: Estate) -> None:
    dice = random.Random(7)
    shared = disk.buffers(2, 3 * MIB)
    for length in (512, CHUNK, MIB, 3 * MIB, 512 * 4099):
        offset = dice.randrange((CAPACITY - length) // 512) * 512
        for memory in (memoryview(bytearray(length)), shared[1][:length]):
            disk.read_into(offset, memory)
            assert memory == estate.truth[offset : offset + length]
    whole = bytearray(CAPACITY)
    disk.read_into(0, whole)
    assert whole == estate.truth


def reads_asynchronously(disk: Disk, estate: Estate) -> None:
    memory = [*disk.buffers(DEPTH - 1, 64 * 1024), memoryview(bytearray(64 * 1024))]
    busy: dict[int, int] = {}
    offsets = list(range(0, 16 * MIB, 64 * 1024))
    free = list(range(DEPTH))
    seen = 0
    while offsets or busy:
        while free and offsets:
            slot = free.pop()
            busy[slot] = offsets.pop()
            disk.submit(busy[slot], memory[slot], token=slot)
        for token, error in disk.completions():
            assert error is None
            start = busy.pop(token)
            assert memory[token] == estate.truth[start : start + 64 * 1024]
            free.append(token)
            seen += 1
    assert seen == 256
    assert disk.completions() == []


def bounds_what_is_in_flight(disk: Disk, estate: Estate) -> None:
    memory = disk.buffers(DEPTH + 1, MIB)
    for token in range(DEPTH):
        disk.submit(token * MIB, memory[token], token)
    raises("TooManyInFlight", lambda: disk.submit(0, memory[DEPTH], 99))
    tokens: list[int] = []
    while len(tokens) < DEPTH:
        tokens += [completion.token for completion in disk.completions()]
    assert sorted(tokens) == list(range(DEPTH))


def keeps_completions_during_a_waiting_read(disk: Disk, estate: Estate) -> None:
    first, second = disk.buffers(1, MIB)[0], bytearray(6 * MIB)
    disk.submit(0, first, token=41)
    disk.read_into(MIB, second)
    assert second == estate.truth[MIB : 7 * MIB]
    assert [tuple(ended) for ended in disk.completions()] == [(41, None)]
    assert first == estate.truth[:MIB]


def refuses_bad_reads(disk: Disk, estate: Estate) -> None:
    memory = bytearray(1024)
    raises("Misaligned", lambda: disk.read_into(1, memory))
    raises("Misaligned", lambda: disk.submit(512, memoryview(memory)[:100], 1))
    raises("ValueError", lambda: disk.read_into(512, bytearray(513)))
    raises("OutOfRange", lambda: disk.read_into(CAPACITY - 512, memory))
    raises("OutOfRange", lambda: disk.read_into(-512, memory))
    raises("BadBuffer", lambda: disk.read_into(0, memoryview(bytes(512))))
    raises("BadBuffer", lambda: disk.read_into(0, memoryview(bytearray(2048))[::2]))
    disk.read_into(CAPACITY - 1024, memory)
    assert memory == estate.truth[-1024:]


def knows_what_is_allocated(disk: Disk, estate: Estate) -> None:
    extents = list(disk.allocated(0, CAPACITY))
    assert _tidy(extents, 0, CAPACITY)
    covered = bytearray(CAPACITY)
    for start, length in extents:
        covered[start : start + length] = b"\1" * length
    for start, length in estate.written:
        assert all(covered[start : start + length])
    assert covered[CAPACITY - CAPACITY % CHUNK :].count(1) == CAPACITY % CHUNK
    assert covered.count(0) > CAPACITY // 2
    assert not any(estate.truth[i] for i in range(0, CAPACITY, 512) if not covered[i])


def clips_allocation_to_the_window(disk: Disk, estate: Estate) -> None:
    everything = list(disk.allocated(0, CAPACITY))
    dice = random.Random(3)
    for _ in range(20):
        start, end = sorted(dice.randrange(CAPACITY) for _ in range(2))
        found = list(disk.allocated(start, end - start))
        assert _tidy(found, start, end)
        cut = [(max(a, start), min(a + n, end)) for a, n in everything]
        assert [(a, a + n) for a, n in found] == [(low, high) for low, high in cut if low < high]
    assert list(disk.allocated(CAPACITY, 0)) == []
    raises("OutOfRange", lambda: disk.allocated(0, CAPACITY + 1))


def closes_once_and_for_good(disk: Disk, estate: Estate) -> None:
    memory = disk.buffers(DEPTH, MIB)
    for token in range(DEPTH):
        disk.submit(token * MIB, memory[token], token)
    disk.close()
    disk.close()
    raises("DiskClosed", lambda: disk.read_into(0, bytearray(512)))
    raises("DiskClosed", lambda: disk.submit(0, bytearray(512), 1))
    raises("DiskClosed", lambda: disk.completions())
    raises("DiskClosed", lambda: list(disk.allocated(0, 1)))
    raises("DiskClosed", lambda: disk.metadata())
    raises("DiskClosed", lambda: disk.buffers(1, 512))


def _tidy(extents: list[Extent], start: int, end: int) -> bool:
    """Inside the window, not empty, ascending, and never touching the next one."""
    position = start - 1
    for extent in extents:
        if extent.length <= 0 or extent.start <= position:
            return False
        position = extent.start + extent.length
    return position <= end


OF_EVERY_DISK: Final[dict[str, Check]] = {
    check.__name__: check
    for check in (
        tells_about_itself,
        reads_into_any_memory,
        reads_asynchronously,
        bounds_what_is_in_flight,
        keeps_completions_during_a_waiting_read,
        refuses_bad_reads,
        knows_what_is_allocated,
        clips_allocation_to_the_window,
        closes_once_and_for_good,
    )
}
CHECKS: Final = OF_EVERY_DISK | {tells_about_its_chain.__name__: tells_about_its_chain}
"""Of disks of VDDK."""
