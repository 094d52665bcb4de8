"""Target instances of the provider `local`: a machine is a directory like that of an image. Its disks are replaced together.

A machine keeps its name, cards, processors and memory, and its disks keep their file names, formats and sizes. A directory is
complete or does not have the machine's name.

    ROOT/machines/NAME/                 a machine: its disks, and machine.json
    ROOT/machines/NAME/hand-over.json   the job and the run that put an image onto its disks
    ROOT/machines/.NAME.TOKEN.making/   new disks, incomplete
    ROOT/machines/.NAME.TOKEN.former/   the machine as it was before the job TOKEN
    ROOT/machines/.NAME.TOKEN.gone/     what is being removed
"""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import struct
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from connector import files
from connector.cloud import machine_files
from connector.cloud.file_errors import translated
from connector.cloud.machine_files import ImageDisk, MachineDescription
from connector.cloud.target_instance import (
    DiskReplacement,
    TargetInstance,
    family,
    require_fitting,
)
from connector.errors import BadInput, ConnectorError, TargetFailed, TargetFull
from connector.transfer.qemu_img import QemuImgAnswer, qemu_img

_RECORD: Final = "hand-over.json"
#: QEMU locks the byte 100 + n of a disk's file while it has the permission n (block/file-posix.c); to write is the second.
_WRITE_LOCK: Final = 101
_FLOCK: Final = struct.Struct("@hhqqi4x")  # type, whence, start, length, process id


class LocalTargets:
    """The machines below `root`/machines. Thread-safe; only one process at a time owns a root."""

    def __init__(self, root: Path) -> None:
        self._root = root / "machines"
        self._lock = threading.Lock()  # one machine is changed at a time

    @property
    def stops(self) -> bool:
        return False

    def find(self, instance: str) -> TargetInstance | None:
        if not _is_plain(instance):
            return None
        machine = machine_files.read(self._root / instance)
        if machine is None:
            return None
        return TargetInstance(
            id=instance,
            name=machine.name,
            running=self._is_running(instance, machine),
            family=family(machine.guest_id),
            disks=tuple(disk.capacity for disk in machine.disks),
            architecture=machine.architecture,
        )

    def _is_running(self, instance: str, machine: MachineDescription) -> bool:
        return any(_is_written(self._root / instance / disk.file) for disk in machine.disks)

    def replace_disks(self, replacement: DiskReplacement) -> Sequence[str]:
        place = _Places(self._root, replacement.instance, replacement.token)
        with self._lock, translated(place.machine):
            place.finish()
            record = _record(place.machine)
            was_ours = record.get("token") == replacement.token and place.former.exists()
            if not was_ours or {**record, **_written(replacement)} != record:
                self._require(replacement, place, record)
                try:
                    self._make(replacement, place)
                    _require_closed(place.machine, replacement.instance)  # the copy may have taken hours
                except (ConnectorError, OSError):
                    _emptied(place.making)  # it is as large as the image, and nobody lists it
                    raise
                files.move(place.machine, place.gone if was_ours else place.former)
                files.move(place.making, place.machine)
            _emptied(place.gone)
        return [str(place.former)] if place.former.exists() else []

    def _require(self, replacement: DiskReplacement, place: _Places, record: dict[str, str]) -> None:
        """Raise BadInput or TargetFailed unless the machine is as it was when the job was made, is stopped and free."""
        target = self.find(replacement.instance)
        if target is None:
            raise _unknown(replacement.instance)
        image = _image(replacement)
        capacities = [disk.capacity for disk in image.disks]
        wanted = [max(pair) for pair in zip(replacement.capacities, capacities, strict=False)]
        wanted += capacities[len(wanted) :]
        require_fitting(target, wanted, image.guest_id, image.architecture, stop=True)
        _require_closed(place.machine, replacement.instance)
        others = [name for name in place.kept() if name != place.former.name]
        if others or (place.former.exists() and record.get("token") != replacement.token):
            raise TargetFailed(
                f"former disks of it are kept already ({(others or [place.former.name])[0]})",
                on=f"target instance {replacement.instance}",
                remedy="put them back or let them go: `connector job former-disks`",
            )

    def _make(self, replacement: DiskReplacement, place: _Places) -> None:
        """Make the machine anew in `place.making`, with the image on its disks."""
        _emptied(place.making).mkdir()
        image, machine = _image(replacement), machine_files.read(place.machine)
        if machine is None:
            raise _unknown(replacement.instance)
        for source, disk in zip(image.disks, machine.disks, strict=False):
            _copy(Path(replacement.image) / source.file, source, place.making / disk.file, disk)
        described = replace(
            machine, firmware=image.firmware, secure_boot=image.secure_boot, guest_id=image.guest_id
        )
        ours = machine_files.files(machine, place.machine)
        unreplaced = {disk.file for disk in machine.disks[len(image.disks) :]}
        replaced = {disk.file for disk in machine.disks} - unreplaced
        for path in place.machine.iterdir():
            is_ours = path.name in ours and path.read_bytes() == ours[path.name]  # written again below
            if is_ours or path.name in replaced | {machine_files.NAME, _RECORD}:
                continue
            _carry(path, place.making / path.name, shared=path.name in unreplaced)
        for name, content in machine_files.files(described, place.machine).items():
            if not (place.making / name).exists():
                files.replace(place.making / name, content)
        record = _written(replacement) | {"disks": str(len(image.disks))}
        files.replace(place.making / _RECORD, json.dumps(record).encode())
        files.sync(place.making)

    def put_back(self, token: str, instance: str) -> None:
        place = _Places(self._root, instance, token)
        with self._lock, translated(place.machine):
            _emptied(place.gone)
            _emptied(place.making)
            record = _record(place.machine)
            if not place.former.exists():
                if not place.machine.exists():
                    raise _unknown(instance)
                if record.get("token") == token and record.get("instance") == instance:
                    raise TargetFailed(
                        "its former disks are gone", on=instance, remedy="restore it from your own backup"
                    )
                return
            if place.machine.exists():
                if record.get("token") != token:
                    raise TargetFailed(
                        "somebody else has made this machine anew",
                        on=f"target instance {instance}",
                        remedy="move it away and try again, or let the former disks go",
                    )
                _require_closed(place.machine, instance)
                _keep_unreplaced(place, record.get("disks", ""))
                files.move(place.machine, place.gone)
            files.move(place.former, place.machine)
            _emptied(place.gone)
            _emptied(place.making)

    def release_former(self, token: str, instance: str) -> None:
        place = _Places(self._root, instance, token)
        with self._lock, translated(place.former):
            place.finish()
            if not place.machine.exists() and place.former.exists():
                files.move(place.former, place.machine)  # nothing was put in its place
            if place.former.exists():
                _require_closed(place.former, instance)
            if _record(place.machine).get("token") == token:
                (place.machine / _RECORD).unlink()  # from now on the machine is nobody's
                files.sync(place.machine)
            if place.former.exists():
                files.move(place.former, place.gone)
            _emptied(place.gone)


