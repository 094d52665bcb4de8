"""Reading over NFC: rate against a host's cap, CPU of the client, several streams, and bytes from the host by compression.

    python -m benchmarks.nfc [--mib 768] [--cap 160] [--pairs 3] [--json FILE] [--profile FILE]

The simulated hosts run in a process of their own and cap each connection, as a host does. Rates are shares of that cap. The disk
is thick: 70 % of it are zeros. Bytes from the host are what the kernel counted on the sockets, TLS included.
"""

from __future__ import annotations

import argparse
import cProfile
import json
import pstats
import random
import resource
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from connector.model import Extent
from connector.sources.disk_source import DiskSource
from connector.sources.nfc import ERRORS
from nfc.disk import NfcDisk, open_disk
from nfc.spec import DiskSpec, Ticket

MIB = 1 << 20
VM = "vm-101"
DATA = 0.3  # share of the disk that is not zeros
TICKETS = 400
RECEIVED = 128  # where struct tcp_info has tcpi_bytes_received, a u64


@dataclass(frozen=True, slots=True)
class Figures:
    """One run: bytes a second of each stream together, as a share of the cap; CPU seconds of the client for each GiB."""

    name: str
    share: float
    cpu: float
    received: float  # bytes from the host for each byte read


def serve(mib: int, cap: int, rtt: int) -> None:
    """The hosts: one line of JSON with tickets, then until standard input ends."""
    from simulator import certificate
    from simulator.estate.build import Layout, build_estate
    from simulator.nfc import Hosts, Switches

    with tempfile.TemporaryDirectory(dir="/dev/shm") as home, ExitStack() as unwind:
        estate = build_estate(Path(home) / "estate", Layout(vms=0, fillers=1))
        unwind.callback(estate.close)
        (moref,) = estate.inventory.vms
        disk = estate.hardware.add_disk(moref, 1000, 0, mib * MIB)
        storage, dice = estate.storage.disk(disk.storage), random.Random(7)
        for place in range(mib):
            storage.write(place * MIB, dice.randbytes(MIB) if dice.random() < DATA else bytes(MIB))
        switches = Switches(
            bandwidth=cap, rtt_ms=rtt, ticket_seconds=3600.0, connections=TICKETS, memory=1 << 30
        )
        hosts = Hosts(estate, certificate.load_or_create(Path(home) / "certificate"), switches=switches)
        unwind.callback(hosts.close)
        tickets = [hosts.issue(moref) for _ in range(TICKETS)]
        print(json.dumps({"path": disk.path, "tickets": [asdict(ticket) for ticket in tickets]}), flush=True)
        sys.stdin.read()


class Host:
    """The process with the hosts."""

    def __init__(self, mib: int, ready: dict[str, Any]) -> None:
        self._size, self._path, self._tickets = mib * MIB, ready["path"], ready["tickets"]

    def spec(self, compression: str, depth: int) -> DiskSpec:
        ticket = self._tickets.pop()
        keys = ("address", "thumbprint", "session_id", "port", "service")
        return DiskSpec(
            Ticket(*(ticket[key] for key in keys)), self._path, compression=compression, depth=depth
        )

    @contextmanager
    def disk(self, compression: str, depth: int) -> Iterator[NfcDisk]:
        with open_disk(self.spec(compression, depth)) as disk:
            yield disk

    def read(self, compression: str, depth: int) -> tuple[int, float]:
        """Read the whole disk once, as a pass does: the bytes that the socket received, and the seconds without opening."""
        disk = open_disk(self.spec(compression, depth))
        with closing(DiskSource(disk, self._path, ERRORS, depth)) as source:
            began = time.monotonic()
            for block in source.read([Extent(0, self._size)]):
                block.release()
            return _received(disk._engine._connection.socket), time.monotonic() - began


def _received(connected: socket.socket) -> int:
    information = connected.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, RECEIVED + 8)
    return int(struct.unpack_from("=Q", information, RECEIVED)[0])


