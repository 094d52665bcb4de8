"""Reads disk images as plain bytes: raw files directly, others by the map that qemu-img makes of them.

Images that qemu-img cannot map (compressed or nested ones) are first converted into a temporary sparse file.
"""

from __future__ import annotations

import json
import os
import shutil
import stat
import tempfile
from bisect import bisect_right
from contextlib import ExitStack
from pathlib import Path
from typing import Final, NamedTuple, Protocol

from connector import readable
from connector.errors import BadInput
from connector.model import Extent
from connector.transfer.qemu_img import qemu_img
from connector.transfer.source import first_data

#: How files of the other formats begin. A VHD of a fixed size begins as its disk does: it counts as raw.
_BEGINNINGS: Final = {
    b"QFI\xfb": "qcow2",
    b"KDMV": "vmdk",
    b"COWD": "vmdk",
    b"# Di": "vmdk",
    b"conectix": "vpc",
    b"vhdxfile": "vhdx",
}
_INSTALL: Final = "install qemu-img (Debian package qemu-utils)"


class DiskImage(Protocol):
    """An image to read. Any number of threads may read at once. Raises BadInput when reading fails."""

    form: str
    capacity: int

    def read_into(self, offset: int, room: memoryview) -> None:
        """Fill `room` from `offset`, inside the capacity."""

    def reads_as_zero(self, extent: Extent) -> bool:
        """True only when it is known without reading."""

    def close(self) -> None: ...


def open_image(path: Path) -> DiskImage:
    """The image in a file."""
    form = format_of(path)
    if form == "raw":
        return RawImage(path)
    if shutil.which("qemu-img") is None:
        raise BadInput(f"is a {form} image, which needs qemu-img", on=str(path), remedy=_INSTALL)
    mapped = _map(path, form)
    return MappedImage(path, form, mapped) if mapped is not None else ConvertedImage(path, form)


def format_of(path: Path) -> str:
    """The format of an image, in qemu-img's word: raw, qcow2, vmdk, vpc or vhdx. Raises BadInput.

    A block device, and a file that is called .raw, is raw, whatever its guest wrote into its first sector: a guest must not
    choose how its disk is read. Of other files the content decides.
    """
    try:
        with open(readable.opened(path, devices=True), "rb") as file:
            content = file.read(max(map(len, _BEGINNINGS)))
            is_raw = path.suffix == ".raw" or stat.S_ISBLK(os.fstat(file.fileno()).st_mode)
            return "raw" if is_raw else _by_content(content)
    except OSError as error:
        raise BadInput(f"cannot be read ({error.strerror})", on=str(path)) from None


def _by_content(content: bytes) -> str:
    return next((form for start, form in _BEGINNINGS.items() if content.startswith(start)), "raw")


class RawImage:
    """A file or a device."""

    def __init__(self, path: Path, form: str = "raw") -> None:
        self._path, self.form = path, form
        try:
            self._file = readable.opened(path, devices=True)
        except OSError as error:
            raise BadInput(f"cannot be read ({error.strerror})", on=str(path)) from None
        self.capacity = os.lseek(self._file, 0, os.SEEK_END)
        self._hole = (0, 0)  # the last known hole: some file systems search page by page, every time

    def read_into(self, offset: int, room: memoryview) -> None:
        read_fully(self._file, offset, room, self._path)

    def reads_as_zero(self, extent: Extent) -> bool:
        start, end = self._hole
        if not start <= extent.start < end:
            start = extent.start
            data = first_data(self._file, start)
            end = self.capacity if data is None else data
            self._hole = (start, end)
        return extent.end <= end

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class _Run(NamedTuple):
    """`at` is the place of the bytes in the file; None for zeros."""

    start: int
    length: int
    at: int | None


class MappedImage:
    """An image whose clusters are stored plain in its file."""

    def __init__(self, path: Path, form: str, runs: list[_Run]) -> None:
        self.form, self._runs, self._path = form, runs, path
        self._starts = [run.start for run in runs]
        self.capacity = runs[-1].start + runs[-1].length if runs else 0
        self._file = readable.opened(path)

    def read_into(self, offset: int, room: memoryview) -> None:
        number = bisect_right(self._starts, offset) - 1
        while room:
            run = self._runs[number]
            inside = offset - run.start
            part = room[: run.length - inside]
            if run.at is None:
                part[:] = bytes(len(part))
            else:
                read_fully(self._file, run.at + inside, part, self._path)
            room, offset, number = room[len(part) :], offset + len(part), number + 1

    def reads_as_zero(self, extent: Extent) -> bool:
        number = bisect_right(self._starts, extent.start) - 1
        while number < len(self._runs) and self._runs[number].start < extent.end:
            if self._runs[number].at is not None:
                return False
            number += 1
        return True

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


class ConvertedImage(RawImage):
    """A temporary raw copy in TMPDIR, removed by `close`."""

    def __init__(self, path: Path, form: str) -> None:
        with ExitStack() as stack:
            home = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="connector-verify-")))
            _qemu("convert", "-f", form, "-O", "raw", str(path.resolve()), str(home / "disk.raw"))
            super().__init__(home / "disk.raw", form)
            self._home = stack.pop_all()

    def close(self) -> None:
        super().close()
        self._home.close()


def _map(path: Path, form: str) -> list[_Run] | None:
    """The places of the bytes; None when not all of them are stored plain in this file."""
    runs = []
    for entry in json.loads(_qemu("map", "--output=json", "-f", form, str(path.resolve()))):
        if entry["zero"] or not entry["data"]:
            runs.append(_Run(entry["start"], entry["length"], None))
        elif "offset" in entry and not entry.get("depth") and not entry.get("compressed"):
            runs.append(_Run(entry["start"], entry["length"], entry["offset"]))
        else:
            return None
        if entry.get("filename", str(path.resolve())) != str(path.resolve()):
            return None
    return runs


def _qemu(*words: str) -> str:
    answer = qemu_img(*words)
    if answer.trouble:
        raise BadInput(f"qemu-img failed ({answer.trouble})", on=words[-1])
    return answer.text


def read_fully(file: int, offset: int, room: memoryview, path: Path) -> None:
    """Raises BadInput when the file ends or fails before `room` is full."""
    while room:
        try:
            count = os.preadv(file, [room], offset)
        except OSError as error:
            raise BadInput(f"reading at {offset} failed ({error.strerror})", on=str(path)) from None
        if not count:
            raise BadInput(f"ends at {offset}, before its capacity", on=str(path))
        room, offset = room[count:], offset + count
