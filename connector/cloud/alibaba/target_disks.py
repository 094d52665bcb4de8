"""The disks of a target instance on ECS: the system disk is replaced from the job's image, data disks are made of its snapshots.

ReplaceSystemDisk releases the old system disk, so a snapshot of it is accomplished first. Old data disks are detached and kept.
What is made carries the tag TARGET with the job's token, never OWNER, by which an intermediate instance's objects are removed.

What to do next is read from the cloud and not from the ledger, which an old backup may have lost: the instance's image id says
which system disk it has, and the tags of the snapshot say which image that disk had before. The ledger lists what exists.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Final

from connector.cloud.alibaba import tags
from connector.cloud.alibaba.api import Json
from connector.cloud.alibaba.former_system import FormerSystem, SystemDisk
from connector.cloud.alibaba.target_calls import TargetCalls
from connector.cloud.target_instance import FORMER_DISK, DiskReplacement
from connector.errors import BadInput, TargetFailed

_FORMER: Final = (
    "former-"  # the part of a former data disk; its place and what a deletion of the machine does follow
)
_NEW: Final = "new-"  # and of a disk that is made for the machine; the run and its place follow


@dataclass(frozen=True, slots=True)
class _Source:
    """A snapshot that becomes a disk. `size`: GiB."""

    snapshot: str
    size: int


class TargetDisks:
    """What one job does with one machine. Each step looks first at what exists."""

    def __init__(self, calls: TargetCalls) -> None:
        self._calls = calls
        self._system = FormerSystem(calls)

    def replace(self, replacement: DiskReplacement) -> list[str]:
        """The references of what is kept."""
        row = self._calls.require()
        self._require_free()
        self._must_not_be_releasing(self._system.snapshot())
        image, run = replacement.image, replacement.run
        sources = self._sources(image)
        if not self._is_done(row, image, run, len(sources) - 1):
            self._calls.stop(row, allowed=replacement.stop)
            former = self._former(len(sources) - 1)
            self._system.save(image)
            self._system.replace(image, sources[0].size)
            for disk in former:
                self._detach(disk)
                self._calls.tag(str(disk["DiskId"]), "disk", {tags.REPLACED: "yes"})
            self._remove_new(but=run)
            for place, source in enumerate(sources[1:], 1):
                self._put_new(run, place, source, former)
        for attempt in self._calls.ledger.remaining("target disk"):
            self._calls.ledger.gone(attempt)  # they are the machine's now
        snapshot = self._system.snapshot()
        kept = [] if snapshot is None else [str(snapshot["SnapshotId"])]
        return kept + [str(disk["DiskId"]) for disk in self._former_disks()]

    def _is_done(self, row: Json, image: str, run: str, count: int) -> bool:
        """Whether this run has replaced everything. The machine may have been started since."""
        new = [
            disk for disk in self._parts(f"{_NEW}{run}-") if disk.get("InstanceId") == self._calls.instance
        ]
        snapshot = self._system.snapshot()
        has_former = snapshot is not None and len(self._former_disks()) >= count
        return row.get("ImageId") == image and has_former and len(new) == count

    def put_back(self) -> None:
        snapshot, former = self._system.snapshot(), self._former_disks()
        row = self._calls.lists.instance(self._calls.instance)
        if snapshot is None and not former and (row is None or self._is_own(row)):
            return self._forget_former()
        row = self._calls.require()
        self._require_free()
        self._must_not_be_releasing(snapshot)
        has = self._system.which(row, snapshot)
        if has is SystemDisk.UNKNOWN:
            raise TargetFailed(
                f"its system disk is of the image {row.get('ImageId')}, and no snapshot says how to put it back",
                on=f"target instance {self._calls.instance}",
                remedy="if somebody has replaced it since: put it back by hand, or let the former disks go; else try again",
                retryable=True,
            )
        if has is SystemDisk.REPLACED and snapshot is not None:
            self._calls.stop(row, allowed=False)
            image = self._system.image(snapshot)
            self._calls.tag(str(snapshot["SnapshotId"]), "snapshot", {tags.BACK: image})
            self._system.replace(image, int(snapshot.get("SourceDiskSize") or 0))
        if any(disk.get("InstanceId") != self._calls.instance for disk in former) or self._parts(_NEW):
            self._calls.stop(self._calls.require(), allowed=False)
        self._remove_new(but="", places={_place(disk) for disk in former})
        for disk in self._parts(_NEW):
            self._calls.untag(str(disk["DiskId"]))  # the former one is gone: this is all that the machine has
        for disk in former:
            self._attach(disk, delete=tags.read(disk)[tags.DISK].endswith("-delete"))
            self._calls.untag(str(disk["DiskId"]))
        self._system.drop()
        return self._forget_former()

    def _is_own(self, row: Json) -> bool:
        return not self._parts(_NEW) and self._system.which(row, None) is SystemDisk.OWN

    def _must_not_be_releasing(self, snapshot: Json | None) -> None:
        if snapshot is not None and tags.RELEASING in tags.read(snapshot):
            raise TargetFailed(
                "its former disks are being removed",
                on=f"target instance {self._calls.instance}",
                remedy="end that first: `connector job former-disks JOB --release`",
            )

    def release(self) -> None:
        """The machine's own disks, also those that were never replaced, are only untagged.

        If the instance is gone, only the tag on a disk says that it was replaced.
        """
        snapshot, former = self._system.snapshot(), self._former_disks()
        row = self._calls.lists.instance(self._calls.instance)
        has = None if row is None else self._system.which(row, snapshot)
        was_replaced = has is SystemDisk.REPLACED or (has is SystemDisk.UNKNOWN and snapshot is not None)
        away = [disk for disk in former if not disk.get("InstanceId")]
        if away and row is not None and not was_replaced and snapshot is not None:
            raise TargetFailed(
                "it has its own system disk, and its own data disks are detached",
                on=f"target instance {self._calls.instance}",
                remedy="put the former disks back first: `connector job former-disks JOB --put-back`",
            )
        if snapshot is not None:
            self._calls.tag(str(snapshot["SnapshotId"]), "snapshot", {tags.RELEASING: "yes"})
        for disk in self._parts(_NEW):
            if row is not None and not disk.get("InstanceId"):
                self._attach(disk, delete=False)  # the image is on it: it belongs to the machine
            self._calls.untag(str(disk["DiskId"]))
        for disk in former:
            is_former = was_replaced if row is not None else tags.REPLACED in tags.read(disk)
            if is_former and not disk.get("InstanceId"):
                self._calls.delete("DeleteDisk", {"DiskId": disk["DiskId"]})
            else:
                self._calls.untag(str(disk["DiskId"]))
        self._system.drop()
        self._forget_former()

    def _require_free(self) -> None:
        """Raise TargetFailed while another job keeps this machine's former disks: its disks are not its own yet."""
        for snapshot in self._calls.lists.snapshots(Tag=tags.written({tags.INSTANCE: self._calls.instance})):
            owner = tags.read(snapshot).get(tags.TARGET, self._calls.token)
            if owner != self._calls.token:
                raise TargetFailed(
                    f"another job ({owner}) keeps its former disks",
                    on=f"target instance {self._calls.instance}",
                    remedy="put them back or let them go: `connector job former-disks`",
                )

    def _sources(self, image: str) -> list[_Source]:
        """The snapshots of an image: of its system disk, then of its data disks in their order."""
        row = next(self._calls.lists.images(ImageId=image), None)
        rows = ((row or {}).get("DiskDeviceMappings") or {}).get("DiskDeviceMapping") or []
        rows = sorted(rows, key=lambda disk: (disk.get("Type") == "data", str(disk.get("Device"))))
        sources = [_Source(str(disk["SnapshotId"]), int(disk.get("Size") or 0)) for disk in rows]
        if not sources:
            raise TargetFailed("the image has no disks any more", on=image, remedy="start the job again")
        return sources

    def _former_disks(self) -> list[Json]:
        """The data disks from before the job, in their order. A list by tag may lag behind the list of the machine's disks."""
        attached = [
            disk
            for disk in self._calls.lists.attached(self._calls.instance)
            if _part(disk, self._calls.token).startswith(_FORMER)
        ]
        by_id = {str(disk["DiskId"]): disk for disk in (*self._parts(_FORMER), *attached)}
        return sorted(by_id.values(), key=_place)

    def _former(self, count: int) -> list[Json]:
        """The machine's data disks that make room for new ones, tagged. Nothing is tagged unless all of them can be detached."""
        known = {_place(disk): disk for disk in self._former_disks()}
        own = [
            disk
            for disk in self._calls.lists.attached(self._calls.instance)
            if disk.get("Type") != "system" and not _part(disk, self._calls.token)
        ]
        missing = [place for place in range(1, count + 1) if place not in known]
        for disk in own[: len(missing)]:
            if disk.get("Portable") is False:
                raise BadInput(
                    f"its data disk {disk['DiskId']} cannot be detached",
                    on=f"target instance {self._calls.instance}",
                    remedy="let the disk be billed by use, or choose another instance",
                )
        if len(own) < len(missing):
            raise BadInput(
                f"has no data disk {missing[len(own)]}",
                on=f"target instance {self._calls.instance}",
                remedy="attach a disk to it, or leave disks of the source out",
            )
        for place, disk in zip(missing, own, strict=False):
            self._calls.ledger.open(FORMER_DISK, f"former/{place}")
            rule = "delete" if disk.get("DeleteWithInstance") else "keep"
            self._calls.tag(str(disk["DiskId"]), "disk", self._calls.mine(f"{_FORMER}{place}-{rule}"))

        def tagged() -> list[Json] | None:
            disks = self._former_disks()
            return disks if len(disks) >= count else None

        former: list[Json] = self._calls.api.until(tagged, "visible with its tag", on=self._calls.instance)
        for disk in former:
            attempt = self._calls.ledger.open(FORMER_DISK, f"former/{_place(disk)}")
            self._calls.ledger.made(attempt, str(disk["DiskId"]))
        return former

    def _put_new(self, run: str, place: int, source: _Source, former: Sequence[Json]) -> None:
        """A disk made of a snapshot, attached to the machine in place of a former one."""
        part, like = f"{_NEW}{run}-{place}", former[place - 1]

        def look() -> Json | None:
            return next((disk for disk in self._parts(part) if tags.read(disk)[tags.DISK] == part), None)

        attempt = self._calls.ledger.open("target disk", f"run/{run}/{place}")
        row = look()
        if row is None:
            parameters = self._calls.given(
                ZoneId=like["ZoneId"],
                DiskName=like.get("DiskName") or None,
                DiskCategory=like["Category"],
                PerformanceLevel=like.get("PerformanceLevel") or None,
                SnapshotId=source.snapshot,
                Size=max(int(like["Size"]), source.size),
                Tag=tags.written(self._calls.mine(part) | self._calls.settings.tags),
            )
            self._calls.created("CreateDisk", parameters, attempt.token, look)
            row = self._calls.api.until(look, "visible", on=attempt.token)
        self._calls.ledger.made(attempt, str(row["DiskId"]))
        self._attach(row, delete=tags.read(like).get(tags.DISK, "").endswith("-delete"))

    def _remove_new(self, *, but: str, places: Collection[int] | None = None) -> None:
        """Remove the disks that an earlier run of the job made for the machine; with `places`, only where a former one exists."""
        for disk in self._parts(_NEW):
            is_kept = but and tags.read(disk)[tags.DISK].startswith(f"{_NEW}{but}-")
            if not is_kept and (places is None or _place(disk) in places):
                self._detach(disk)
                self._calls.delete("DeleteDisk", {"DiskId": disk["DiskId"]})

    def _attach(self, disk: Json, *, delete: bool) -> None:
        name = str(disk["DiskId"])

        def usable() -> Json | None:
            row = self._calls.lists.disk(name)
            return row if row is not None and row.get("Status") in ("Available", "In_use") else None

        if self._calls.api.until(usable, "usable", on=name).get("Status") == "Available":
            parameters = {"InstanceId": self._calls.instance, "DiskId": name, "DeleteWithInstance": delete}
            self._calls.api.ecs("AttachDisk", parameters, patience=self._calls.settings.patience, on=name)

        def attached() -> bool | None:
            row = self._calls.lists.disk(name)
            self._require_here(row)
            return True if row is not None and row.get("Status") == "In_use" else None

        self._calls.api.until(attached, "attached", on=name)

    def _require_here(self, row: Json | None) -> None:
        other = str((row or {}).get("InstanceId") or self._calls.instance)
        if other != self._calls.instance:
            raise TargetFailed(
                f"the disk is attached to another instance, {other}",
                on=str((row or {})["DiskId"]),
                remedy="detach it there, then try again",
            )

    def _detach(self, disk: Json) -> None:
        """Detach a disk from the machine, if it is attached there."""
        name = str(disk["DiskId"])

        def detached() -> bool | None:
            row = self._calls.lists.disk(name)
            if row is None or row.get("Status") == "Available":
                return True
            self._require_here(row)
            if row.get("Status") == "In_use":
                parameters = {"InstanceId": self._calls.instance, "DiskId": name}
                self._calls.api.ecs("DetachDisk", parameters, patience=self._calls.settings.patience, on=name)
            return None

        self._calls.api.until(detached, "detached", on=name)

    def _parts(self, beginning: str) -> list[Json]:
        """The disks of this job and machine whose part begins like this, in the order of their places."""
        rows = self._calls.lists.disks(Tag=tags.written({tags.TARGET: self._calls.token}))
        return sorted(
            (row for row in rows if _part(row, self._calls.token).startswith(beginning)), key=_place
        )

    def _forget_former(self) -> None:
        for kind in (FORMER_DISK, "target disk", "target image"):
            for attempt in self._calls.ledger.remaining(kind):
                self._calls.ledger.gone(attempt)


def _part(row: Json, token: str) -> str:
    """What a disk is for this job; empty: nothing."""
    mine = tags.read(row)
    return mine.get(tags.DISK, "") if mine.get(tags.TARGET) == token else ""


def _place(disk: Json) -> int:
    """The place of a former or new disk among the data disks of its machine, from 1."""
    numbers = [word for word in tags.read(disk).get(tags.DISK, "").split("-") if word.isdecimal()]
    return int(numbers[-1]) if numbers else 0
