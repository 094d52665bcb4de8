"""Sender and receiver over real TLS sockets in one process: equality, failures, hostile peers, bounds."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from connector import errors
from connector.errors import (
    Interrupted,
    PeerRefused,
    ReaderFailed,
    TargetFull,
    TransferFailed,
    TrustFailed,
    WireViolation,
)
from connector.kinds import RangeState
from connector.model import Extent
from connector.settings import TransferSettings
from connector.transfer import digest, sender, sequential, tls, wire
from connector.transfer import extents as ranges
from connector.transfer.certificates import CertificateRole
from connector.transfer.plan import plan
from connector.transfer.policies import Delayed, Failing
from connector.transfer.receiver import Hello, Receiver
from connector.transfer.source import FileSource
from connector.transfer.target import MemoryTarget
from connector.transfer.wire import Frame, FrameKind
from tests.transfer.conftest import CELL, MIB, Job, make_disk
from tests.waiting import PATIENCE


class MemorySink:
    """Remembers what was committed; `write_fault` may raise."""

    def __init__(self, capacity: int, write_fault: Callable[[int], None] = lambda _: None) -> None:
        self.target, self.capacity = MemoryTarget(capacity), capacity
        self.committed: list[Extent] = []
        self.pending: list[Extent] = []
        self.closed = 0
        self._fault = write_fault

    def write(self, offset: int, data: memoryview, digests: bytes) -> None:
        self._fault(offset)
        assert digest.cells(data) == digests
        self.target.write(offset, data)

    def zero(self, offset: int, length: int) -> None:
        self.target.zero(offset, length)

    def confirm(self, offset: int, length: int, root: bytes) -> None:
        room = bytearray(length)
        self.target.read_into(offset, memoryview(room))
        if digest.root(digest.cells(memoryview(room))) != root:
            raise TransferFailed("not the same")

    def commit(self, found: list[tuple[Extent, RangeState]]) -> None:
        self.target.flush()
        self.committed += [extent for extent, _ in found]

    def close(self) -> None:
        self.closed += 1

    def content(self) -> bytes:
        room = bytearray(self.capacity)
        self.target.read_into(0, memoryview(room))
        return bytes(room)


class Listener:
    """A block port over one sink."""

    def __init__(
        self, job: Job, sink: MemorySink | Exception, role: CertificateRole = CertificateRole.APPLIANCE
    ) -> None:
        self.sink, self._job, self._role = sink, job, role
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.failures: list[Exception] = []
        self.channels: list[tls.Channel] = []
        self._serving: list[threading.Thread] = []
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def connect(self) -> tls.Channel:
        return tls.connect("127.0.0.1", self.port, self._job.appliance)

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for thread in self._serving:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self._serving.append(threading.Thread(target=self._serve, args=(sock,)))
            self._serving[-1].start()

    def _serve(self, sock: socket.socket) -> None:
        channel = tls.Channel(sock, tls.context(self._job.instance, server=True), server=True)
        self.channels.append(channel)
        try:
            channel.handshake([self._role])
            Receiver(channel, self._open).run()
            channel.goodbye()
        except errors.ConnectorError as error:
            self.failures.append(error)
        finally:
            channel.close()

    def _open(self, hello: Hello) -> MemorySink:
        if isinstance(self.sink, Exception):
            raise self.sink
        return self.sink


@contextmanager
def listening(job: Job, sink: MemorySink | Exception) -> Iterator[Listener]:
    before = set(threading.enumerate())
    listener = Listener(job, sink)
    try:
        yield listener
    finally:
        listener.close()
        assert set(threading.enumerate()) <= before, "a thread was left behind"


def hello(capacity: int, window: int = MIB) -> Hello:
    return Hello("2000", "pass-1", capacity, window)


SMALL = TransferSettings(in_flight=2 * MIB)
Send = Callable[[FileSource, Listener, list[Extent], list[Extent]], sender.Sent]


def _pipelined(**settings: object) -> Send:
    chosen = TransferSettings(**settings)  # type: ignore[arg-type]

    def send(source: FileSource, peer: Listener, read: list[Extent], zero: list[Extent]) -> sender.Sent:
        return sender.send(source, peer.connect, hello(source.capacity), read, zero, settings=chosen)

    return send


def _sequential(source: FileSource, peer: Listener, read: list[Extent], zero: list[Extent]) -> sender.Sent:
    channel = peer.connect()
    try:
        return sequential.send(source, channel, hello(source.capacity), read, zero)
    finally:
        channel.close()


SENDERS: dict[str, Send] = {
    "sequential": _sequential,
    "pipelined": _pipelined(),
    "compressed": _pipelined(compression="1"),
    "three connections": _pipelined(connections=3),
    "tight credit": _pipelined(in_flight=MIB),
}


@pytest.mark.parametrize("name", SENDERS)
def test_contract_target_equals_source_and_everything_is_committed(name: str, job: Job, disk: Path) -> None:
    source = FileSource(disk)
    made = plan(source.capacity, source.allocated(Extent(0, source.capacity)), dirty=True)
    sink = MemorySink(source.capacity)
    sink.target.write(0, memoryview(b"\xee" * source.capacity))
    with listening(job, sink) as peer:
        sent = SENDERS[name](source, peer, made.read, made.zero)
    assert sink.content() == disk.read_bytes()
    assert ranges.normalise(sink.committed) == [Extent(0, source.capacity)]
    assert sent.read == ranges.covered(made.read) and sent.read == sent.zero + sent.sent
    assert peer.failures == [] and sink.closed >= 1


def test_invariant_1_nothing_is_acknowledged_before_it_is_committed(job: Job, disk: Path) -> None:
    source = FileSource(disk)
    sink = MemorySink(source.capacity)
    acked: list[tuple[int, int]] = []
    with listening(job, sink) as peer:
        sender.send(
            Delayed(source, 0.01),
            peer.connect,
            hello(source.capacity),
            ranges.whole(source.capacity),
            settings=TransferSettings(in_flight=4 * MIB),
            progress=lambda seen: acked.append(
                (seen.acked, ranges.covered(ranges.normalise(sink.committed)))
            ),
        )
    assert acked and all(told <= committed for told, committed in acked)
    assert acked[-1][0] == source.capacity, "zeros count as soon as they are committed, and no earlier"


def test_a_bit_flipped_after_digesting_is_refused_and_not_written(job: Job) -> None:
    sink = MemorySink(MIB)
    with listening(job, sink) as peer:
        channel = _introduced(peer, MIB)
        plain = os.urandom(CELL)
        spoilt = bytes([plain[0] ^ 4]) + plain[1:]
        _put(
            channel,
            Frame(FrameKind.DATA, 1, 0, CELL, digests=digest.cells(memoryview(plain)), payload=spoilt),
        )
        answer = _answer(channel)
        channel.close()
    assert answer.kind == FrameKind.ERROR and "digest differs" in str(answer.text["what"])
    assert sink.committed == [] and not any(sink.content())


HOSTILE: dict[str, list[Frame]] = {
    "beyond the disk": [Frame(FrameKind.ZERO, 1, 0, 1 << 40)],
    "half a cell": [
        Frame(FrameKind.DATA, 1, 0, 512, digests=digest.cells(memoryview(bytes(512))), payload=bytes(512))
    ],
    "hello twice": [hello(MIB).frame()],
    "gap": [Frame(FrameKind.FLUSH, 1), Frame(FrameKind.FLUSH, 3)],
    "wrong direction": [Frame(FrameKind.ACK, 1)],
    "data with codec zstd that is not": [
        Frame(FrameKind.DATA, 1, 0, CELL, wire.Codec.ZSTD, digest.cells(memoryview(bytes(CELL))), b"garbage")
    ],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_frames_get_a_refusal_and_write_nothing(name: str, job: Job) -> None:
    sink = MemorySink(MIB)
    with listening(job, sink) as peer:
        channel = _introduced(peer, MIB)
        for frame in HOSTILE[name]:
            _put(channel, frame)
        while (answer := _answer(channel)).kind == FrameKind.ACK:
            pass
        channel.close()
    assert answer.kind == FrameKind.ERROR and answer.text["error"] == "WireViolation"
    assert sink.committed == [] and [type(e) for e in peer.failures] == [WireViolation]


def test_a_refusal_says_why(job: Job, disk: Path) -> None:
    refusal = PeerRefused("pass-1 is not the running pass", on="disk 2000", remedy="begin it")
    with listening(job, refusal) as peer, pytest.raises(PeerRefused, match="disk 2000: pass-1 is not"):
        sender.send(FileSource(disk), peer.connect, hello(5), [Extent(0, MIB)])


def test_full_target_reaches_the_caller_with_its_class(job: Job, disk: Path) -> None:
    def full(offset: int) -> None:
        if offset >= 4 * MIB:
            raise TargetFull("no space left (0 bytes free)", on="disk.raw")

    source = FileSource(disk)
    sink = MemorySink(source.capacity, full)
    with listening(job, sink) as peer, pytest.raises(TargetFull, match="no space left"):
        sender.send(
            source, peer.connect, hello(source.capacity), ranges.whole(source.capacity), settings=SMALL
        )
    assert all(extent.end <= 5 * MIB for extent in sink.committed)


def test_first_error_wins_and_the_source_s_error_is_it(job: Job, disk: Path) -> None:
    source = FileSource(disk)
    bad = Failing(source, lambda at: ReaderFailed("NFC error 5", on="disk") if at >= 9 * MIB else None)
    with (
        listening(job, MemorySink(source.capacity)) as peer,
        pytest.raises(ReaderFailed, match="NFC error 5"),
    ):
        sender.send(bad, peer.connect, hello(source.capacity), ranges.whole(source.capacity), settings=SMALL)


@pytest.mark.parametrize("connections", [1, 3])
def test_cut_connection_is_a_retryable_failure_and_gives_all_buffers_back(
    connections: int, job: Job, disk: Path
) -> None:
    source = FileSource(disk, 8)

    def cut(offset: int) -> None:
        if offset >= 6 * MIB:
            for channel in peer.channels:
                channel.abort()

    sink = MemorySink(source.capacity, cut)
    settings = TransferSettings(in_flight=2 * MIB, connections=connections)
    with listening(job, sink) as peer, pytest.raises(TransferFailed) as caught:
        sender.send(
            source, peer.connect, hello(source.capacity), ranges.whole(source.capacity), settings=settings
        )
    assert caught.value.retryable
    lent = []
    for block in source.read([Extent(0, 8 * MIB)]):  # the pool has exactly eight
        lent.append(block)
        if len(lent) == 8:
            break
    assert len(lent) == 8


def test_stop_ends_soon(job: Job, disk: Path) -> None:
    source = FileSource(disk)
    stop = threading.Event()
    with listening(job, MemorySink(source.capacity)) as peer, pytest.raises(Interrupted):
        sender.send(
            Delayed(source, 0.05),
            peer.connect,
            hello(source.capacity),
            ranges.whole(source.capacity),
            stop=stop,
            progress=lambda _: stop.set(),
        )


def test_memory_does_not_grow_with_the_disk(job: Job, tmp_path: Path) -> None:
    import tracemalloc

    disk = make_disk(tmp_path / "wide", 160 * MIB, 5)

    class Discard(MemorySink):
        def __init__(self) -> None:
            super().__init__(0)
            self.capacity = disk.stat().st_size

        def write(self, offset: int, data: memoryview, digests: bytes) -> None:
            pass

        zero = write  # type: ignore[assignment]

        def commit(self, found: list[tuple[Extent, bool]]) -> None:
            pass

    source = FileSource(disk)
    with listening(job, Discard()) as peer:
        peer.sink.zero = lambda offset, length: None  # type: ignore[union-attr,method-assign]
        tracemalloc.start()
        read = plan(source.capacity, source.allocated(Extent(0, source.capacity))).read
        sender.send(source, peer.connect, hello(source.capacity), read)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 32 * MIB


@pytest.mark.parametrize("who", ["another job", "wrong role", "nobody"])
def test_strangers_get_nothing(who: str, job: Job, other_job: Job) -> None:
    with listening(job, MemorySink(MIB)) as peer:
        if who == "nobody":
            with socket.create_connection(("127.0.0.1", peer.port)) as plain:
                plain.sendall(wire.encode(hello(MIB).frame()))
                answer = plain.recv(1 << 16)
            assert len(answer) <= 7  # a TLS alert at most
        else:
            credential = other_job.appliance if who == "another job" else job.control
            with pytest.raises((TrustFailed, TransferFailed)):
                channel = tls.connect("127.0.0.1", peer.port, credential)
                _put(channel, hello(MIB).frame())
                _answer(channel)
    assert peer.failures and isinstance(peer.failures[0], (TrustFailed, TransferFailed))
    assert peer.sink.closed == 0  # type: ignore[union-attr]


def test_a_handshake_that_dribbles_ends_at_its_deadline(job: Job) -> None:
    stop, listener = threading.Event(), socket.create_server(("127.0.0.1", 0))
    far = socket.create_connection(listener.getsockname())
    near, _ = listener.accept()

    def dribble() -> None:
        with suppress(OSError):
            far.sendall(b"\x16\x03\x01\x02\x00")
            while not stop.wait(0.05):
                far.sendall(b"\x01")

    thread = threading.Thread(target=dribble)
    thread.start()
    channel = tls.Channel(near, tls.context(job.instance, server=True), server=True)
    began = time.monotonic()
    with pytest.raises(TransferFailed):
        channel.handshake([CertificateRole.APPLIANCE], timeout=0.4)
    assert time.monotonic() - began < PATIENCE
    stop.set()
    thread.join()
    for closing in (near, far, listener):
        closing.close()


def test_an_instance_that_is_none_is_not_believed(job: Job) -> None:
    """A server with a certificate of the same job, but of an appliance."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        sock, _ = listener.accept()
        channel = tls.Channel(sock, tls.context(job.control, server=True), server=True)
        with pytest.raises((TransferFailed, TrustFailed)):
            channel.handshake([CertificateRole.APPLIANCE])
            channel.receive_into(memoryview(bytearray(1)))
        channel.close()

    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises(TrustFailed):
        tls.connect("127.0.0.1", listener.getsockname()[1], job.appliance)
    thread.join()
    listener.close()


