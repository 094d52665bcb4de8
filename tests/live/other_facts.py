"""Facts about the other ways to the same bytes: VDDK, files over HTTPS, and what CBT says."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from connector.model import Extent
from connector.sources.https import HttpsReader, HttpsSettings
from connector.sources.nfc import NfcReader
from connector.sources.reader import Reader
from connector.sources.vddk import VddkReader
from connector.transfer import extents as ranges
from tests.live.facts import Check, Fact, Mark, Seen, Site, holds, not_seen

MOST: Final = 32 << 20  # bytes that are compared
_CHANGE_ID: Final = re.compile(r"[0-9a-f ]+[-0-9a-f ]*/\d+")


def _bytes(reader: Reader, site: Site) -> dict[int, bytes]:
    """The first blocks that hold something."""
    with closing(reader.open(site.access(), 4)) as source:
        allocated = source.allocated(Extent(0, source.capacity)) or [Extent(0, min(1 << 20, source.capacity))]
        wanted = list(ranges.blocks(allocated))[: MOST >> 20]
        blocks = {}
        for block in source.read(wanted):
            blocks[block.offset] = bytes(block.data)
            block.release()
    return blocks


def _same(first: Reader, second: Reader, site: Site) -> Seen:
    """What the second reader gives of the ranges that the first one gives."""
    blocks = _bytes(first, site)
    different = []
    with closing(second.open(site.access(), 4)) as source:
        for block in source.read(Extent(at, len(data)) for at, data in blocks.items()):
            if blocks[block.offset] != block.data:
                different.append(block.offset)
            block.release()
    size = sum(map(len, blocks.values()))
    return holds(not different, f"{size} bytes compared, {len(different)} blocks differ {different[:3]}")


def https(port: int) -> Check:
    """Equal bytes by file and by NFC; 0: through vCenter."""

    def check(site: Site) -> Seen:
        return _same(NfcReader(), HttpsReader(HttpsSettings(host_port=port)), site)

    return check


def vddk(installation: Path | None, transports: str) -> Callable[[Site], Seen]:
    def check(site: Site) -> Seen:
        if installation is None:
            return not_seen("no VDDK was named")
        return _same(NfcReader(), VddkReader(installation, transports), site)

    return check


def in_use(site: Site) -> Seen:
    """Areas in use by CBT must cover what the host calls allocated, as far as that is not all zeros."""
    routes = site.access().routes
    if routes is None or not site.machine.cbt_enabled:
        return not_seen("CBT is off on this machine")
    areas = ranges.normalise(routes.in_use())
    outside = {
        at: data
        for at, data in _bytes(NfcReader(), site).items()
        if ranges.subtract([Extent(at, len(data))], areas) and any(data)
    }
    return holds(not outside, f"{ranges.covered(areas)} bytes in use; data outside: {sorted(outside)[:3]}")


def change_id(site: Site) -> Seen:
    known = site.disk.change_id
    if not known:
        return not_seen("CBT is off on this disk")
    return holds(
        bool(_CHANGE_ID.fullmatch(known)), f"{len(known)} characters, ends in /{known.partition('/')[2]}"
    )


def facts(installation: Path | None, transports: str) -> tuple[Fact, ...]:
    """The facts; VDDK's are looked at where an installation is named."""
    return (
        Fact("C1", Mark.DOCUMENTED, "a change id is a UUID, a slash and a number", change_id),
        Fact("C2", Mark.NOTES, "CBT's question with * covers all data, once CBT is on", in_use),
        Fact("H1", Mark.DOCUMENTED, "the flat file through vCenter has the snapshot's bytes", https(0)),
        Fact("H2", Mark.GUESS, "the same straight from the host, by a ticket of vCenter", https(443)),
        Fact("V1", Mark.DOCUMENTED, "VDDK gives the same bytes as NFC", vddk(installation, transports)),
    )
