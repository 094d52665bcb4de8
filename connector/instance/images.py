"""Images: copies of settled disks, written under a temporary name and renamed; they never touch the base
(invariant 10).
"""

from __future__ import annotations

import logging
import os
import re
import shutil
import subprocess
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from connector import environment, files
from connector.errors import BadInput, Conflict, ConnectorError, NotFound, ProofFailed, TargetFailed
from connector.files import replace
from connector.instance.disk import Disk
from connector.instance.evidence import Evidence
from connector.instance.proof import prove
from connector.instance.records import PassBegin
from connector.instance.store import DiskStore
from connector.model import Extent
from connector.transfer import digest
from connector.transfer import extents as ranges
from connector.transfer.extents import BLOCK
from connector.transfer.source import data_ranges
from connector.transfer.target import RawFileTarget

log = logging.getLogger(__name__)
AGAIN = "run another pass: it compares what the instance holds"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,100}")


@dataclass(frozen=True, slots=True)
class Shown:
    """What a disk shows: the pass, the target and how many passes it has seen, and the root of its digest table."""

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
        raise BadInput("what is expected of a disk is its reading, target, generation and root")

    @classmethod
    def of(cls, disk: Disk, base: PassBegin) -> Shown:
        """The disk is held by the caller."""
        return cls.from_json(disk.lineage() | {"reading": base.pass_id})


Expected = Mapping[str, Shown]


@dataclass(slots=True)
class ImageBuild:
    """One hand-over. `state` is "making", "ready" or "failed"; `format` is what was really written. `beside` are the
    paths of what belongs to it and is no disk: the evidence, and the digest table of each disk.
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
        self, name: str, wanted: str, run: str, same_pass: bool = True, expected: Expected | None = None
    ) -> ImageBuild:
        """Begin, or find what was begun before with the same `run` (invariant 8). Raises Conflict in the
        middle of a pass, and when the disks do not show what is `expected`.
        """
        if not NAME.fullmatch(name):
            raise BadInput(f"image name {name[:120]!r} is not allowed")
        if wanted not in ("raw", "qcow2"):
            raise BadInput(f"image format {wanted!r} is not known", remedy="use raw or qcow2")
        with self._lock:
            found = self._images.get(name)
            if found is not None and found.run == run and found.state != "failed":
                return found
            if found is not None and found.state == "making":
                raise Conflict("is being made for another run", on=f"image {name}", remedy="wait for it")
            disks = self._hold(same_pass, expected)
            image = self._images[name] = ImageBuild(name, run, wanted)
            if wanted == "qcow2" and shutil.which("qemu-img") is None:
                image.format, image.note = (
                    "raw",
                    "qemu-img is not installed on the instance: raw instead of qcow2",
                )
            thread = threading.Thread(target=self._make, args=(image, disks), name=f"image {name}")
            self._threads.append(thread)
            thread.start()
            return image

    def settle(self, expected: Expected | None = None) -> list[dict[str, object]]:
        """All disks show the end of one pass, on stable storage: a snapshot of them now is an image. Raises Conflict."""
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
        """Waits for what is being made."""
        for thread in self._threads:
            thread.join()

    def _hold(self, same_pass: bool, expected: Expected | None) -> list[Disk]:
        """All disks, settled, and kept so until `release`."""
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
                passes.add(base.pass_id)
                if expected is not None:
                    _require_shown(disk.key, Shown.of(disk, base), expected[disk.key])
            if same_pass and len(passes) > 1:
                raise Conflict("the disks show different passes", remedy="finish one pass for all of them")
            stack.pop_all()
        return disks

    def _beside(self, disks: list[Disk], directory: Path) -> list[str]:
        """Names of what tells later whether the image is still what was proved; none without evidence."""
        manifest = self._evidence.of(_readings(disks))
        if manifest is None:
            return []
        replace(directory / "evidence.json", manifest)
        for disk in disks:
            table = directory / f"{disk.key}.digests"
            _copy_raw(disk.contents.table.path, table, digest.count(disk.capacity) * digest.SIZE)
            files.sync(table)
        return ["evidence.json", *(f"{disk.key}.digests" for disk in disks)]

    def _make(self, image: ImageBuild, disks: list[Disk]) -> None:
        home = self._store.directory / "images"
        temporary = home / f".{image.name}.new"
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(mode=0o700)
            for disk in disks:
                path = _copy(disk, temporary, image.format)
                _check(disk, path, image.format)
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
        except (
            Exception
        ) as defect:  # The outermost handler of this thread: whoever waits for the image must hear of it
            log.exception("image %s failed", image.name)
            self._fail(image, temporary, defect)
        finally:
            for disk in disks:
                disk.release()

    def _fail(self, image: ImageBuild, temporary: Path, error: Exception) -> None:
        shutil.rmtree(temporary, ignore_errors=True)
        what = str(error) if isinstance(error, OSError) else f"the instance failed ({type(error).__name__})"
        told = TargetFailed(what, on=f"image {image.name}", remedy="see the instance's log")
        image.error = (error if isinstance(error, ConnectorError) else told).to_json()
        image.state = "failed"


def _require_same(held: set[str], expected: set[str]) -> None:
    if held != expected:
        lacking, further = sorted(expected - held), sorted(held - expected)
        what = [f"disk {key} is missing" for key in lacking] + [
            f"disk {key} is not expected" for key in further
        ]
        raise Conflict(f"the instance holds other disks: {', '.join(what[:5])}", remedy=AGAIN)


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
    """The passes that the disks show; they are held by the caller."""
    found = set()
    for disk in disks:
        found.add(disk.hold().pass_id)
        disk.release()
    return found


def _copy(disk: Disk, directory: Path, kind: str) -> Path:
    path = directory / f"{disk.key}.{kind}"
    if kind == "qcow2":
        order = ["qemu-img", "convert", "-f", "raw", "-O", "qcow2", str(disk.path), str(path)]
        done = subprocess.run(
            order,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
            env=environment.without_secrets(),
        )
        if done.returncode:
            raise TargetFailed(
                f"qemu-img failed ({done.stderr.strip()[:300]})",
                on=str(path),
                remedy="check space and storage of the target, then start the job again",
            )
    else:
        _copy_raw(disk.path, path, disk.capacity)
    files.sync(path)
    return path


def _check(disk: Disk, path: Path, kind: str) -> None:
    """The bytes of the image are those that were proved, though the storage had time to rot since.

    A raw image is read itself. Of a qcow2 the disk is read, once more after it was converted. Raises ProofFailed.
    """
    target = RawFileTarget(path, disk.capacity) if kind == "raw" else None
    try:
        proof = prove(target or disk.contents.target, disk.contents.table, node=disk.node)
    finally:
        if target is not None:
            target.close()
    if proof.mismatched:
        raise ProofFailed(
            f"{proof.mismatched} bytes of the image differ from what was proved, the first at {proof.mismatches[0].start}",
            on=f"disk {disk.key}",
            remedy="check the storage, then start the job again: the next pass mends the disk",
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
