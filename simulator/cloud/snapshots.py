"""Operations on snapshots: a snapshot is the disk at the time of the call, usable when it is accomplished."""

from __future__ import annotations

from typing import Any

from simulator.cloud import storage
from simulator.cloud.codes import Refused
from simulator.cloud.networks import tagged, utc
from simulator.cloud.parameters import Parameters
from simulator.cloud.region import Region
from simulator.cloud.resources import GIB, Disk, Snapshot

Answer = dict[str, Any]


def progress(region: Region, snapshot: Snapshot) -> int:
    """Percent."""
    duration = region.timing.snapshot
    return 100 if duration <= 0 else min(100, int(100 * region.age(snapshot.created) / duration))


def in_progress(region: Region, disk_id: str) -> bool:
    """Whether a snapshot of this disk is being made."""
    return any(snapshot.disk == disk_id and progress(region, snapshot) < 100 for snapshot in region.snapshots)


def ready(region: Region, snapshot_id: str) -> Snapshot:
    """Raises Refused when it is not there, or not accomplished."""
    snapshot = region.snapshots.get(snapshot_id)
    if progress(region, snapshot) < 100:
        raise Refused("InvalidSnapshotId.NotReady")
    return snapshot


def used_by_image(region: Region, snapshot_id: str) -> bool:
    return any(disk.snapshot == snapshot_id for image in region.images for disk in image.disks)


def take(region: Region, disk: Disk) -> Snapshot:
    """Raises Refused for a disk of which no snapshot can be made now."""
    if in_progress(region, disk.id):
        raise Refused("IncorrectDiskStatus.CreatingSnapshot")
    if not disk.ever_attached:
        raise Refused("IncorrectDiskStatus.NeverAttached")
    if not disk.system and not disk.snapshot and not storage.used(disk.path):
        raise Refused("IncorrectDiskStatus.NeverUsed")
    snapshot_id = region.snapshots.new_id()
    path = region.new_path(snapshot_id)
    storage.copy(disk.path, path, disk.size * GIB)
    return region.snapshots.add(
        Snapshot(
            id=snapshot_id,
            created=region.clock(),
            disk=disk.id,
            system=disk.system,
            size=disk.size,
            path=path,
        )
    )


def create_snapshot(region: Region, parameters: Parameters) -> Answer:
    snapshot = take(region, region.disks.get(parameters.need("DiskId")))
    snapshot.name, snapshot.description = parameters.text("SnapshotName"), parameters.text("Description")
    snapshot.tags = parameters.tags()
    return {"SnapshotId": snapshot.id}


def describe_snapshots(region: Region, parameters: Parameters) -> Answer:
    wanted = parameters.listed("SnapshotIds")
    state = parameters.text("Status", "all")
    snapshots = [
        snapshot
        for snapshot in tagged(region.snapshots.seen(), parameters.tags())
        if (wanted is None or snapshot.id in wanted)
        and parameters.text("DiskId") in ("", snapshot.disk)
        and parameters.text("SnapshotName") in ("", snapshot.name)
        and state in ("all", _status(region, snapshot))
    ]
    page = parameters.page()
    on_page, token = page.of(snapshots)
    rows = [_row(region, snapshot) for snapshot in on_page]
    return page.heading(len(snapshots), token) | {"Snapshots": {"Snapshot": rows}}


def delete_snapshot(region: Region, parameters: Parameters) -> Answer:
    snapshot = region.snapshots.get(parameters.need("SnapshotId"))
    if used_by_image(region, snapshot.id):
        raise Refused("SnapshotCreatedImage")
    if progress(region, snapshot) < 100:
        raise Refused("IncorrectDiskStatus.CreatingSnapshot", status=400)
    region.snapshots.drop(snapshot.id)
    storage.remove(snapshot.path)
    return {}


def _status(region: Region, snapshot: Snapshot) -> str:
    return "accomplished" if progress(region, snapshot) == 100 else "progressing"


def _row(region: Region, snapshot: Snapshot) -> Answer:
    image = used_by_image(region, snapshot.id)
    disk = any(disk_row.snapshot == snapshot.id for disk_row in region.disks)
    usage = {
        (False, False): "none",
        (True, False): "image",
        (False, True): "disk",
        (True, True): "image_disk",
    }
    return {
        "SnapshotId": snapshot.id,
        "SnapshotName": snapshot.name,
        "Description": snapshot.description,
        "Status": _status(region, snapshot),
        "Progress": f"{progress(region, snapshot)}%",
        "SourceDiskId": snapshot.disk,
        "SourceDiskSize": str(snapshot.size),
        "SourceDiskType": "system" if snapshot.system else "data",
        "SnapshotType": "user",
        "Usage": usage[image, disk],
        "CreationTime": utc(snapshot.created),
        "Tags": {"Tag": [{"TagKey": key, "TagValue": value} for key, value in snapshot.tags.items()]},
    }
