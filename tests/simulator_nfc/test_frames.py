"""Classic messages and AIO frames, byte by byte as the reference has them."""

from __future__ import annotations

import struct

import pytest

from simulator.nfc.codec import skipz
from tests.simulator_nfc.conftest import MIB, OFF, RUNNING, Site
from tests.simulator_nfc.raw import Client
from tests.waiting import eventually

MEMORY, READ_ONLY = 5, 0x0B


def _classic(*words: str) -> bytes:
    return bytes.fromhex("".join(words)).ljust(264, b"\0")


def test_the_hosts_side_of_a_conversation_is_this(site: Site) -> None:
    with Client(site.hosts.issue(RUNNING)) as client:
        client.enter()
        client.session()
        client.proxy()
        client.wire.received = b""
        client.introduce()
        client.ask(2, bytes(16))
        client.ask(9, bytes(12))
        client.ask(22, struct.pack("<I", 1))
        client.open_file(site.path)
        client.end()
        heard = client.wire.received
    expected = (
        _classic("24000000", "00" * 12, "01000000")
        + _classic("33000000", "0b000000")
        + _classic("34000000")
        + bytes.fromhex("7ada00a1 02000000 10000000 00000000 00000000 00000100 04000000 00000000")
        + bytes.fromhex("7ada00a1 09000000 0c000000 01000000 00000000 00000400 00000400")
        + bytes.fromhex("7ada00a1 16000000 04000000 02000000 01000000")
        + bytes.fromhex("7ada00a1 04000000 3c000000 03000000")
        + bytes.fromhex("0000000000000000 0100000000000000 02000000 1e000000 00000000")
        + bytes.fromhex("0000000400000000 00000000 08000000 ff000000 3f000000 0000000000000000")
        + bytes.fromhex("7ada00a1 03000000 04000000 04000000 00000000")
    )
    assert heard.hex(" ", 4) == expected.hex(" ", 4)


def test_a_read_is_answered_with_this_header(site: Site) -> None:
    with site.client() as client:
        handle = client.opened(site.path)
        client.want(handle, 512, 1024)
        header = client.wire.receive(60)
        assert header == bytes.fromhex(
            "7ada00a1 07000000 2c000000 02000000"
            "0000000000000000 0100000000000000 0002000000000000"
            "00040000 00000000 00040000 00040000 00000000"
        )
        assert client.wire.receive(1024) == site.truth(512, 1024)


def test_skipz_is_this() -> None:
    data = bytes(512) + b"a" * 512 + bytes(1024) + b"b" * 100
    packed = skipz(data)
    assert packed[:16].hex() == "64080000" + "00000000" + "00020000" + "00020000"
    assert packed[16 + 512 : 16 + 512 + 8].hex() == "00080000" + "64000000"
    assert len(packed) == 8 + 8 + 512 + 8 + 100
    assert skipz(bytes(4096)).hex() == "00100000" + "00000000"


@pytest.mark.parametrize(
    ("size", "count", "granted"),
    [(2 * MIB, 1, True), (2 * MIB, 4, True), (16 * MIB, 1, False), (2 * MIB, 8, False), (MIB, 0, True)],
)
def test_buffers_are_granted_below_16_mib(site: Site, size: int, count: int, granted: bool) -> None:
    with Client(site.hosts.issue(RUNNING)) as client:
        client.enter()
        client.session()
        client.proxy()
        client.introduce()
        request = struct.pack("<4I", 0, size, count, 0)
        if granted:
            assert client.ask(2, request) == (2, struct.pack("<4I", 0, size, count or 4, 0))
        else:
            assert client.error(2, request) == MEMORY
            assert client.ask(2, bytes(16))[0] == 2  # a smaller one may be asked for


def test_a_host_out_of_memory_refuses_a_session_until_another_ends(site: Site) -> None:
    site.set(memory=12 * MIB)
    with site.client(size=2 * MIB, count=4) as first, Client(site.hosts.issue(RUNNING)) as second:
        second.enter()
        second.session()
        second.proxy()
        second.introduce()
        request = struct.pack("<4I", 0, 2 * MIB, 4, 0)
        assert second.error(2, request) == MEMORY
        first.end()
        first.wire.close()
        eventually(lambda: second.ask(2, request)[0] == 2, "the memory of the first session is free")


@pytest.mark.parametrize("version", [0, 2])
def test_an_old_host_has_no_aio(site: Site, version: int) -> None:
    site.set(nfc_version=version)
    with Client(site.hosts.issue(RUNNING)) as client:
        client.enter()
        client.session()
        client.proxy()
        with pytest.raises(ConnectionError):
            client.introduce()


def test_a_classic_message_that_nobody_knows_ends_it(site: Site) -> None:
    with Client(site.hosts.issue(RUNNING)) as client:
        client.enter()
        client.session()
        client.proxy()
        client.classic(99)
        with pytest.raises(ConnectionError):
            client.wire.receive(1)


def test_keys_of_a_disk(site: Site) -> None:
    disk = site.estate.inventory.vm(RUNNING).disks[0]
    with site.client() as client:
        handle = client.opened(site.path)

        def value(key: bytes) -> bytes:
            kind, answer = client.ask(11, struct.pack("<QII", handle, len(key), 0), key)
            assert (kind, len(answer)) == (11, 16)
            return client.wire.receive(struct.unpack_from("<I", answer, 12)[0])

        assert value(b"uuid") == disk.uuid.encode()
        assert value(b"geometry.heads") == b"255"
        assert value(b"adapterType") == b"lsilogic"
        assert value(b"nonsense") == b""


