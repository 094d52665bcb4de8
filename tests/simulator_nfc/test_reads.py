"""Reads: equal to the estate's bytes in every form of an answer, and what is left when a connection breaks."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Callable
from dataclasses import replace

import pytest

from simulator.estate.errors import InvalidState
from simulator.estate.inventory import Inventory
from simulator.faults import Rule
from simulator.nfc.switches import DAMAGES
from tests.simulator_nfc.conftest import MIB, RUNNING, Site
from tests.simulator_nfc.raw import Client, Piece, joined
from tests.waiting import eventually

PLACES = [(0, MIB // 4), (3 * MIB, 512), (3 * MIB, 262144), (64 * MIB - 8192, 8192), (512, 65536 + 512)]
NONE, ZLIB, FASTLZ, SKIPZ = range(4)


def unpacked(piece: Piece) -> bytes:
    """The plain bytes of one fragment."""
    if piece.compression == NONE:
        return piece.data
    if piece.compression == ZLIB:
        return zlib.decompress(piece.data)
    assert piece.compression == SKIPZ
    length, zero = struct.unpack_from("<II", piece.data)
    assert zero == 0
    out, at = bytearray(length), 8
    while at < len(piece.data):
        place, run = struct.unpack_from("<II", piece.data, at)
        out[place : place + run] = piece.data[at + 8 : at + 8 + run]
        at += 8 + run
    return bytes(out)


@pytest.mark.parametrize("compression", [NONE, ZLIB, FASTLZ, SKIPZ])
@pytest.mark.parametrize("size", [0, 16384, MIB])
def test_reads_are_equal_to_the_estate(site: Site, size: int, compression: int) -> None:
    with site.client(size=size, count=1) as client:
        handle = client.opened(site.path)
        for offset, length in PLACES:
            operation = client.want(handle, offset, length, compression)
            pieces = client.pieces(length)
            assert joined(pieces, length, unpacked) == site.truth(offset, length)
            assert {(piece.operation, piece.offset, piece.total) for piece in pieces} == {
                (operation, offset, length)
            }
            assert max(piece.plain for piece in pieces) <= (size or 65536)
            assert [piece.place for piece in pieces] == sorted(piece.place for piece in pieces)


def test_compression_is_left_out_where_it_would_not_shrink(site: Site) -> None:
    with site.client() as client:
        handle = client.opened(site.path)
        for compression in (ZLIB, SKIPZ):
            client.want(handle, 0, MIB, compression)  # noise
            assert {piece.compression for piece in client.pieces(MIB)} == {NONE}
            client.want(handle, 8 * MIB, 65536, compression)  # zeros
            piece = client.piece()
            assert piece.compression == compression
            assert len(piece.data) == 8 or compression == ZLIB
        client.want(handle, 0, 65536, FASTLZ)
        assert client.piece().compression == NONE
        site.set(compression=False)
        client.want(handle, 8 * MIB, 65536, SKIPZ)
        assert client.piece().compression == NONE
        client.want(handle, 0, 512, 7)
        assert client.heard()[0] == 1


def test_fragments_of_several_reads_come_out_of_order(site: Site) -> None:
    site.set(shuffle=4)
    with site.client(size=4096, count=1) as client:
        handle = client.opened(site.path)
        wanted = {client.want(handle, at * MIB // 4, 65536): at * MIB // 4 for at in range(4)}
        client.tell(5, struct.pack("<Q", handle))  # its turn comes after the reads
        pieces = client.pieces(4 * 65536)
        assert client.heard()[0] == 5
    order = [(piece.operation, piece.place) for piece in pieces]
    assert order != sorted(order)
    for operation, offset in wanted.items():
        own = [piece for piece in pieces if piece.operation == operation]
        assert joined(own, 65536) == site.truth(offset, 65536)


def test_reads_see_the_snapshot_and_not_what_is_written_later(site: Site) -> None:
    with site.client() as client:
        handle = client.opened(site.path)
        client.want(handle, 0, 8192)
        data = joined(client.pieces(8192), 8192)
    live = site.estate.storage.disk(site.estate.inventory.vm(RUNNING).disks[0].storage).read(0, 8192)
    assert data == site.truth(0, 8192) != live == b"\xee" * 8192


def test_a_session_survives_vmotion(site: Site) -> None:
    before = site.estate.inventory.vm(RUNNING).host
    other = next(moref for moref in site.estate.inventory.hosts if moref != before)
    with site.client() as client:
        handle = client.opened(site.path)
        site.estate.hardware.edit(RUNNING, host=other)
        try:
            client.want(handle, 0, 512)
            assert client.piece().data == site.truth(0, 512)
            assert site.hosts.issue(RUNNING).host == other
        finally:
            site.estate.hardware.edit(RUNNING, host=before)


def _nothing_is_left(site: Site) -> None:
    eventually(lambda: site.hosts.connections == 0, "every connection's thread ended")
    assert site.hosts.memory == 0


def _whole(site: Site, client: Client) -> int:
    """A whole conversation; the bytes that the host sent in it, banner and authd included."""
    client.begin(4096, 1)
    handle = client.opened(site.path)
    client.want(handle, 0, 8192)
    client.pieces(8192)
    client.end()
    return len(client.wire.received)


def test_a_connection_cut_anywhere_leaves_nothing_behind(site: Site) -> None:
    with Client(site.hosts.issue(RUNNING)) as client:
        length = _whole(site, client)
    _nothing_is_left(site)
    banner, kept = len(site.hosts.switches.banner) + 2, site.hosts.tickets.outstanding
    cuts = [0, 1, banner, banner + 10, *range(banner + 30, length, length // 8), length - 1]
    for cut in cuts:
        site.set(cut_after=cut)
        with Client(site.hosts.issue(RUNNING)) as client, pytest.raises(OSError):
            _whole(site, client)
        assert len(client.wire.received) <= cut
    _nothing_is_left(site)
    unused = sum(cut <= banner for cut in cuts)  # whoever never came to SESSION keeps the ticket
    assert site.hosts.tickets.outstanding - kept == unused


def test_clients_that_vanish_leave_nothing_behind(site: Site) -> None:
    for step in range(5):
        client = Client(site.hosts.issue(RUNNING))
        for act in [client.enter, client.session, client.proxy, client.introduce][:step]:
            act()
        client.wire.close()
    client = site.client(size=MIB, count=4)
    client.want(client.opened(site.path), 0, 32 * MIB)
    client.piece()
    client.wire.close()
    _nothing_is_left(site)


def test_a_session_without_requests_ends(site: Site) -> None:
    site.set(idle_seconds=0.05)
    with site.client() as client, pytest.raises(ConnectionError):
        client.wire.receive(1)
    _nothing_is_left(site)


def test_a_host_that_goes_into_maintenance_drops_its_readers(site: Site) -> None:
    host = site.estate.inventory.vm(RUNNING).host

    def maintained(wanted: bool) -> Callable[[Inventory], Inventory]:
        return lambda inventory: replace(
            inventory,
            hosts=inventory.hosts | {host: replace(inventory.hosts[host], in_maintenance=wanted)},
        )

    with site.client() as client:
        handle = client.opened(site.path)
        site.estate.change(maintained(True))
        try:
            client.want(handle, 0, 512)
            with pytest.raises(OSError):
                client.piece()
            with pytest.raises(InvalidState, match="does not serve"):
                site.hosts.issue(RUNNING)
        finally:
            site.estate.change(maintained(False))


def test_answers_through_a_long_network_do_not_wait_for_each_other(site: Site) -> None:
    site.set(rtt_ms=1)
    with site.client(size=4096, count=1) as client:
        handle = client.opened(site.path)
        for at in range(16):
            client.want(handle, at * 65536, 65536)
        pieces = client.pieces(MIB)
        assert b"".join(piece.data for piece in pieces) == site.truth(0, MIB)
        client.want(handle, 0, 32 * MIB)
    site.set(rtt_ms=3_600_000)
    with Client(site.hosts.issue(RUNNING)):
        eventually(lambda: site.hosts.connections == 1, "a connection whose banner is under way")
        site.hosts.host(site.estate.inventory.vm(RUNNING).host).shut()
    site.hosts.host(site.estate.inventory.vm(RUNNING).host).open()
    _nothing_is_left(site)


def test_the_end_without_closing_the_session_is_understood(site: Site) -> None:
    for shuffle in (0, 4):
        site.set(shuffle=shuffle)
        with site.client() as client:
            client.want(client.opened(site.path), 0, 512)
            client.classic(4)
            client.piece()
            with pytest.raises(OSError):
                client.wire.receive(1)
    _nothing_is_left(site)


def test_one_connection_too_many_is_closed_without_a_banner(site: Site) -> None:
    site.set(connections=1)
    with site.client(), Client(site.hosts.issue(RUNNING)) as second, pytest.raises(ConnectionError):
        second.enter()


def test_a_host_that_is_down_refuses_and_comes_back_at_its_port(site: Site) -> None:
    ticket = site.hosts.issue(RUNNING)
    with site.client() as client, site.hosts.host(ticket.host).down():
        with pytest.raises(OSError):
            client.opened(site.path)
        with pytest.raises(ConnectionRefusedError):
            Client(ticket)
    with Client(ticket) as again:
        again.begin()


def test_rules_act_on_the_requests_they_name(site: Site) -> None:
    site.estate.faults.replace(
        [
            Rule("nfc.open", "answer", RUNNING, answer={"error": 5}),
            Rule("nfc.read", "cut", RUNNING, skip=1, bytes=100),
        ]
    )
    with site.client() as client:
        kind, answer = client.open_file(site.path)
        assert (kind, struct.unpack_from("<I", answer)[0]) == (1, 5)
        handle = client.opened(site.path)
        client.want(handle, 0, 512)
        client.piece()
        client.wire.received = b""
        client.want(handle, 0, 512)
        with pytest.raises(OSError):
            client.piece()
            client.piece()
        assert len(client.wire.buffer) + len(client.wire.received) == 100
    site.estate.faults.replace([Rule("nfc.connect", "cut")])
    with Client(site.hosts.issue(RUNNING)) as client, pytest.raises(OSError):
        client.enter()


@pytest.mark.parametrize("damage", sorted(DAMAGES))
def test_a_damaged_answer_is_not_a_right_one(site: Site, damage: str) -> None:
    site.set(damage=damage)
    with site.client(size=4096, count=1) as client:
        handle = client.opened(site.path)
        operation = client.want(handle, 0, 8192)
        good = client.piece()
        assert (good.place, good.data) == (0, site.truth(0, 4096))
        site.set(damage="")
        client.want(handle, 0, 512)
        if damage == "magic":
            with pytest.raises(AssertionError):
                client.piece()
            return
        bad = client.piece()
        right = (operation, NONE, 8192, 4096, 4096)
        assert (bad.operation, bad.compression, bad.total, bad.place, len(bad.data)) != right
