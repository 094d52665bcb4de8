"""A full pass of ours against nbdcopy over TLS, in alternating pairs on the same disk; both results are
compared byte by byte.

    python -m benchmarks.pass_vs_nbdcopy [--pairs 5] [--directory /dev/shm] [--source vddk|file] [--json FILE]

Ours: reader process (VDDK worker over the stand-in library), appliance process, instance process: digests,
journal and acknowledgements included. Theirs: nbdkit file -> nbdcopy -> nbdkit file over TLS with X.509 on
both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from benchmarks import disks
from connector.settings import TransferSettings
from connector.transfer.certificates import Authority, CertificateRole

HERE = "127.0.0.1"


@dataclass(frozen=True)
class Figure:
    """One copy. CPU seconds and peak memory (bytes) count every process that took part."""

    wall: float
    cpu: float
    memory: int
    wire: int


def ours(
    disk: Path,
    home: Path,
    credentials: dict[str, dict[str, str]],
    reader: str,
    compression: str,
    connections: int,
) -> Figure:
    with _instance(home, credentials["instance"]) as (process, ports):
        before = process.cpu_times()
        order = {"disk": str(disk), "home": str(home), "reader": reader, "compression": compression}
        order["connections"] = connections  # type: ignore[assignment]
        order |= {"ports": ports, "credential": credentials["appliance"]}  # type: ignore[dict-item]
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.appliance"],
            input=json.dumps(order),
            text=True,
            capture_output=True,
        )
        if done.returncode:
            raise SystemExit(done.stderr)
        found = json.loads(done.stdout)
        after = process.cpu_times()
        peak = _peak(process.pid)
        _same(disk, home / "instance" / "disks" / "2000" / "disk.raw")
    cpu = found["cpu"] + after.user + after.system - before.user - before.system
    return Figure(found["wall"], cpu, found["memory"] + peak, found["wire"])


def theirs(disk: Path, home: Path, certificates: Path) -> Figure:
    target = home / "nbd.raw"
    with target.open("wb") as out:
        out.truncate(disk.stat().st_size)
    reader = _nbdkit(["-r", "-U", str(home / "nbd.sock"), "file", str(disk)], home / "nbd.sock")
    port = _free_port()
    tls = ["--tls=require", f"--tls-certificates={certificates}", "--tls-verify-peer"]
    writer = _nbdkit(["-i", HERE, "-p", str(port), *tls, "file", str(target)], None, port)
    uri = f"nbds://{HERE}:{port}/?tls-certificates={certificates}"
    began = time.monotonic()
    source = f"nbd+unix:///?socket={home}/nbd.sock"
    copier = subprocess.Popen(["nbdcopy", "--destination-is-zero", source, uri])
    usage = [_waited(copier)]
    wall = time.monotonic() - began
    for server in (reader, writer):
        server.send_signal(signal.SIGTERM)
        usage.append(_waited(server))
    _same(disk, target)
    target.unlink()
    return Figure(wall, sum(cpu for cpu, _ in usage), sum(memory for _, memory in usage), 0)


@contextmanager
def _instance(home: Path, credential: dict[str, str]) -> Iterator[tuple[psutil.Process, list[int]]]:
    directory = home / "instance"
    process = subprocess.Popen(
        [
            sys.executable,
            "-m",
            "connector.instance",
            "--directory",
            str(directory),
            "--control-port",
            "0",
            "--block-port",
            "0",
            "--credential-stdin",
            "--exit-with-stdin",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert process.stdin and process.stdout
    try:
        process.stdin.write(json.dumps(credential) + "\n")
        process.stdin.flush()
        ready = json.loads(process.stdout.readline())
        yield psutil.Process(process.pid), [ready["control_port"], ready["block_port"]]
    finally:
        process.stdin.close()
        process.wait()
        process.stdout.close()
        shutil.rmtree(directory, ignore_errors=True)


def _nbdkit(arguments: list[str], path: Path | None, port: int = 0) -> subprocess.Popen[bytes]:
    if path is not None:
        path.unlink(missing_ok=True)
    process = subprocess.Popen(["nbdkit", "-f", *arguments])
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if path is not None and path.exists():
            return process
        if port and any(c.laddr.port == port for c in psutil.Process(process.pid).net_connections()):
            return process
        time.sleep(0.01)
    raise SystemExit("nbdkit did not start")


def _waited(process: subprocess.Popen[bytes]) -> tuple[float, int]:
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024


def _peak(pid: int) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _free_port() -> int:
    import socket

    with socket.create_server((HERE, 0)) as listener:
        return int(listener.getsockname()[1])


def _same(left: Path, right: Path) -> None:
    if subprocess.run(["cmp", "-s", str(left), str(right)]).returncode:
        raise SystemExit(f"{right} differs from {left}")


def _certificates(home: Path) -> tuple[Path, dict[str, dict[str, str]]]:
    authority = Authority.create("benchmark")
    instance = authority.issue(CertificateRole.INSTANCE, addresses=[HERE])
    appliance = authority.issue(CertificateRole.APPLIANCE, addresses=[HERE])
    home.mkdir()
    (home / "ca-cert.pem").write_text(authority.certificate_pem)
    for name, credential in (("server", instance), ("client", appliance)):
        (home / f"{name}-cert.pem").write_text(credential.certificate)
        (home / f"{name}-key.pem").write_text(credential.key)
    return home, {"instance": asdict(instance), "appliance": asdict(appliance)}


def _table(figures: dict[str, list[Figure]]) -> str:
    lines = [f"{'':10}{'wall s':>9}{'CPU s':>9}{'peak MiB':>10}{'wire MiB':>10}"]
    for name, found in figures.items():
        wall, cpu, memory, wire = (
            statistics.median(getattr(figure, field) for figure in found)
            for field in ("wall", "cpu", "memory", "wire")
        )
        lines.append(f"{name:10}{wall:9.2f}{cpu:9.2f}{memory / 2**20:10.0f}{wire / 2**20:10.0f}")
    ratios = [a.wall / b.wall for a, b in zip(figures["ours"], figures["nbdcopy"], strict=True)]
    loads = [a.cpu / b.cpu for a, b in zip(figures["ours"], figures["nbdcopy"], strict=True)]
    each = ", ".join(f"{ratio:.2f}" for ratio in ratios)
    lines.append(f"wall ratio of pairs: median {statistics.median(ratios):.2f} ({each})")
    lines.append(f"CPU ratio of pairs: median {statistics.median(loads):.2f}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=5)
    memory = Path("/dev/shm")
    parser.add_argument("--directory", type=Path, default=memory if memory.is_dir() else None)
    parser.add_argument("--source", choices=["vddk", "file"], default="vddk")
    parser.add_argument("--compression", default="adaptive")
    parser.add_argument("--connections", type=int, default=TransferSettings().connections)
    parser.add_argument("--disk", type=Path, help="an existing raw disk instead of a generated one")
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    figures: dict[str, list[Figure]] = {"ours": [], "nbdcopy": []}
    with tempfile.TemporaryDirectory(dir=options.directory) as scratch:
        home = Path(scratch)
        certificates, credentials = _certificates(home / "certificates")
        disk = options.disk or disks.generate(home / "source.raw")
        for _ in range(options.pairs):
            figures["ours"].append(
                ours(disk, home, credentials, options.source, options.compression, options.connections)
            )
            figures["nbdcopy"].append(theirs(disk, home, certificates))
            print(figures["ours"][-1], figures["nbdcopy"][-1], file=sys.stderr)
    print(_table(figures))
    if options.json:
        options.json.write_text(
            json.dumps({k: [asdict(f) for f in v] for k, v in figures.items()}, indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
