"""The disks of a target instance on ECS: the system disk is replaced from an image, data disks are made of its snapshots.

ReplaceSystemDisk releases the old system disk, so a snapshot of it is accomplished first. Old data disks are detached and kept.
Nothing here has the tag OWNER, by which an intermediate instance's objects are removed: new and former objects have the tag
TARGET with the job's token, and DISK with their part in it.

A disk that the machine had before is tagged before it is detached. Which disks are former ones can be told at any moment.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from connector.cloud.alibaba import tags
from connector.cloud.alibaba.api import Api, Json, client_token
from connector.cloud.alibaba.codes import Refusal, RefusalEffect
from connector.cloud.alibaba.owner_ledger import OwnerLedger
from connector.cloud.provider import ProviderLedger
from connector.cloud.target_instance import FORMER_DISK, DiskReplacement
from connector.errors import BadInput, TargetFailed

_SYSTEM: Final = "former-system"  # the part of the snapshot of the former system disk
_FORMER: Final = (
    "former-"  # and of a former data disk, with its place and what happens when the machine is deleted
)
_NEW: Final = "new-"  # and of a disk that is made for the machine, with the run and its place
_ANY: Final = "Creating,Waiting,Available,UnAvailable,CreateFailed"


@dataclass(frozen=True, slots=True)
class _Source:
    """A snapshot that becomes a disk. `size`: GiB."""

    snapshot: str
    size: int


class TargetLists:
    """What the account has. Thread-safe."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def instance(self, instance: str) -> Json | None:
        """The instance; None if there is none, or if it is one of our intermediate instances."""
        if not instance.isascii() or not instance.replace("-", "").isalnum():
            return None
        where = ("Instances", "Instance")
        row = next(self._rows("DescribeInstances", where, InstanceIds=f'["{instance}"]'), None)
        return None if row is None or tags.OWNER in tags.read(row) else row

    def attached(self, instance: str) -> list[Json]:
        """The disks of a machine, the system disk first."""
        rows = self.disks(InstanceId=instance)
        return sorted(rows, key=lambda row: (row.get("Type") != "system", str(row.get("Device"))))

    def disks(self, **parameters: Any) -> Iterator[Json]:
        return self._rows("DescribeDisks", ("Disks", "Disk"), **parameters)

    def snapshots(self, **parameters: Any) -> Iterator[Json]:
        return self._rows("DescribeSnapshots", ("Snapshots", "Snapshot"), **parameters)

    def images(self, **parameters: Any) -> Iterator[Json]:
        return self._rows("DescribeImages", ("Images", "Image"), **parameters)

    def _rows(self, operation: str, where: tuple[str, str], **parameters: Any) -> Iterator[Json]:
        return self._api.rows("ecs", operation, where, {"RegionId": self._api.settings.region, **parameters})


