"""A throwaway PostgreSQL cluster on a free TCP port, run as an unprivileged user."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

BINARIES = Path("/usr/lib/postgresql")
#: Nobody recovers this cluster: its log of changes stays at a few MiB, not at a GiB.
SMALL = [
    word
    for setting in ("max_wal_size=16MB", "min_wal_size=2MB", "wal_level=minimal", "max_wal_senders=0")
    for word in ("-c", setting)
]


def binaries() -> Path | None:
    """The newest installed server's programs."""
    found = sorted(BINARIES.glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    return found[-1].parent if found else None


@contextmanager
def cluster(programs: Path) -> Iterator[str]:
    """The URL of an empty database."""
    as_root = os.geteuid() == 0
    user = pwd.getpwnam("nobody") if as_root else pwd.getpwuid(os.geteuid())
    who = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []} if as_root else {}
    folder = Path(tempfile.mkdtemp(prefix="pg-", dir="/dev/shm"))
    try:
        if as_root:
            os.chown(folder, user.pw_uid, user.pw_gid)
        data = folder / "data"
        order = [
            programs / "initdb",
            "-D",
            data,
            "-U",
            "connector",
            "-A",
            "trust",
            "--no-sync",
            "--wal-segsize=1",
        ]
        subprocess.run(order, check=True, capture_output=True, cwd=folder, **who)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        options = ["-h", "127.0.0.1", "-p", str(port), "-k", str(folder), "-F", *SMALL]
        with (folder / "log").open("wb") as log:
            server = subprocess.Popen(
                [programs / "postgres", "-D", data, *options], stderr=log, cwd=folder, **who
            )
        try:
            ready = [programs / "pg_isready", "-h", "127.0.0.1", "-p", str(port), "-q"]
            while subprocess.run(ready, check=False).returncode:
                assert server.poll() is None, (folder / "log").read_text()
            create = ["-h", "127.0.0.1", "-p", str(port), "-U", "connector", "connector"]
            subprocess.run([programs / "createdb", *create], check=True)
            yield f"postgresql://connector@127.0.0.1:{port}/connector"
        finally:
            server.send_signal(signal.SIGQUIT)
            server.wait()
    finally:
        shutil.rmtree(folder)
