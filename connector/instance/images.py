"""Images are copies of settled disks; making them never changes the base (invariant 10), and never the capacity of a disk.

An image is written under a temporary name and renamed.
"""

from __future__ import annotations

import json
import logging
import os
import re
import shutil
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from connector import files
from connector.errors import BadInput, Conflict, ConnectorError, NotFound, ProofFailed, TargetFailed
from connector.files import replace
from connector.instance.disk import Disk
from connector.instance.evidence import Evidence
from connector.instance.proof import prove
from connector.instance.records import PassBegin
from connector.instance.store import DiskStore
from connector.model import Extent
from connector.specification import image_formats
from connector.specification.image_formats import RAW, ImageFormat
from connector.transfer import digest
from connector.transfer import extents as ranges
from connector.transfer.extents import BLOCK
from connector.transfer.qemu_img import qemu_img
from connector.transfer.source import data_ranges
from connector.transfer.target import RawFileTarget

log = logging.getLogger(__name__)
AGAIN = "run another pass: it compares what the instance holds"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a disk shows: the reading, the target and its generation, and the root of its digest table."""

    reading: str
    target: str
    generation: int
    root: str

    @classmethod
    def from_json(cls, row: object) -> Shown:
        """Raises BadInput."""
        if isinstance(row, dict) and set(row) >= {"reading", "target", "generation", "root"}:
            texts = [row[name] for name in ("reading", "target", "root")]
            if all(isinstance(text, str) for text in texts) and type(row["generation"]) is int:
                return cls(texts[0], texts[1], row["generation"], texts[2])
        raise BadInput("the expected state of a disk must have reading, target, generation and root")

    @classmethod
    def of(cls, disk: Disk, base: PassBegin) -> Shown:
        """The present state of a disk. The caller has called `hold`."""
        return cls.from_json(disk.lineage() | {"reading": base.reading_id})


Expected = Mapping[str, Shown]


@dataclass(slots=True)
class ImageBuild:
    """One image. `state` is "making", "ready" or "failed"; `format` is the format that was really written.

    `beside` are the paths of the files that are no disks: the evidence, and the digest table of each disk.
    """

    name: str
    run: str
    format: str
    state: str = "making"
    note: str = ""
    error: dict[str, object] | None = None
    files: list[dict[str, object]] = field(default_factory=list)
    beside: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, object]:
        return {
            "name": self.name,
            "run": self.run,
            "format": self.format,
            "state": self.state,
            "note": self.note,
            "error": self.error,
            "files": self.files,
            "beside": self.beside,
        }


class ImageBuilder:
    """Makes one image at a time for each name, in the background."""

    def __init__(self, store: DiskStore, evidence: Evidence) -> None:
        self._store, self._evidence = store, evidence
        self._lock = threading.Lock()
        self._images: dict[str, ImageBuild] = {}
        self._threads: list[threading.Thread] = []

    def start(
        self, name: str, image_format: str, run: str, same_pass: bool = True, expected: Expected | None = None
    ) -> ImageBuild:
        """Begin an image, or return the one that was begun with the same `run` (invariant 8).

        Raises Conflict in the middle of a pass, and when the disks do not show what is `expected`.
        """
        if not NAME.fullmatch(name):
            raise BadInput(f"image name {name[:120]!r} is not allowed")
        form = image_formats.named(image_format)
        with self._lock:
            earlier = self._images.get(name)
            if earlier is not None and earlier.run == run and earlier.state != "failed":
                return earlier
            if earlier is not None and earlier.state == "making":
                raise Conflict("is being made for another run", on=f"image {name}", remedy="wait for it")
            disks = self._hold(same_pass, expected)
            image = self._images[name] = ImageBuild(name, run, form.name)
            if form is not RAW and shutil.which("qemu-img") is None:
                note = f"qemu-img is not installed on the instance: raw instead of {form.name}"
                image.format, image.note, form = RAW.name, note, RAW
            thread = threading.Thread(target=self._make, args=(image, form, disks), name=f"image {name}")
            self._threads.append(thread)
            thread.start()
            return image

    def settle(self, expected: Expected | None = None) -> list[dict[str, object]]:
        """Put all disks on stable storage at the end of one reading: a snapshot of them is then an image. Raises Conflict."""
        disks = self._hold(True, expected)
        try:
            for disk in disks:
                disk.settle()
            return [{"disk": disk.key, "capacity": disk.capacity, "path": str(disk.path)} for disk in disks]
        finally:
            for disk in disks:
                disk.release()

    def get(self, name: str) -> ImageBuild:
        with self._lock:
            if name not in self._images:
                raise NotFound(f"no image {name!r}", remedy="order it first")
            return self._images[name]

    def close(self) -> None:
        """Wait for the images that are being made."""
        for thread in self._threads:
            thread.join()

    def _hold(self, same_pass: bool, expected: Expected | None) -> list[Disk]:
        """All disks, settled; they stay settled until `release`."""
        disks = self._store.all()
        if not disks:
            raise Conflict("the instance has no disks", remedy="run a pass first")
        if expected is not None:
            _require_same({disk.key for disk in disks}, set(expected))
        with ExitStack() as stack:
            passes = set()
            for disk in disks:
                base = disk.hold()
                stack.callback(disk.release)
                passes.add(base.reading_id)
                if expected is not None:
                    _require_shown(disk.key, Shown.of(disk, base), expected[disk.key])
            if same_pass and len(passes) > 1:
                raise Conflict("the disks show different passes", remedy="finish one pass for all of them")
            stack.pop_all()
        return disks

    def _beside(self, disks: list[Disk], directory: Path) -> list[str]:
        """Write the files by which the image can be verified later; returns their names, none without evidence."""
        manifest = self._evidence.of(_readings(disks))
        if manifest is None:
            return []
        replace(directory / "evidence.json", manifest)
        for disk in disks:
            table = directory / f"{disk.key}.digests"
            _copy_raw(disk.contents.table.path, table, digest.count(disk.capacity) * digest.SIZE)
            files.sync(table)
        return ["evidence.json", *(f"{disk.key}.digests" for disk in disks)]

    def _make(self, image: ImageBuild, form: ImageFormat, disks: list[Disk]) -> None:
        home = self._store.directory / "images"
        temporary = home / f".{image.name}.new"
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(mode=0o700)
            for disk in disks:
                path = _copy(disk, temporary, form)
                _check(disk, path, form)
                image.files.append({"disk": disk.key, "file": path.name, "capacity": disk.capacity})
            beside = self._beside(disks, temporary)
            files.sync(temporary)
            final = home / image.name
            shutil.rmtree(final, ignore_errors=True)
            temporary.rename(final)
            files.sync(home)
            for entry in image.files:
                entry["path"] = str(final / str(entry["file"]))
            image.beside = [str(final / name) for name in beside]
            image.state = "ready"
        except (ConnectorError, OSError) as error:
            log.warning("image %s failed: %s", image.name, error)
            self._fail(image, temporary, error)
        except Exception as defect:  # the outermost handler of this thread: the image must show the failure
            log.exception("image %s failed", image.name)
            self._fail(image, temporary, defect)
        finally:
            for disk in disks:
                disk.release()

    def _fail(self, image: ImageBuild, temporary: Path, error: Exception) -> None:
        shutil.rmtree(temporary, ignore_errors=True)
        what = str(error) if isinstance(error, OSError) else f"the instance failed ({type(error).__name__})"
        unexpected = TargetFailed(what, on=f"image {image.name}", remedy="see the instance's log")
        image.error = (error if isinstance(error, ConnectorError) else unexpected).to_json()
        image.state = "failed"


def _require_same(present: set[str], expected: set[str]) -> None:
    if present != expected:
        missing, further = sorted(expected - present), sorted(present - expected)
        messages = [f"disk {key} is missing" for key in missing] + [
            f"disk {key} is not expected" for key in further
        ]
        raise Conflict(f"the instance has other disks: {', '.join(messages[:5])}", remedy=AGAIN)


def _require_shown(key: str, shown: Shown, expected: Shown) -> None:
    for name in ("target", "generation", "reading", "root"):
        have, want = getattr(shown, name), getattr(expected, name)
        if have != want:
            raise Conflict(
                f"its {name} is {str(have)[:40] or 'not known'}, not {str(want)[:40]}",
                on=f"disk {key}",
                remedy=AGAIN,
            )


def _readings(disks: list[Disk]) -> set[str]:
    """The readings that the disks show. The caller has called `hold`."""
    readings = set()
    for disk in disks:
        readings.add(disk.hold().reading_id)
        disk.release()
    return readings


def _copy(disk: Disk, directory: Path, form: ImageFormat) -> Path:
    if trouble := form.trouble(disk.capacity):
        raise TargetFailed(
            trouble,
            on=f"disk {disk.key}",
            remedy="choose another ImageFormat, then start the job again",
        )
    path = directory / f"{disk.key}.{form.suffix}"
    if form is RAW:
        _copy_raw(disk.path, path, disk.capacity)
    else:
        _qemu_img("convert", "-f", "raw", "-O", form.driver, *form.options, str(disk.path), str(path))
        _require_capacity(disk, path, form)
    files.sync(path)
    return path


def _qemu_img(*words: str) -> str:
    """What it prints about the file that is named last. Raises TargetFailed."""
    answer = qemu_img(*words)
    if answer.trouble:
        raise TargetFailed(
            f"qemu-img failed ({answer.trouble})",
            on=words[-1],
            remedy="check space and storage of the target, then start the job again",
        )
    return answer.text


def _require_capacity(disk: Disk, path: Path, form: ImageFormat) -> None:
    """Raise TargetFailed if the format has rounded the capacity: a disk with another size is another disk."""
    written = json.loads(_qemu_img("info", "--output=json", "-f", form.driver, str(path)))["virtual-size"]
    if written != disk.capacity:
        raise TargetFailed(
            f"qemu-img made {form.name} of {written} bytes, and the disk has {disk.capacity}",
            on=f"disk {disk.key}",
            remedy="choose another ImageFormat, then start the job again",
        )


def _check(disk: Disk, path: Path, form: ImageFormat) -> None:
    """Prove the image's bytes again, because the storage may have rotted since the proof. Raises ProofFailed.

    A raw image is read itself. For an image of another format the disk is read, after its conversion.
    """
    target = RawFileTarget(path, disk.capacity) if form is RAW else None
    try:
        proof = prove(target or disk.contents.target, disk.contents.table, node=disk.node)
    finally:
        if target is not None:
            target.close()
    if proof.mismatched:
        raise ProofFailed(
            f"{proof.mismatched} bytes of the image differ from what was proved, the first at {proof.mismatches[0].start}",
            on=f"disk {disk.key}",
            remedy="check the storage, then start the job again: the next pass repairs the disk",
        )


def _copy_raw(source: Path, path: Path, capacity: int) -> None:
    target = RawFileTarget(path, capacity)
    reading = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    room = memoryview(bytearray(BLOCK))
    try:
        for start, length in ranges.blocks(data_ranges(reading, Extent(0, capacity))):
            if os.preadv(reading, [room[:length]], start) != length:
                raise TargetFailed("it ends too early", on=str(source), remedy="check the target's storage")
            target.write(start, room[:length])
    finally:
        target.close()
        os.close(reading)