class TargetDisks:
    """What one job does with one machine. Each step looks first at what exists."""

    def __init__(
        self, api: Api, lists: TargetLists, ledger: ProviderLedger, token: str, instance: str
    ) -> None:
        self._api = api
        self._settings = api.settings
        self._lists = lists
        self._ledger = OwnerLedger(ledger, token)
        self._token = token
        self._instance = instance

    def replace(self, replacement: DiskReplacement) -> list[str]:
        """The references of what is kept."""
        row = self._require()
        self._require_free(row)
        system, data = self._sources(replacement.image)
        self._stop(row, allowed=replacement.stop)
        former = self._former(len(data))
        snapshot = self._former_system()
        self._replace_system(f"run/{replacement.run}", system)
        for disk in former:
            self._detach(disk)
        self._remove_new(but=replacement.run)
        for place, source in enumerate(data, 1):
            self._put_new(replacement.run, place, source, former)
        for attempt in self._ledger.remaining("target disk"):
            self._ledger.gone(attempt)  # they are the machine's now
        return [snapshot, *(str(disk["DiskId"]) for disk in former)]

    def put_back(self) -> None:
        if not self._ledger.remaining(FORMER_DISK) and not self._parts(_FORMER):
            return
        row = self._require()
        self._require_free(row)
        self._stop(row, allowed=False)
        self._remove_new(but="")
        snapshot = self._system_snapshot()
        began = [
            row.name for row in self._ledger.remaining("target image") if row.name.startswith("image/run/")
        ]
        if snapshot is not None and began:
            source = _Source(str(snapshot["SnapshotId"]), int(snapshot.get("SourceDiskSize") or 0))
            self._replace_system("former", source)
        for disk in self._parts(_FORMER):
            _, _, place_and_rule = tags.read(disk)[tags.DISK].partition(_FORMER)
            self._attach(disk, delete=place_and_rule.endswith("-delete"))
            self._untag(str(disk["DiskId"]))
        self._delete_system_snapshot()
        self._forget_former()

    def release(self) -> None:
        for disk in self._parts(_FORMER):
            self._detach(disk)
            self._delete("DeleteDisk", {"DiskId": disk["DiskId"]})
        self._delete_system_snapshot()
        for disk in self._parts(_NEW):
            self._untag(str(disk["DiskId"]))  # it is the machine's own now
        self._forget_former()

    def _given(self, **more: Any) -> dict[str, Any]:
        return {"RegionId": self._settings.region, **more}

    def _require(self) -> Json:
        row = self._lists.instance(self._instance)
        if row is None:
            raise BadInput(
                "does not exist in this account and region",
                on=f"target instance {self._instance}",
                remedy="look for it in the console",
            )
        return row

    def _require_free(self, row: Json) -> None:
        """Raise TargetFailed while the former disks of another job are kept: its disks are not the machine's own yet."""
        image = next(self._lists.images(ImageId=str(row.get("ImageId")), Status=_ANY), {})
        for part in (image, *self._lists.attached(self._instance)):
            owner = tags.read(part).get(tags.TARGET, self._token)
            if owner != self._token:
                raise TargetFailed(
                    f"another job ({owner}) keeps its former disks",
                    on=f"target instance {self._instance}",
                    remedy="put them back or let them go: `connector job former-disks`",
                )

    def _sources(self, image: str) -> tuple[_Source, list[_Source]]:
        """The snapshots of an image: of its system disk, and of its data disks in their order."""
        row = next(self._lists.images(ImageId=image), None)
        rows = ((row or {}).get("DiskDeviceMappings") or {}).get("DiskDeviceMapping") or []
        rows = sorted(rows, key=lambda disk: (disk.get("Type") == "data", str(disk.get("Device"))))
        sources = [_Source(str(disk["SnapshotId"]), int(disk.get("Size") or 0)) for disk in rows]
        if not sources:
            raise TargetFailed("the image has no disks any more", on=image, remedy="start the job again")
        return sources[0], sources[1:]

    def _stop(self, row: Json, *, allowed: bool) -> None:
        """The machine is stopped and stays reserved: in economical mode it might not start again."""
        if row["Status"] == "Stopped":
            return
        if not allowed:
            raise TargetFailed(
                "is running",
                on=f"target instance {self._instance}",
                remedy="stop it, then try again",
                retryable=True,
            )

        def stopped() -> bool | None:
            status = self._require()["Status"]
            if status == "Running":
                parameters = {"InstanceId": self._instance, "StoppedMode": "KeepCharging"}
                self._api.ecs("StopInstance", parameters, patience=self._settings.patience, on=self._instance)
            return True if status == "Stopped" else None

        self._api.until(stopped, "stopped", on=self._instance)

    def _former(self, count: int) -> list[Json]:
        """The machine's data disks from before the job that make room for new ones, in their order. They are tagged."""
        known = {_place(disk): disk for disk in self._parts(_FORMER)}
        if len(known) < count:
            own = [d for d in self._lists.attached(self._instance)[1:] if tags.TARGET not in tags.read(d)]
            for place in range(1, count + 1):
                if place not in known:
                    self._tag_former(place, own)
            known = {_place(disk): disk for disk in self._until_tagged(count)}
        for place, disk in known.items():
            self._ledger.made(self._ledger.open(FORMER_DISK, f"former/{place}"), str(disk["DiskId"]))
        return [known[place] for place in sorted(known)]

    def _tag_former(self, place: int, own: list[Json]) -> None:
        """Tag the next disk of `own`, and take it from there."""
        if not own:
            raise BadInput(
                f"has no data disk {place}",
                on=f"target instance {self._instance}",
                remedy="attach a disk to it, or leave disks of the source out",
            )
        disk = own.pop(0)
        if disk.get("Portable") is False:
            raise BadInput(
                f"its data disk {disk['DiskId']} cannot be detached",
                on=f"target instance {self._instance}",
                remedy="let the disk be billed by use, or choose another instance",
            )
        self._ledger.open(FORMER_DISK, f"former/{place}")
        rule = "delete" if disk.get("DeleteWithInstance") else "keep"
        self._tag(str(disk["DiskId"]), "disk", f"{_FORMER}{place}-{rule}")

    def _until_tagged(self, count: int) -> list[Json]:
        def look() -> list[Json] | None:
            rows = self._parts(_FORMER)
            return rows if len(rows) >= count else None

        return self._api.until(look, "visible with its tag", on=self._instance)

    def _former_system(self) -> str:
        """The snapshot of the system disk from before the job. The first replacement comes after it is recorded."""
        attempt = self._ledger.open(FORMER_DISK, "former/system")
        if attempt.reference is not None:
            return attempt.reference
        row = self._system_snapshot()
        if row is None:
            disk = self._lists.attached(self._instance)[0]
            row = self._created(
                "CreateSnapshot",
                {
                    "DiskId": disk["DiskId"],
                    "SnapshotName": f"connector-former-{self._instance}"[:128],
                    "Tag": self._written(_SYSTEM),
                },
                attempt.token,
                self._system_snapshot,
            )
        snapshot = str(row["SnapshotId"])

        def accomplished() -> Json | None:
            found = next(self._lists.snapshots(SnapshotIds=f'["{snapshot}"]'), None)
            return found if found is not None and found.get("Status") != "progressing" else None

        row = self._api.until(accomplished, "accomplished", on=snapshot, patience=float("inf"))
        if row.get("Status") != "accomplished":
            self._delete("DeleteSnapshot", {"SnapshotId": snapshot})
            self._ledger.gone(attempt)
            raise TargetFailed(
                "the snapshot of the former system disk failed", on=snapshot, remedy="start the job again"
            )
        self._ledger.made(attempt, snapshot)
        return snapshot

    def _replace_system(self, name: str, source: _Source) -> None:
        """Replace the system disk from an image that has this disk only: nothing is said of images with more."""
        attempt = self._ledger.open("target image", f"image/{name}")
        if attempt.reference is not None:
            return  # it is replaced; a crash later may have removed the image already
        image = self._image(name, source, attempt.token)

        def replaced() -> bool | None:
            row = self._require()
            has_new = row.get("ImageId") == image
            locks = ((row.get("OperationLocks") or {}).get("LockReason")) or []
            disk = next(iter(self._lists.attached(self._instance)), {})
            return True if has_new and not locks and disk.get("Status") == "In_use" else None

        if self._require().get("ImageId") != image:
            size = int(self._lists.attached(self._instance)[0]["Size"])
            parameters = {
                "InstanceId": self._instance,
                "ImageId": image,
                "SystemDisk": {"Size": max(size, source.size)},
                "ClientToken": client_token(f"{attempt.token}/replace"),
            }
            self._api.ecs(
                "ReplaceSystemDisk", parameters, patience=self._settings.patience, on=self._instance
            )
        self._api.until(replaced, "replaced", on=self._instance)
        self._ledger.made(attempt, image)

    def _image(self, name: str, source: _Source, token: str) -> str:
        """The id of the image, which stays until the next replacement: a machine's image tells what its disk is made of."""
        part = f"image-{name.replace('/', '-')}"

        def look() -> Json | None:
            return next(self._lists.images(Status=_ANY, Tag=self._found_by(part)), None)

        row = look()
        if row is None:
            parameters = self._given(
                ImageName=f"connector-target-{client_token(token)[:24]}",
                Description=f"for {self._instance}",
                DiskDeviceMapping=[
                    {
                        "SnapshotId": source.snapshot,
                        "Device": "/dev/xvda",
                        "DiskType": "system",
                        "Size": source.size,
                    }
                ],
                Tag=self._written(part),
            )
            row = self._created("CreateImage", parameters, token, look)
        image = str(row["ImageId"])

        self._api.until(
            lambda: next(self._lists.images(ImageId=image, Status=_ANY), None), "visible", on=image
        )

        def available() -> Json | None:
            found = next(self._lists.images(ImageId=image, Status=_ANY), None)
            return found if found is not None and found.get("Status") not in ("Creating", "Waiting") else None

        self._api.until(available, "available", on=image, patience=float("inf"))
        return image

    def _put_new(self, run: str, place: int, source: _Source, former: Sequence[Json]) -> None:
        """A disk made of a snapshot, attached to the machine in place of a former one."""
        part, like = f"{_NEW}{run}-{place}", former[place - 1]

        def look() -> Json | None:
            return next(iter(self._parts(part)), None)

        attempt = self._ledger.open("target disk", f"run/{run}/{place}")
        row = look()
        if row is None:
            parameters = self._given(
                ZoneId=like["ZoneId"],
                DiskName=like.get("DiskName") or None,
                DiskCategory=like["Category"],
                PerformanceLevel=like.get("PerformanceLevel") or None,
                SnapshotId=source.snapshot,
                Size=max(int(like["Size"]), source.size),
                Tag=self._written(part),
            )
            self._created("CreateDisk", parameters, attempt.token, look)
            row = self._api.until(look, "visible", on=attempt.token)
        self._ledger.made(attempt, str(row["DiskId"]))
        rule = tags.read(like).get(tags.DISK, "")
        self._attach(row, delete=rule.endswith("-delete"))

    def _remove_new(self, *, but: str) -> None:
        """Remove the disks that an earlier run of the job made for the machine."""
        for disk in self._parts(_NEW):
            if not but or not tags.read(disk)[tags.DISK].startswith(f"{_NEW}{but}-"):
                self._detach(disk)
                self._delete("DeleteDisk", {"DiskId": disk["DiskId"]})

    def _attach(self, disk: Json, *, delete: bool) -> None:
        def usable() -> Json | None:
            row = self._disk(disk)
            return row if row is not None and row.get("Status") in ("Available", "In_use") else None

        if self._api.until(usable, "usable", on=str(disk["DiskId"])).get("Status") == "Available":
            parameters = {
                "InstanceId": self._instance,
                "DiskId": disk["DiskId"],
                "DeleteWithInstance": delete,
            }
            self._api.ecs("AttachDisk", parameters, patience=self._settings.patience, on=str(disk["DiskId"]))

        def attached() -> bool | None:
            row = self._disk(disk)
            return True if row is not None and row.get("Status") == "In_use" else None

        self._api.until(attached, "attached", on=str(disk["DiskId"]))

    def _detach(self, disk: Json) -> None:
        """Detach a disk from the machine, if it is attached there."""

        def detached() -> bool | None:
            row = self._disk(disk)
            if row is None or row.get("Status") == "Available":
                return True
            if row.get("Status") == "In_use" and row.get("InstanceId") == self._instance:
                parameters = {"InstanceId": self._instance, "DiskId": disk["DiskId"]}
                self._api.ecs(
                    "DetachDisk", parameters, patience=self._settings.patience, on=str(disk["DiskId"])
                )
            return None

        self._api.until(detached, "detached", on=str(disk["DiskId"]))

    def _disk(self, disk: Json) -> Json | None:
        ids = f'["{disk["DiskId"]}"]'
        return next(self._lists.disks(DiskIds=ids), None)

    def _parts(self, beginning: str) -> list[Json]:
        """The disks of this job and machine whose part begins like this, in the order of their places."""
        rows = self._lists.disks(Tag=tags.written({tags.TARGET: self._token}))
        mine = [row for row in rows if tags.read(row).get(tags.DISK, "").startswith(beginning)]
        return sorted(mine, key=lambda row: (_place(row), tags.read(row)[tags.DISK]))

    def _system_snapshot(self) -> Json | None:
        rows = self._lists.snapshots(Tag=self._found_by(_SYSTEM))
        return next((row for row in rows if row.get("Status") != "failed"), None)

    def _delete_system_snapshot(self) -> None:
        """The images made for the machine go first: the cloud keeps a snapshot as long as an image has it."""
        for image in list(self._lists.images(Status=_ANY, Tag=tags.written({tags.TARGET: self._token}))):
            self._delete("DeleteImage", self._given(ImageId=image["ImageId"], Force=True))
        for attempt in self._ledger.remaining("target image"):
            self._ledger.gone(attempt)
        if (snapshot := self._system_snapshot()) is not None:
            self._delete("DeleteSnapshot", {"SnapshotId": snapshot["SnapshotId"]})

    def _forget_former(self) -> None:
        for kind in (FORMER_DISK, "target disk"):
            for attempt in self._ledger.remaining(kind):
                self._ledger.gone(attempt)

    def _created(self, operation: str, parameters: Mapping[str, Any], token: str, look: Any) -> Json:
        """The answer of a call that creates; if an earlier attempt had its effect, what it made."""
        order = {
            **parameters,
            "ClientToken": client_token(token),
            "ResourceGroupId": self._settings.resource_group,
        }
        try:
            return self._api.ecs(operation, order, patience=self._settings.patience, on=self._instance)
        except Refusal as refused:
            if refused.effect not in (RefusalEffect.EXISTS, RefusalEffect.RENAME):
                raise
            row: Json = self._api.until(look, "visible", on=token)
            return row

    def _delete(self, operation: str, parameters: Mapping[str, Any]) -> None:
        try:
            self._api.ecs(operation, parameters, patience=self._settings.patience, on=self._instance)
        except Refusal as refused:
            if not refused.gone:
                raise

    def _tag(self, resource: str, kind: str, part: str) -> None:
        parameters = self._given(ResourceType=kind, ResourceId=[resource], Tag=tags.written(self._mine(part)))
        self._api.ecs("TagResources", parameters, on=resource)

    def _untag(self, disk: str) -> None:
        parameters = self._given(ResourceType="disk", ResourceId=[disk], TagKey=[tags.TARGET, tags.DISK])
        self._api.ecs("UntagResources", parameters, on=disk)

    def _written(self, part: str) -> list[dict[str, str]]:
        return tags.written(self._mine(part) | self._settings.tags)

    def _found_by(self, part: str) -> list[dict[str, str]]:
        return tags.written(self._mine(part))

    def _mine(self, part: str) -> dict[str, str]:
        return {tags.TARGET: self._token, tags.DISK: part}


def _place(disk: Json) -> int:
    """The place of a former or new disk among the data disks of its machine, from 1."""
    numbers = [word for word in tags.read(disk).get(tags.DISK, "").split("-") if word.isdecimal()]
    return int(numbers[-1]) if numbers else 0
