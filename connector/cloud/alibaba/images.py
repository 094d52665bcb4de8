"""An image is made from a snapshot of each settled disk of an instance.

A snapshot shows a disk at the time of the call, so the instance may write again when all snapshots have begun. A snapshot
stays as long as its image; unused snapshots are removed when the instance is released.
"""

from __future__ import annotations

import calendar
import re
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from connector.cloud.alibaba import guest, tags
from connector.cloud.alibaba.api import Api, Json, client_token
from connector.cloud.alibaba.codes import Refusal, RefusalEffect
from connector.cloud.alibaba.market import GIB
from connector.cloud.alibaba.owner_ledger import ObjectAttempt, OwnerLedger
from connector.cloud.provider import ImageRequest, StoredImage
from connector.errors import TargetFailed

_ANY: Final = "Creating,Waiting,Available,UnAvailable,CreateFailed"
_LONGEST: Final = 128
_ODD: Final = re.compile(r"[^A-Za-z0-9:_-]")
_LETTERS: Final = "abcdefghijklmnopqrstuvwxyz"


class CloudImages:
    """Makes, lists and removes images. Thread-safe; only one thread at a time acts for one owner."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._settings = api.settings

    def make(
        self, request: ImageRequest, disks: dict[str, Json], ledger: OwnerLedger, owner_tags: dict[str, str]
    ) -> StoredImage:
        """The image of this run, made if it does not exist. `disks`: the cloud's disks by the source disk's key."""
        run_tags = owner_tags | {tags.RUN: request.run}
        for _ in range(2):
            row = self._begun(run_tags)
            if row is None:
                snapshots = self._snapshots(request, disks, ledger, run_tags)
                row = self._create(request, snapshots, ledger, run_tags)
            row = self._finished(str(row["ImageId"]))
            if row["Status"] == "Available":
                self._name_snapshots(row)
                return _stored(row, request)
            self._api.ecs("DeleteImage", self._given(ImageId=row["ImageId"], Force=True))
            ledger.gone(ledger.open("image", f"image/{request.run}"))
        raise TargetFailed(
            "the cloud could not make the image, twice",
            on=request.name,
            remedy="look at the images and snapshots in the console, then start the job again",
        )

    def row(self, image: str) -> Json | None:
        """The image with this id, if it can be used."""
        return next(self._rows(ImageId=image), None)

    def stored(self, image: str, request: ImageRequest) -> StoredImage | None:
        """The image with this id, which was made as `request` says; None if it cannot be used."""
        row = self.row(image)
        return None if row is None else _stored(row, request)

    def ids(self, name: str) -> list[str]:
        """Ids of our images of this name, and of their converted copies."""
        rows = [row for row in self._rows(ImageName=name, Status=_ANY) if tags.OWNER in tags.read(row)]
        rows += self._rows(Tag=tags.written({tags.ORIGINAL_NAME: name}), Status=_ANY)
        return [str(row["ImageId"]) for row in rows]

    def _begun(self, run_tags: dict[str, str]) -> Json | None:
        return next(self._rows(Status=_ANY, Tag=tags.written(run_tags)), None)

    def _finished(self, image: str) -> Json:
        def look() -> Json | None:
            row = next(self._rows(ImageId=image, Status=_ANY), None)
            return row if row is not None and row.get("Status") not in ("Creating", "Waiting") else None

        return self._api.until(look, "available", on=image, patience=float("inf"))

    def _snapshots(
        self, request: ImageRequest, disks: dict[str, Json], ledger: OwnerLedger, run_tags: dict[str, str]
    ) -> list[tuple[str, int]]:
        """Id and size of each disk's snapshot, in the order of the request, after all are accomplished."""
        snapshots = [
            self._snapshot(str(disk.key), disks[str(disk.key)], ledger, run_tags) for disk in request.disks
        ]
        snapshot_ids = []
        for attempt, snapshot in snapshots:
            size = self._accomplished(snapshot)
            ledger.made(attempt, snapshot)
            snapshot_ids.append((snapshot, size))
        return snapshot_ids

    def _snapshot(
        self, key: str, disk: Json, ledger: OwnerLedger, run_tags: dict[str, str]
    ) -> tuple[ObjectAttempt, str]:
        owner_tags = run_tags | {tags.DISK: key}

        def look() -> Json | None:
            rows = self._snapshot_rows(Tag=tags.written(owner_tags))
            return next((row for row in rows if row.get("Status") != "failed"), None)

        attempt = ledger.open("snapshot", f"snapshot/{run_tags[tags.RUN]}/{key}")
        row = look()
        if row is None:
            parameters = {
                "DiskId": disk["DiskId"],
                "SnapshotName": f"connector-{key}-{run_tags[tags.RUN]}"[:_LONGEST],
                "Tag": tags.written(owner_tags | self._settings.tags),
                "ClientToken": client_token(attempt.token),
                "ResourceGroupId": self._settings.resource_group,
            }
            try:
                row = self._api.ecs(
                    "CreateSnapshot", parameters, patience=self._settings.patience, on=str(disk["DiskId"])
                )
            except Refusal as refused:
                if refused.effect is not RefusalEffect.EXISTS:
                    raise
                row = self._api.until(look, "visible", on=attempt.token)
        return attempt, str(row["SnapshotId"])

    def _accomplished(self, snapshot: str) -> int:
        """The snapshot's size in GiB, after it is accomplished. There is no time limit; the console shows its progress."""

        def look() -> Json | None:
            row = next(self._snapshot_rows(SnapshotIds=f'["{snapshot}"]'), None)
            return row if row is not None and row.get("Status") != "progressing" else None

        row = self._api.until(look, "accomplished", on=snapshot, patience=float("inf"))
        if row.get("Status") != "accomplished":
            raise TargetFailed("the snapshot failed", on=snapshot, remedy="start the job again")
        return int(row.get("SourceDiskSize") or 0)

    def _create(
        self,
        request: ImageRequest,
        snapshots: Sequence[tuple[str, int]],
        ledger: OwnerLedger,
        run_tags: dict[str, str],
    ) -> Json:
        """Make the image with the requested name; if the name is in use, with the job's id appended (X3)."""
        attempt = ledger.open("image", f"image/{request.run}")
        for number, name in enumerate(_names(request), 1):
            parameters = self._given(
                ImageName=name,
                Description=f"job {request.job_id}",
                Architecture=request.architecture,
                Platform=guest.platform(request.guest_id),
                BootMode=guest.boot_mode(request.firmware),
                DiskDeviceMapping=_mapping(snapshots),
                Tag=tags.written(run_tags | self._settings.tags),
                ClientToken=client_token(f"{attempt.token}/{number}"),
                ResourceGroupId=self._settings.resource_group,
            )
            try:
                return self._api.ecs("CreateImage", parameters, patience=self._settings.patience, on=name)
            except Refusal as refused:
                if refused.effect is RefusalEffect.EXISTS:
                    return self._api.until(lambda: self._begun(run_tags), "visible", on=attempt.token)
                if refused.effect is not RefusalEffect.RENAME:
                    raise
        raise TargetFailed(
            "every name for the image is taken", on=request.name, remedy="choose another image name"
        )

    def _name_snapshots(self, image: Json) -> None:
        """Tag the snapshots with their image, so that they are found if the process dies while the image is deleted."""
        parameters = self._given(
            ResourceType="snapshot",
            ResourceId=_snapshot_ids(image),
            Tag=tags.written({tags.IMAGE: str(image["ImageName"])}),
        )
        self._api.ecs("TagResources", parameters)

    def all(self) -> list[StoredImage]:
        """Our images, newest first."""
        rows = self._rows(ImageOwnerAlias="self", Tag=tags.written({tags.OWNER: ""}))
        return [_stored(row) for row in rows if tags.OWNER in tags.read(row)]

    def delete(self, name: str) -> list[Json]:
        """Delete an image with its snapshots, then its converted copy, and answer all their snapshots.

        Raises TargetFailed, before anything is deleted, if instances were made from one of them.
        """
        rows = [row for row in self._rows(ImageName=name, Status=_ANY) if tags.OWNER in tags.read(row)]
        copies = list(self._rows(Tag=tags.written({tags.ORIGINAL_NAME: name}), Status=_ANY))
        for row in (*rows, *copies):
            if row.get("Usage") not in (None, "", "none"):
                raise TargetFailed(
                    "instances were made from the image",
                    on=str(row["ImageName"]),
                    remedy="release them first",
                )
        for row in rows:
            self._name_snapshots(row)
            self._tolerant("DeleteImage", self._given(ImageId=row["ImageId"]))
        snapshots = [] if not rows and self._others(name) else self._delete_snapshots(name)
        for copy in copies:
            snapshots += self.delete(str(copy["ImageName"]))
        return snapshots

    def _delete_snapshots(self, name: str) -> list[Json]:
        """Delete the snapshots of an image that is deleted, and answer them."""
        snapshots = list(self._snapshot_rows(Tag=tags.written({tags.IMAGE: name})))
        for snapshot in snapshots:
            self._tolerant("DeleteSnapshot", {"SnapshotId": snapshot["SnapshotId"]})
        return snapshots

    def _others(self, name: str) -> bool:
        """Whether an image of that name exists that is not ours."""
        return next(self._rows(ImageName=name, Status=_ANY), None) is not None

    def remove_unused(self, owner_tags: dict[str, str]) -> None:
        """Remove this owner's unused snapshots and unfinished images."""
        images = list(self._rows(Status=_ANY, Tag=tags.written(owner_tags)))
        for row in images:
            if row.get("Status") not in ("Available", "Creating", "Waiting"):
                self._tolerant("DeleteImage", self._given(ImageId=row["ImageId"], Force=True))
        used_snapshots = {
            snapshot for row in images for snapshot in _snapshot_ids(row) if row.get("Status") == "Available"
        }
        for row in list(self._snapshot_rows(Tag=tags.written(owner_tags))):
            if row["SnapshotId"] not in used_snapshots:
                self._tolerant("DeleteSnapshot", {"SnapshotId": row["SnapshotId"]})

    def snapshots(self, owner_tags: dict[str, str]) -> list[str]:
        """Ids of all snapshots of this owner."""
        return [str(row["SnapshotId"]) for row in self._snapshot_rows(Tag=tags.written(owner_tags))]

    def _tolerant(self, operation: str, parameters: dict[str, Any]) -> None:
        try:
            self._api.ecs(operation, parameters, patience=self._settings.patience)
        except Refusal as refused:
            if not refused.gone:
                raise

    def _given(self, **more: Any) -> dict[str, Any]:
        return {"RegionId": self._settings.region, **more}

    def _rows(self, **parameters: Any) -> Iterator[Json]:
        """Images, of exactly the name if one is given: the cloud also answers those whose names contain it."""
        rows = self._api.rows("ecs", "DescribeImages", ("Images", "Image"), self._given(**parameters))
        name = parameters.get("ImageName")
        return (row for row in rows if name in (None, row.get("ImageName")))

    def _snapshot_rows(self, **parameters: Any) -> Iterator[Json]:
        where = ("Snapshots", "Snapshot")
        return self._api.rows("ecs", "DescribeSnapshots", where, self._given(**parameters))


