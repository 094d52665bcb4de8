"""Pages through changed areas, refuses answers with gaps, and says why two snapshots allow no delta.

The paging core is pure: `covered` takes any function that answers for a window.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from connector.errors import BadInput, ChangesUnknown, Conflict, ConnectorError, Ineligible, VCenterFault
from connector.model import Extent, MachineDisk

MOST_WINDOWS = 100_000  # answers about one disk; each covers 2000 extents or more
EVERYTHING = "*"  # the change id that asks for areas in use instead of changed areas
_RESYNC = "a pass that compares hashes finds what differs"
_DELTA_SUFFIX = re.compile(r"-\d{6}(?=\.vmdk$)")


@dataclass(frozen=True, slots=True)
class ChangedAreas:
    """One answer: the areas that changed within `[start, start + length)`."""

    start: int
    length: int
    areas: tuple[Extent, ...]


def covered(capacity: int, ask: Callable[[int], ChangedAreas], on: str = "") -> tuple[Extent, ...]:
    """The changed areas of the whole disk as sorted, merged extents; asks window after window.

    `ask` gets the first uncovered offset, never `capacity` itself. Raises `ChangesUnknown` for an answer
    that contradicts itself or the question: wrong start, no length, past the end, an area outside its window.
    """
    position = answers = 0
    areas: list[Extent] = []
    while position < capacity:
        if (answers := answers + 1) > MOST_WINDOWS:
            raise unknown(f"{MOST_WINDOWS} answers cover {position} of {capacity} bytes", on)
        window = ask(position)
        _judge(window, position, capacity, on)
        areas.extend(window.areas)
        position += window.length
    return merged(areas)


def _judge(window: ChangedAreas, position: int, capacity: int, on: str) -> None:
    end = window.start + window.length
    if window.start != position:
        raise unknown(f"asked from {position}, the answer starts at {window.start}", on)
    if window.length <= 0:
        raise unknown(f"the answer at {position} covers nothing", on)
    if end > capacity:
        raise unknown(f"the answer ends at {end}, past the disk's end at {capacity}", on)
    for area in window.areas:
        if area.length <= 0 or area.start < window.start or area.end > end:
            raise unknown(
                f"area [{area.start}, {area.end}) is not within its window [{window.start}, {end})", on
            )


def merged(areas: Iterable[Extent]) -> tuple[Extent, ...]:
    """The same bytes as ascending extents that neither touch nor overlap."""
    extents: list[Extent] = []
    for area in sorted(areas):
        if extents and area.start <= extents[-1].end:
            last = extents.pop()
            extents.append(Extent(last.start, max(last.end, area.end) - last.start))
        else:
            extents.append(area)
    return tuple(extents)


def why_no_delta(base: MachineDisk, now: MachineDisk) -> str | None:
    """Why the changes of `now` since `base` cannot be queried; None when they can.

    Both are disks of snapshots and have the same key: `base` of the last finished reading, `now` of the snapshot that is read.
    """
    checks: tuple[tuple[bool, str], ...] = (
        (not base.change_id, "the base has no change id"),
        (not now.change_id, "CBT is not active for the disk: its snapshot has no change id"),
        (base.capacity != now.capacity, f"the disk was resized from {base.capacity} to {now.capacity} bytes"),
        (not base.uuid and bool(now.uuid), "the base does not say of which disk it is (no uuid)"),
        (base.uuid != now.uuid, "another disk is in its place (uuid changed)"),
        (
            root_file(base.path) != root_file(now.path),
            f"the disk moved from {root_file(base.path)} to {root_file(now.path)}",
        ),
        (history(base.change_id) != history(now.change_id), "tracking was restarted (uuid part changed)"),
    )
    return next((why for wrong, why in checks if wrong), None)


def history(change_id: str | None) -> str:
    """The part of a change id that stays the same as long as tracking is not restarted."""
    return (change_id or "").rpartition("/")[0]


def root_file(path: str) -> str:
    """A disk's file without the suffix that a snapshot gives to its delta file."""
    return _DELTA_SUFFIX.sub("", path)


def unknown(why: str, on: str) -> ChangesUnknown:
    """The error that makes the pass compare this disk."""
    return ChangesUnknown(f"changes are not known: {why}", on=on, remedy=_RESYNC)


def doubted(error: ConnectorError) -> ConnectorError:
    """The error of a failed query, as it concerns the disk. A failure that passes by itself is returned unchanged."""
    if error.retryable or not isinstance(error, VCenterFault | Conflict | Ineligible | BadInput):
        return error
    return error if isinstance(error, ChangesUnknown) else unknown(error.what, error.on)
