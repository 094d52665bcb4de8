"""The system disk that a target instance had before the job, as a snapshot, and the way back to it.

The tags of the snapshot say which image the machine had, which one the job puts there, and by which one it comes back. The
machine's image id is one of them, or somebody else has replaced its disk.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from connector.cloud.alibaba import tags
from connector.cloud.alibaba.api import Json, client_token
from connector.cloud.alibaba.target_calls import TargetCalls
from connector.cloud.target_instance import FORMER_DISK, target_token
from connector.errors import BadInput, TargetFailed

_SYSTEM: Final = "former-system"  # the part of the snapshot
_BACK: Final = "image-former"  # and of the image that is made of it
_ANY: Final = "Creating,Waiting,Available,UnAvailable,CreateFailed"


class SystemDisk(StrEnum):
    """Which system disk a machine has, as its image id says."""

    OWN = "its own"
    REPLACED = "the job's"
    PUT_BACK = "its own again"
    UNKNOWN = "somebody else's"


class FormerSystem:
    """Each step looks first at what exists."""

    def __init__(self, calls: TargetCalls) -> None:
        self._calls = calls

    def which(self, row: Json, snapshot: Json | None) -> SystemDisk:
        """The system disk of the machine `row`. Without a snapshot the job's image tells nothing: a list may lag behind."""
        known = {} if snapshot is None else tags.read(snapshot)
        image = str(row.get("ImageId"))
        if image == known.get(tags.OWN):
            # A lagging answer shows an old image id, and its owner may take the same image again: the disk's id decides.
            same = (self._calls.system_disk() or {}).get("DiskId") == (snapshot or {}).get("SourceDiskId")
            return SystemDisk.OWN if same else SystemDisk.UNKNOWN
        if image == known.get(tags.BACK):
            return SystemDisk.PUT_BACK
        is_jobs = image == known.get(tags.PUT) or self._is_jobs(image)
        if snapshot is None:
            return SystemDisk.UNKNOWN if is_jobs else SystemDisk.OWN
        return SystemDisk.REPLACED if is_jobs else SystemDisk.UNKNOWN

    def _is_jobs(self, image: str) -> bool:
        """Whether a run of this job has made the image, maybe an earlier run."""
        row = next(self._calls.lists.images(ImageId=image, Status=_ANY), {})
        return target_token(tags.read(row).get(tags.JOB, "")) == self._calls.token

    def snapshot(self) -> Json | None:
        """The newest snapshot of the former system disk that is whole or will be; None if there is none."""
        rows = list(self._calls.lists.snapshots(Tag=tags.written(self._calls.mine(_SYSTEM))))
        for attempt in self._calls.ledger.remaining(FORMER_DISK):
            if attempt.name == "former/system" and attempt.reference is not None:  # the list by tag may lag
                rows += self._calls.lists.snapshots(SnapshotIds=f'["{attempt.reference}"]')
        whole = [row for row in rows if row.get("Status") != "failed"]
        return max(whole, key=lambda row: str(row.get("CreationTime")), default=None)

    def save(self, image: str) -> None:
        """A snapshot of the system disk from before the job, with the image that is put there now in its tags.

        While the machine has its own system disk, an earlier snapshot is out of date: the machine may have run since.
        """
        row, snapshot = self._calls.require(), self.snapshot()
        has = self.which(row, snapshot)
        if has is SystemDisk.UNKNOWN:
            raise TargetFailed(
                f"its system disk is of the image {row.get('ImageId')}, which is neither its own nor the job's",
                on=f"target instance {self._calls.instance}",
                remedy="put it back or let the former disks go: `connector job former-disks JOB`; then make a new job for it",
            )
        if has is SystemDisk.REPLACED and snapshot is not None:
            self._calls.tag(str(snapshot["SnapshotId"]), "snapshot", {tags.PUT: image})
            return
        boot = self._boot(row)
        self.drop()
        self._take(row, image, boot)
        self._calls.stop(self._calls.require(), allowed=False)  # what it wrote meanwhile would be lost

    def _boot(self, row: Json) -> str:
        """Architecture, boot mode and platform of the machine's system disk. Raises BadInput when nobody knows them."""
        known = boot_of(row)
        image = next(self._calls.lists.images(ImageId=str(row.get("ImageId")), Status=_ANY), None)
        if image is not None:
            words = [image.get(name) or "" for name in ("Architecture", "BootMode", "Platform")]
            return "|".join(map(str, words))
        if not known:
            raise BadInput(
                f"its image {row.get('ImageId')} is gone, so its former system disk could not be put back",
                on=f"target instance {self._calls.instance}",
                remedy="choose another instance, or make a new one of the job's image",
            )
        return known

    def _take(self, row: Json, image: str, boot: str) -> None:
        attempt = self._calls.ledger.open(FORMER_DISK, "former/system")
        disk = self._calls.api.until(self._calls.system_disk, "visible", on=self._calls.instance)
        about = self._calls.mine(_SYSTEM) | {
            tags.INSTANCE: self._calls.instance,
            tags.OWN: str(row.get("ImageId")),
            tags.PUT: image,
            tags.BOOT: boot,
        }
        parameters = {
            "DiskId": disk["DiskId"],
            "SnapshotName": f"connector-former-{self._calls.instance}"[:128],
            "Tag": tags.written(about | self._calls.settings.tags),
        }
        created = self._calls.created("CreateSnapshot", parameters, attempt.token, self.snapshot)
        snapshot = str(created["SnapshotId"])

        whole = self._settled(
            lambda: next(self._calls.lists.snapshots(SnapshotIds=f'["{snapshot}"]'), None), "progressing"
        )
        if whole is None or whole.get("Status") != "accomplished":
            self._calls.ledger.gone(attempt)
            raise TargetFailed(
                "the snapshot of the former system disk failed or was removed",
                on=snapshot,
                remedy="start the job again",
                retryable=True,
            )
        self._calls.ledger.made(attempt, snapshot)

    def replace(self, image: str, size: int) -> None:
        """Replace the system disk. An image with data disks replaces the system disk alone (Alibaba's FAQ, August 2024)."""

        def replaced() -> bool | None:
            row = self._calls.require()
            locks = ((row.get("OperationLocks") or {}).get("LockReason")) or []
            disk = self._calls.system_disk() or {}
            return (
                True if row.get("ImageId") == image and not locks and disk.get("Status") == "In_use" else None
            )

        if self._calls.require().get("ImageId") != image:
            disk = self._calls.api.until(self._calls.system_disk, "visible", on=self._calls.instance)
            parameters = {
                "InstanceId": self._calls.instance,
                "ImageId": image,
                "SystemDisk": {"Size": max(int(disk["Size"]), size)},
                "ClientToken": client_token(f"{self._calls.token}/{disk['DiskId']}/{image}"),
            }
            self._calls.api.ecs(
                "ReplaceSystemDisk",
                parameters,
                patience=self._calls.settings.patience,
                on=self._calls.instance,
            )
        self._calls.api.until(replaced, "replaced", on=self._calls.instance)

    def image(self, snapshot: Json) -> str:
        """An image of the former system disk."""
        attempt = self._calls.ledger.open("target image", "image/former")

        def look() -> Json | None:
            return next(
                self._calls.lists.images(Status=_ANY, Tag=tags.written(self._calls.mine(_BACK))), None
            )

        row = look()
        if row is None:
            architecture, boot_mode, platform = tags.read(snapshot).get(tags.BOOT, "||").split("|", 2)
            mapping = {
                "SnapshotId": snapshot["SnapshotId"],
                "Device": "/dev/xvda",
                "DiskType": "system",
                "Size": int(snapshot.get("SourceDiskSize") or 0),
            }
            parameters = self._calls.given(
                ImageName=f"connector-former-{client_token(attempt.token)[:24]}",
                Description=f"for {self._calls.instance}",
                Architecture=architecture or None,
                BootMode=boot_mode or None,
                Platform=platform or None,
                DiskDeviceMapping=[mapping],
                Tag=tags.written(self._calls.mine(_BACK) | self._calls.settings.tags),
            )
            row = self._calls.created("CreateImage", parameters, attempt.token, look)
        image = str(row["ImageId"])

        listed = self._settled(
            lambda: next(self._calls.lists.images(ImageId=image, Status=_ANY), None), "Creating", "Waiting"
        )
        if listed is None or listed.get("Status") != "Available":
            if listed is not None:
                self._calls.delete("DeleteImage", self._calls.given(ImageId=image, Force=True))
            self._calls.ledger.gone(attempt)
            raise TargetFailed(
                "the image of the former system disk failed or was removed",
                on=image,
                remedy="try again",
                retryable=True,
            )
        self._calls.ledger.made(attempt, image)
        return image

    def _settled(self, look: Callable[[], Json | None], *passing: str) -> Json | None:
        """The row when its status is none of those that pass; None if it is not there, or not there any more."""
        deadline = time.monotonic() + self._calls.settings.patience
        while True:
            row = look()
            if row is not None and row.get("Status") not in passing:
                return row
            if row is not None:
                deadline = time.monotonic() + self._calls.settings.patience
            elif time.monotonic() > deadline:
                return None
            self._calls.api.pause()

    def _let_appear(self) -> None:
        """Wait until a snapshot that was asked for a moment ago is visible: what is not seen is not removed."""
        recorded = [row for row in self._calls.ledger.remaining(FORMER_DISK) if row.name == "former/system"]
        age = max(0.0, time.time() - self._calls.ledger.youngest())
        deadline = time.monotonic() + self._calls.settings.consistency - age
        while any(row.reference is None for row in recorded) and self.snapshot() is None:
            if time.monotonic() > deadline:
                return
            self._calls.api.pause()

    def drop(self) -> None:
        """The image of it goes first: the cloud keeps a snapshot as long as an image has it. What the image said stays with
        the machine, whose image id points at nothing then.
        """
        self._let_appear()
        images = list(self._calls.lists.images(Status=_ANY, Tag=tags.written(self._calls.mine(_BACK))))
        snapshots = list(self._calls.lists.snapshots(Tag=tags.written(self._calls.mine(_SYSTEM))))
        row = self._calls.lists.instance(self._calls.instance)
        if row is not None and any(image["ImageId"] == row.get("ImageId") for image in images):
            boot = next((tags.read(snapshot).get(tags.BOOT, "") for snapshot in snapshots), "")
            if boot:
                self._calls.tag(self._calls.instance, "instance", {tags.BOOT: f"{row['ImageId']}|{boot}"})
        for image in images:
            self._calls.delete("DeleteImage", self._calls.given(ImageId=image["ImageId"], Force=True))
        for snapshot in snapshots:
            self._calls.delete("DeleteSnapshot", {"SnapshotId": snapshot["SnapshotId"]})
        for attempt in (
            *self._calls.ledger.remaining("target image"),
            *self._calls.ledger.remaining(FORMER_DISK),
        ):
            if attempt.name in ("image/former", "former/system"):
                self._calls.ledger.gone(attempt)


def boot_of(row: Json) -> str:
    """Architecture, boot mode and platform of a machine whose image we removed; empty if another image is its image now."""
    image, _, known = tags.read(row).get(tags.BOOT, "").partition("|")
    return known if image == row.get("ImageId") else ""