class _Places:
    """Where the parts of a machine are while a job replaces its disks."""

    def __init__(self, root: Path, instance: str, token: str) -> None:
        if not _is_plain(instance):
            raise _unknown(instance)
        self._root, self._instance = root, instance
        self.machine = root / instance
        self.making, self.former, self.gone = (
            root / f".{instance}.{token}.{word}" for word in ("making", "former", "gone")
        )

    def kept(self) -> list[str]:
        """The names of all directories with former disks of this machine, whichever job keeps them."""
        prefix, ending = f".{self._instance}.", ".former"
        return [
            path.name
            for path in sorted(self._root.glob(".*.former"))
            if path.name.startswith(prefix) and "." not in path.name[len(prefix) : -len(ending)]
        ]

    def finish(self) -> None:
        """Do what a killed process has begun: a complete new machine takes the place that was made for it."""
        if not self.machine.exists() and (self.making / _RECORD).exists():
            files.move(self.making, self.machine)
        if self.machine.exists():
            _emptied(self.gone)
            _emptied(self.making)


def _keep_unreplaced(place: _Places, replaced: str) -> None:
    """Disks that the hand-over left alone come back as they are now, also where a program has written them anew.

    `replaced`: how many disks were replaced, as the record says. A former disk of these is never touched.
    """
    former = machine_files.read(place.former)
    if former is None or not replaced.isdecimal():
        return
    for disk in former.disks[int(replaced) :]:
        now, before = place.machine / disk.file, place.former / disk.file
        if now.exists() and not (before.exists() and before.samefile(now)):
            linked = before.with_name(f".{before.name}.now")
            linked.unlink(missing_ok=True)
            os.link(now, linked)
            files.move(linked, before)


def _require_closed(directory: Path, instance: str) -> None:
    """Raise TargetFailed while a program has a disk in this directory open for writing."""
    if any(_is_written(path) for path in sorted(directory.iterdir()) if path.is_file()):
        raise _runs(instance)


