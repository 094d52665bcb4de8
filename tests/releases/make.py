"""Makes the state that a release leaves: `fixtures/releases/VERSION/state.tar.xz` and the documents beside it.

Run by that release's own code, from a checkout of its tag, with a virtual environment of its own:

    cd CHECKOUT && .venv/bin/python THIS_FILE FOLDER

`FOLDER` gets `state.tar.xz` (vCenter, the target directory of `connector migrate` and everything below it), `truth.json`, and
the release's own example documents. What is in it is in fixtures/releases/README.md.
"""

from __future__ import annotations

import json
import lzma
import shutil
import sys
import tarfile
from pathlib import Path
from typing import Final

sys.path[0] = str(Path.cwd())  # the release, not the code beside this file

from simulator.estate.build import IDE, SCSI  # noqa: E402
from tests.integration.command import Command  # noqa: E402
from tests.integration.house import MIB, House, Shape, house  # noqa: E402

ROOT: Final = Path("/tmp/release")  # stands in the state: absolute paths are kept in it
SECTOR: Final = 512
SIZES: Final = ((2 * MIB, MIB), (2 * MIB, MIB // 2))
LEFT_OUT: Final = (".log", ".sqlite-shm", "lock", "stderr-", "tmp", "vddk", "making")


def main(folder: Path) -> None:
    shutil.rmtree(ROOT, ignore_errors=True)
    ROOT.mkdir(mode=0o700)
    blank = tuple((capacity, 0) for capacity, _ in SIZES)
    shapes = (Shape("web-01", blank), Shape("mix-01", blank[:1]), Shape("db-01", blank))
    with house(ROOT, shapes) as made:
        _furnish(made)
        for name in ("web-01", "mix-01"):
            _complete(made.migration(name, "--incremental"))
        copied = {name: made.digests(name) for name in ("web-01", "mix-01")}
        for name in copied:
            _write(made, name, MIB // 4, "written after run 1")
        _interrupt(made)
        truth = {"copied": copied, "now": {vm: made.digests(vm) for vm in (*copied, "db-01")}}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "truth.json").write_text(json.dumps(truth, indent=1) + "\n")
    _pack(folder / "state.tar.xz")
    for document in (
        *Path("config").glob("manifest*.yaml"),
        *map(Path, ("config/appliance.yaml", "config/control-plane.yaml")),
    ):
        shutil.copy(document, folder)
    shutil.rmtree(ROOT)


def _furnish(made: House) -> None:
    """mix-01 boots from IDE and has its data on SCSI: two rules of order, two results."""
    made.estate.hardware.add_disk(made.machine("mix-01").moref, IDE, 0, SIZES[0][0])
    assert {disk.controller for disk in made.machine("mix-01").disks} >= {IDE, SCSI}
    for vm in made.estate.inventory.vms.values():
        for disk, (_, data) in zip(vm.disks, SIZES, strict=True):
            half = data // 2
            for at, text in ((0, "system"), (disk.capacity - half, "data")):
                made.estate.power.write(
                    vm.moref, disk.key, at, _sectors(f"{vm.name} {disk.key} {text}", half)
                )


def _write(made: House, name: str, at: int, text: str) -> None:
    """The guest writes on every disk."""
    vm = made.machine(name)
    for disk in vm.disks:
        made.estate.power.write(vm.moref, disk.key, at, _sectors(f"{name} {disk.key} {text}", 128 << 10))


def _sectors(text: str, length: int) -> bytes:
    """No two of them are alike, and they compress well."""
    lines = (f"{text} {number}\n".encode() for number in range(length // SECTOR))
    return b"".join((line * SECTOR)[:SECTOR] for line in lines)


def _complete(words: list[str]) -> None:
    command = Command(words, ROOT, {})
    outcome = command.wait()
    assert outcome.code == 0, outcome.stderr
    command.gone()


def _interrupt(made: House) -> None:
    """Everything is killed while db-01 is being copied; its snapshot stays."""
    made.reader(bandwidth=MIB // 8)
    command = Command(made.migration("db-01", "--incremental"), ROOT, {})
    command.copied(0.1)
    for process in command.processes():
        process.kill()
    command.wait()
    command.gone()


def _pack(file: Path) -> None:
    def chosen(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        name = Path(entry.name).name
        if any(name.endswith(word) or name.startswith(word) for word in LEFT_OUT):
            return None
        entry.uid = entry.gid = 0
        entry.uname = entry.gname = ""
        return entry

    with (
        lzma.open(file, "wb", preset=9 | lzma.PRESET_EXTREME) as packed,
        tarfile.open(fileobj=packed, mode="w") as archive,
    ):
        archive.add(ROOT, arcname=".", filter=chosen)


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve())