def test_expired_certificates_are_refused(job: Job) -> None:
    import datetime
    from dataclasses import replace

    past = job.authority.issue(CertificateRole.APPLIANCE, lifetime=datetime.timedelta(minutes=-5))
    with (
        listening(replace(job, appliance=past), MemorySink(MIB)) as peer,
        pytest.raises((TrustFailed, TransferFailed)),
    ):
        channel = peer.connect()
        _put(channel, hello(MIB).frame())
        _answer(channel)
    assert isinstance(peer.failures[0], TrustFailed) and "expired" in str(peer.failures[0])


def test_keys_never_show(job: Job) -> None:
    assert "PRIVATE" not in repr(job.appliance)


def _introduced(peer: Listener, capacity: int) -> tls.Channel:
    channel = peer.connect()
    _put(channel, hello(capacity).frame())
    assert _answer(channel).kind == FrameKind.READY
    return channel


def _put(channel: tls.Channel, frame: Frame) -> None:
    channel.send([wire.encode(frame), frame.payload])


def _answer(channel: tls.Channel) -> Frame:
    decoder = wire.Decoder(wire.FROM_INSTANCE)
    while True:
        count = channel.receive_into(decoder.buffer())
        if not count:
            raise TransferFailed("closed")
        frame = decoder.advance(count)
        if frame is not None:
            return frame