def _is_written(disk: Path) -> bool:
    """Whether a program of QEMU has this disk open for writing, as every running virtual machine has."""
    try:
        with disk.open("rb") as file:
            query = _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, _WRITE_LOCK, 1, 0)
            lock = _FLOCK.unpack(fcntl.fcntl(file, fcntl.F_OFD_GETLK, query))
    except OSError as error:
        raise TargetFailed(
            f"a disk of the machine cannot be read ({error.strerror})",
            on=str(disk),
            remedy="mend the machine, or choose another one",
        ) from error
    return bool(lock[0] != fcntl.F_UNLCK)


def _carry(path: Path, target: Path, *, shared: bool) -> None:
    """Take a file or a directory of the machine along. `shared`: a disk that stays as it is, for both, as a cloud's does."""
    if path.is_dir() and not path.is_symlink():
        shutil.copytree(path, target, symlinks=True, copy_function=os.link)
    elif shared:
        os.link(path, target)
    else:
        shutil.copy2(path, target, follow_symlinks=False)


def _copy(source: Path, image: ImageDisk, target: Path, disk: ImageDisk) -> None:
    """Write a disk with the image's bytes and the size of the machine's disk, and read both to compare them."""
    forms = ("-f", image.format), ("-O", disk.format)
    _demand(_qemu_img("convert", *forms[0], *forms[1], str(source), str(target)), target)
    _require_room(target, disk)
    if disk.capacity > image.capacity:
        _demand(_qemu_img("resize", "-f", disk.format, str(target), str(disk.capacity)), target)
    compared = _qemu_img("compare", "-f", image.format, "-F", disk.format, str(source), str(target))
    if compared.trouble:
        raise TargetFailed(
            f"what was written is not what the image has ({compared.text.strip() or compared.trouble})",
            on=str(target),
            remedy="check the storage, then try again",
        )
    target.chmod(0o600)  # a guest's files are not for everybody here
    files.sync(target)


def _require_room(target: Path, disk: ImageDisk) -> None:
    answer = _qemu_img("info", "--output=json", "-f", disk.format, str(target))
    _demand(answer, target)
    size = int(json.loads(answer.text)["virtual-size"])
    if size > disk.capacity:
        raise TargetFailed(
            f"the image's disk has {size} bytes, and this disk {disk.capacity}",
            on=str(target),
            remedy="choose a machine with larger disks",
        )


def _demand(answer: QemuImgAnswer, path: Path) -> None:
    if not answer.trouble:
        return
    kind = TargetFull if "No space left" in answer.trouble else TargetFailed
    raise kind(
        f"qemu-img failed ({answer.trouble})",
        on=str(path),
        remedy="check space and permissions, then try again",
    )


def _qemu_img(*words: str) -> QemuImgAnswer:
    try:
        return qemu_img(*words)
    except FileNotFoundError as missing:
        raise TargetFailed(
            "qemu-img is not installed",
            on="the control plane's computer",
            remedy="install it (Debian package qemu-utils)",
        ) from missing


def _image(replacement: DiskReplacement) -> MachineDescription:
    description = machine_files.read(Path(replacement.image))
    if description is None:
        raise TargetFailed("the image has no description", on=replacement.image, remedy="start the job again")
    return description


def _written(replacement: DiskReplacement) -> dict[str, str]:
    """What the record says of this hand-over. The machine's name is in it: a copy of the machine is nobody's."""
    return {"token": replacement.token, "run": replacement.run, "instance": replacement.instance}


def _record(machine: Path) -> dict[str, str]:
    try:
        content = json.loads((machine / _RECORD).read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError as error:
        raise TargetFailed(
            "this file is damaged",
            on=str(machine / _RECORD),
            remedy="restore the machine from your own backup",
        ) from error
    return content if isinstance(content, dict) else {}


def _emptied(directory: Path) -> Path:
    if directory.exists():
        shutil.rmtree(directory)
    return directory


def _is_plain(name: str) -> bool:
    return 0 < len(name.encode()) < 150 and not name.startswith(".") and not set(name) & {"/", "\0"}


def _unknown(instance: str) -> BadInput:
    return BadInput(
        "does not exist here",
        on=f"target instance {instance}",
        remedy="make it below the directory `machines` of the control plane's images",
    )


def _runs(instance: str) -> TargetFailed:
    return TargetFailed(
        "is running, and this provider stops no machine",
        on=f"target instance {instance}",
        remedy="stop it, then try again",
        retryable=True,
    )