def _mapping(snapshots: Sequence[tuple[str, int]]) -> list[dict[str, Any]]:
    """The device mapping of the image. The first disk is the system disk, whatever it was on the intermediate instance."""
    return [
        {
            "SnapshotId": snapshot,
            "Device": f"/dev/xvd{_LETTERS[number]}",
            "DiskType": "system" if number == 0 else "data",
            "Size": size,
        }
        for number, (snapshot, size) in enumerate(snapshots)
    ]


def _names(request: ImageRequest) -> list[str]:
    """Names for the image, best first: a letter, then letters, digits, colons, underscores and hyphens."""
    plain = _ODD.sub("-", request.name)
    plain = plain if plain[:1].isalpha() else f"m-{plain}"
    endings = ("", f"_{request.job_id}", f"_{request.job_id}_{request.run}")
    return [plain[: _LONGEST - len(ending)] + ending for ending in endings]


def _snapshot_ids(image: Json) -> list[str]:
    rows = (image.get("DiskDeviceMappings") or {}).get("DiskDeviceMapping") or []
    return [str(row["SnapshotId"]) for row in rows if row.get("SnapshotId")]


def _stored(image: Json, request: ImageRequest | None = None) -> StoredImage:
    rows = (image.get("DiskDeviceMappings") or {}).get("DiskDeviceMapping") or []
    rows = sorted(rows, key=lambda row: (row.get("Type") == "data", str(row.get("Device"))))
    disks: list[dict[str, object]] = [
        {
            "device": row.get("Device"),
            "snapshot": row.get("SnapshotId"),
            "size": int(row.get("Size") or 0) * GIB,
            "type": "data" if place else "system",
        }
        for place, row in enumerate(rows)
    ]
    if request is not None:
        for row, disk in zip(disks, request.disks, strict=False):
            row |= {"disk": str(disk.key), "capacity": disk.capacity}
    image_id = str(image["ImageId"])
    return StoredImage(
        name=str(image["ImageName"]),
        location=image_id,
        files=tuple(_snapshot_ids(image)),
        size=sum(int(row.get("Size") or 0) for row in rows) * GIB,
        created=_moment(str(image.get("CreationTime") or "")),
        details={
            "disks": disks,
            "format": "ecs",
            "note": "",
            "boot_mode": image.get("BootMode"),
            "platform": image.get("Platform"),
        },
        id=image_id,
    )


def _moment(text: str) -> float:
    for form in ("%Y-%m-%dT%H:%M:%SZ", "%Y-%m-%dT%H:%MZ"):
        try:
            return float(calendar.timegm(time.strptime(text, form)))
        except ValueError:
            continue
    return 0.0
