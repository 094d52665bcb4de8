"""Stands in for the program that converts images and starts copies: same request, same lines, same leash; nothing is converted.

A file `drill-IMAGE` (of whole disks: `convert-IMAGE`) in $FAKE_GATES says what it shall do; `started-IMAGE` has the ids of its
process and of one that it started.
"""

import ctypes
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

GATES = Path(os.environ.get("FAKE_GATES", "/nonexistent"))
PDEATHSIG = 1
SECRET = "login: root password: hunter2"
ROW = {"path": "/etc/fstab", "why": "names /dev/sda2, which another machine does not have"}
CONVERSION = {"system": "debian 12.15", "changes": [ROW], "removed": [], "notes": ["cloud-init is installed"]}
BOOT = {
    "boots": True,
    "outcome": "login prompt",
    "seconds": 31.4,
    "accelerator": "tcg",
    "kernel": "6.1.0-30-amd64",
    "host": "web-01",
    "address": "10.0.2.15",
    "reason": "",
    "failed_units": [],
    "console": "/somewhere/console.log",
    "screen": None,
}
PANIC = {"boots": False, "outcome": "kernel panic", "reason": "VFS: Unable to mount root fs", "host": ""}


def write(message: object) -> None:
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def leash(deaf: bool) -> None:
    while sys.stdin.buffer.read(4096):
        pass
    if not deaf:
        os._exit(1)


def machine() -> subprocess.Popen[bytes]:
    """What QEMU is to the real program: it dies with us."""
    library = ctypes.CDLL(None)
    command = ["sleep", "1000"]
    return subprocess.Popen(command, preexec_fn=lambda: library.prctl(PDEATHSIG, signal.SIGKILL))


def drill(order: dict[str, object]) -> None:
    image = Path(str(order["directory"])).name
    word_file = GATES / f"drill-{image}"
    word = word_file.read_text() if word_file.exists() else "boots"
    if word == "deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    threading.Thread(target=leash, args=(word == "deaf",), daemon=True).start()
    write({"progress": "converting a copy"})
    scratch, keep = Path(str(order["scratch"])), Path(str(order["keep"]))
    (scratch / "overlay.qcow2").write_bytes(b"changes")
    if GATES.exists():
        with machine() as started:
            (GATES / f"order-{image}").write_text(json.dumps(order))
            (GATES / f"started-{image}").write_text(f"{os.getpid()} {started.pid}")
            while word_file.exists() and word_file.read_text() in ("hang", "deaf"):
                time.sleep(0.02)
            started.kill()
    if order["plan_only"]:
        plan = {"conversion": CONVERSION, "refusal": "", "conversion_seconds": 0.0, "boot": None}
        return write({"result": plan})
    write({"progress": "starting the copy"})
    if word == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "garbage":
        print("\x00\xff no JSON", flush=True)
        time.sleep(60)
    if word == "no report":
        return write({"result": {"boot": "yes"}})
    if word == "infinite":
        print('{"result": {"boot": {"boots": true, "seconds": NaN}}}', flush=True)
        time.sleep(60)
    if word == "full":
        failed = {"error": "TargetFull", "what": "64 MiB are needed, and 1 MiB are free", "on": "/srv"}
        return write(failed | {"remedy": "make room", "retryable": False})
    keep.mkdir(mode=0o700)
    (keep / "console.log").write_text(SECRET)
    (keep / "screen.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    (keep / "report.json").write_text("{}")
    boot = BOOT | (PANIC if word == "panic" else {})
    report = {"conversion": CONVERSION, "refusal": "", "conversion_seconds": 12.5, "boot": boot}
    if word == "odd":
        report["conversion"] = CONVERSION | {"notes": ["a\u0000b\ud800"]}
    return write({"result": report})


def in_place(order: dict[str, object]) -> None:
    """Whole disks: the first one gets a mark."""
    image = str(order["machine"]["name"])
    word_file = GATES / f"convert-{image}"
    word = word_file.read_text() if word_file.exists() else ""
    threading.Thread(target=leash, args=(False,), daemon=True).start()
    write({"progress": "converting the copies"})
    if GATES.exists():
        with machine() as started:
            (GATES / f"started-{image}").write_text(f"{os.getpid()} {started.pid}")
            while word_file.exists() and word_file.read_text() == "hang":
                time.sleep(0.02)
            started.kill()
    if word == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if word == "no report":
        return write({"result": {"conversion": "yes"}})
    if word == "full":
        failed = {"error": "TargetFull", "what": "64 MiB are needed, and 1 MiB are free", "on": "/srv"}
        return write(failed | {"remedy": "make room", "retryable": False})
    if word == "refuses":
        return write({"result": {"conversion": None, "refusal": "it is encrypted"}})
    if not order["plan_only"]:
        with open(order["disks"][0], "r+b") as disk:
            disk.write(b"converted")
    return write({"result": {"conversion": CONVERSION, "refusal": ""}})


def hang_at(image: str) -> None:
    """Work on an image, as long as its file says so."""
    word_file = GATES / f"convert-{image}"
    if not word_file.exists():
        return
    threading.Thread(target=leash, args=(False,), daemon=True).start()
    with machine() as started:
        (GATES / f"started-{image}").write_text(f"{os.getpid()} {started.pid}")
        while word_file.exists() and word_file.read_text() == "hang":
            time.sleep(0.02)
        started.kill()


def main() -> None:
    request = json.loads(sys.stdin.readline())
    if "directory" in request:
        hang_at(Path(request["directory"]).name)
    write({"ready": True} if "directory" not in request else {"refusal": "the stand-in converts nothing"})
    if "drill" in request:
        drill(request["drill"])
    if "in_place" in request:
        in_place(request["in_place"])


if __name__ == "__main__":
    main()