def _query(handle: int, chunk: int, start: int, count: int) -> bytes:
    return struct.pack("<6Q", handle, 0, chunk, start, count, 0)


def test_allocation_is_one_bit_a_chunk_padded_to_four_bytes(site: Site) -> None:
    with site.client() as client:
        handle = client.opened(site.path)
        for chunk, start, count in ((65536, 0, 65), (MIB, 0, 64), (65536, 3 * MIB, 7), (4096, 3 * MIB, 33)):
            kind, answer = client.ask(13, _query(handle, chunk, start, count))
            assert kind == 13
            assert answer == _query(handle, chunk, start, count)
            bits = client.wire.receive(-(-count // 32) * 4)
            shown = [bits[at // 8] >> (at % 8) & 1 for at in range(8 * len(bits))]
            assert not any(shown[count:])
            for at in range(
                count
            ):  # whatever is not marked is zeros; here the marks are exact, but for holes
                data = site.truth(start + at * chunk, chunk)
                assert shown[at] or data == bytes(chunk)
            assert 0 < sum(shown) < count


@pytest.mark.parametrize(
    ("chunk", "start", "count"),
    [(65536, 4096, 1), (0, 0, 1), (100, 0, 1), (65536, 0, 0), (65536, 64 * MIB, 1), (MIB, 63 * MIB, 2)],
)
def test_allocation_that_is_not_aligned_or_outside_is_an_error(
    site: Site, chunk: int, start: int, count: int
) -> None:
    with site.client() as client:
        handle = client.opened(site.path)
        assert client.error(13, _query(handle, chunk, start, count))
        assert client.ask(13, _query(handle, MIB, 0, 1))[0] == 13


def test_what_a_ticket_for_reading_does_not_allow(site: Site) -> None:
    with site.client() as client:
        assert client.open_file(site.path, flags=0x1F)[0] == 1
        kind, answer = client.open_file(site.path, flags=0)
        assert (kind, struct.unpack_from("<I", answer)[0]) == (1, READ_ONLY)
        handle = client.opened(site.path)
        write = struct.pack("<QQQQIII", handle, 2, 0, 512, 512, 512, 0)
        assert client.error(7, write) == READ_ONLY


def test_a_running_machine_without_a_snapshot_is_refused(site: Site) -> None:
    live = site.estate.inventory.vm(RUNNING).disks[0].path
    bare = site.estate.inventory.vm("vm-102").disks[0].path
    with site.client() as client:
        assert client.open_file(live)[0] == 1
        assert client.open_file(bare)[0] == 1  # a file of another machine
        assert client.open_file("[datastore-1] nothing/nothing.vmdk")[0] == 1
        assert client.opened(site.path)
    with site.client("vm-102") as client:
        assert client.open_file(bare)[0] == 1
        site.set(lock_live=False)
        assert client.opened(bare)
    with site.client(OFF) as client:
        assert client.opened(site.estate.inventory.vm(OFF).disks[0].path)


def test_a_ticket_for_one_disk_opens_that_disk(site: Site) -> None:
    disks = site.estate.inventory.vm(RUNNING).snapshot(site.snapshot).disks
    with Client(site.hosts.issue(RUNNING, disk=disks[1].key)).begin() as client:
        assert client.open_file(disks[0].path)[0] == 1
        assert client.opened(disks[1].path)


@pytest.mark.parametrize(
    ("offset", "length"), [(1, 512), (0, 100), (64 * MIB, 512), (64 * MIB - 512, 1024), (0, 0)]
)
def test_a_read_outside_or_between_sectors_is_an_error(site: Site, offset: int, length: int) -> None:
    with site.client() as client:
        handle = client.opened(site.path)
        client.want(handle, offset, length)
        assert client.heard()[0] == 1
        client.want(handle, 0, 512)
        assert client.piece().data == site.truth(0, 512)


def test_a_closed_handle_is_unknown(site: Site) -> None:
    with site.client() as client:
        handle = client.opened(site.path)
        assert client.ask(5, struct.pack("<Q", handle)) == (5, struct.pack("<Q", handle))
        client.want(handle, 0, 512)
        assert client.heard()[0] == 1
        assert client.error(5, struct.pack("<Q", handle))


def test_requests_without_a_session_and_unknown_ones_are_errors(site: Site) -> None:
    with Client(site.hosts.issue(RUNNING)) as client:
        client.enter()
        client.session()
        client.proxy()
        client.introduce()
        assert client.open_file(site.path)[0] == 1
        assert client.error(77, bytes(12))
        assert client.ask(2, bytes(16))[0] == 2
        assert client.error(2, bytes(16))


@pytest.mark.parametrize(
    "header", [(0xA100DA7B, 7, 44, 9), (0xA100DA7A, 7, 45, 9), (0xA100DA7A, 7, 1 << 31, 9)]
)
def test_a_frame_that_cannot_be_read_ends_the_connection(site: Site, header: tuple[int, ...]) -> None:
    with site.client() as client:
        client.wire.send(struct.pack("<4I", *header))
        with pytest.raises(ConnectionError):
            client.wire.receive(1)
