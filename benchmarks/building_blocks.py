"""The parts of the data path, one thread each: digests, zstd levels, TLS in one process pair, file reads and writes.

python -m benchmarks.building_blocks [--disk RAW] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import socket
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

import xxhash
import zstandard
from blake3 import blake3

from connector.transfer import digest, tls
from connector.transfer.certificates import Authority, CertificateRole
from connector.transfer.extents import BLOCK

AMOUNT = 512 << 20


def rate(work: Callable[[memoryview], object], blocks: list[memoryview]) -> float:
    """Plain GB for each second of this thread's CPU: the machine may be shared."""
    began, done = time.thread_time(), 0
    while done < AMOUNT:
        for block in blocks:
            work(block)
            done += len(block)
    return done / (time.thread_time() - began) / 1e9


def digests(blocks: list[memoryview]) -> dict[str, float]:
    return {
        "BLAKE3, 64 KiB cells": rate(digest.cells, blocks),
        "BLAKE3, 1 MiB": rate(lambda b: blake3(b).digest(), blocks),
        "XXH3-128, 1 MiB": rate(lambda b: xxhash.xxh3_128_digest(b), blocks),
    }


def compression(blocks: list[memoryview]) -> dict[str, float]:
    found: dict[str, float] = {}
    for level in (-5, -1, 1, 3):
        compressor = zstandard.ZstdCompressor(level=level)
        packed = [compressor.compress(block) for block in blocks]
        ratio = sum(map(len, blocks)) / sum(map(len, packed))
        found[f"zstd {level}, ratio {ratio:.1f}"] = rate(compressor.compress, blocks)
    return found


def files(directory: Path, blocks: list[memoryview]) -> dict[str, float]:
    with tempfile.TemporaryFile(dir=directory) as file:
        number = file.fileno()
        room, at = memoryview(bytearray(BLOCK)), iter(range(1 << 30))
        found = {"pwrite, new": rate(lambda b: os.pwrite(number, b, next(at) * BLOCK), blocks)}
        found["preadv"] = rate(lambda _: os.preadv(number, [room], 0), blocks)
        return found


def transport(blocks: list[memoryview]) -> dict[str, float]:
    """CPU seconds for each GiB, of either end (user and system)."""
    authority = Authority.create("benchmark")
    server = tls.context(authority.issue(CertificateRole.INSTANCE), server=True)
    credential = authority.issue(CertificateRole.APPLIANCE)
    listener = socket.create_server(("127.0.0.1", 0))
    spent: dict[str, float] = {}

    def receive() -> None:
        sock, _ = listener.accept()
        channel = tls.Channel(sock, server, server=True)
        channel.handshake([CertificateRole.APPLIANCE])
        room, left = memoryview(bytearray(BLOCK)), AMOUNT
        before = _thread_cpu()
        while left:
            left -= channel.receive_into(room[: min(left, BLOCK)])
        spent["TLS receiving, CPU s/GiB"] = (_thread_cpu() - before) * (1 << 30) / AMOUNT
        channel.close()

    thread = threading.Thread(target=receive)
    thread.start()
    channel = tls.connect("127.0.0.1", listener.getsockname()[1], credential)
    before = _thread_cpu()
    for number in range(AMOUNT // BLOCK):
        channel.send([blocks[number % len(blocks)]])
    spent["TLS sending, CPU s/GiB"] = (_thread_cpu() - before) * (1 << 30) / AMOUNT
    thread.join()
    channel.close()
    listener.close()
    return spent


def _thread_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_THREAD)
    return used.ru_utime + used.ru_stime


def _blocks(disk: Path | None) -> list[memoryview]:
    if disk is None:
        pool = b"".join(file.read_bytes() for file in sorted(Path("/usr/bin").iterdir()) if file.is_file())
        return [memoryview(pool)[at : at + BLOCK] for at in range(0, min(len(pool), 64 << 20) - BLOCK, BLOCK)]
    with disk.open("rb") as file:
        file.seek(64 << 20)
        return [memoryview(file.read(BLOCK)) for _ in range(64)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--disk", type=Path)
    parser.add_argument("--directory", type=Path)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    blocks = _blocks(options.disk)
    found = digests(blocks) | compression(blocks) | files(options.directory, blocks) | transport(blocks)
    for name, figure in found.items():
        print(f"{name:32}{figure:8.2f}{'' if 'CPU' in name else ' GB/s'}")
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