@contextmanager
def host(mib: int, cap: int, rtt: int) -> Iterator[Host]:
    words = [
        sys.executable,
        "-m",
        "benchmarks.nfc",
        "--serve",
        "--mib",
        str(mib),
        "--cap",
        str(cap),
        "--rtt",
        str(rtt),
    ]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin and process.stdout
        try:
            yield Host(mib, json.loads(process.stdout.readline()))
        finally:
            process.stdin.close()


def run(
    name: str, at: Host, mib: int, cap: int, *, streams: int = 1, compression: str = "none", depth: int = 8
) -> Figures:
    """Each stream reads the whole disk over a connection of its own."""
    done: list[tuple[int, float]] = []
    threads = [
        threading.Thread(target=lambda: done.append(at.read(compression, depth))) for _ in range(streams)
    ]
    before = resource.getrusage(resource.RUSAGE_SELF)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    size = streams * mib * MIB
    rate = size / max(seconds for _, seconds in done)
    return Figures(
        name,
        rate / (cap * streams) if cap else rate / MIB,
        cpu / (size / (1 << 30)),
        sum(count for count, _ in done) / size,
    )


def figures(mib: int, cap: int, pairs: int) -> Iterator[list[Figures]]:
    for rtt in (0, 20):
        with host(mib, cap, rtt) as at:
            yield [run(f"1 stream, {rtt} ms", at, mib, cap) for _ in range(pairs)]
            if rtt:
                for depth in (2, 4, 16, 32):
                    yield [
                        run(f"1 stream, {rtt} ms, depth {depth}", at, mib, cap, depth=depth)
                        for _ in range(pairs)
                    ]
    quarter = cap // 4
    with host(mib // 2, quarter, 0) as at:
        for streams in (1, 4):
            name = f"{streams} of a quarter of the cap each"
            yield [run(name, at, mib // 2, quarter, streams=streams) for _ in range(pairs)]
    with host(mib, cap, 0) as at:
        for compression in ("skipz", "zlib"):
            yield [run(compression, at, mib, cap, compression=compression) for _ in range(pairs)]
    with host(mib, 0, 0) as at:
        yield [run("uncapped: MiB/s", at, mib, 0) for _ in range(pairs)]


def profiled(work: Callable[[], object]) -> pstats.Stats:
    """Where the time goes, in the threads that begin meanwhile too: the connection's own thread does most of the work."""
    profiles = [cProfile.Profile()]

    def begin(*_: object) -> None:
        profiles.append(cProfile.Profile())
        profiles[-1].enable()

    threading.setprofile(begin)
    try:
        profiles[0].runcall(work)
    finally:
        threading.setprofile(None)
    return pstats.Stats(*profiles)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--mib", type=int, default=768)
    parser.add_argument("--cap", type=int, default=160, help="MB/s of one connection")
    parser.add_argument("--pairs", type=int, default=3)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--profile", type=Path)
    parser.add_argument("--serve", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--rtt", type=int, default=0, help=argparse.SUPPRESS)
    words = parser.parse_args()
    if words.serve:
        serve(words.mib, words.cap, words.rtt)
        return
    if words.profile:
        with host(words.mib, 0, 0) as at:
            profiled(lambda: at.read("none", 8)).dump_stats(words.profile)
        return
    rows = []
    for runs in figures(words.mib, words.cap * 1_000_000, words.pairs):
        shares = [one.share for one in runs]
        cpu, received = (
            statistics.median(getattr(one, name) for one in runs) for name in ("cpu", "received")
        )
        row = {
            "name": runs[0].name,
            "share": statistics.median(shares),
            "least": min(shares),
            "most": max(shares),
            "cpu": cpu,
            "received": received,
        }
        rows.append(row)
        print(
            f"{row['name']:40} {row['share']:7.3f} ({row['least']:.3f} to {row['most']:.3f})"
            f"  CPU {cpu:.2f} s/GiB  received {received:.3f}",
            flush=True,
        )
    if words.json:
        words.json.write_text(json.dumps(rows, indent=2))


if __name__ == "__main__":
    main()
