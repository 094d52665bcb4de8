"""The digests of a target's cells, fetched from its instance in long stretches when they are first needed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from connector.model import Extent
from connector.transfer import digest
from connector.transfer.extents import CELL

STRETCH: Final = 256 << 20  # bytes of the disk whose digests are fetched together: 128 KiB of digests
KEPT: Final = 8  # stretches; blocks arrive nearly in order

Fetch = Callable[[Sequence[Extent]], bytes]


class TargetDigests:
    """A `sender.DigestLookup`. Thread-safe; at most `KEPT` stretches are in memory.

    Make a new object for each connection: they do not show what was sent meanwhile.
    """

    def __init__(self, fetch: Fetch, capacity: int) -> None:
        self._fetch, self._capacity = fetch, capacity
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, bytes] = OrderedDict()

    def __call__(self, extent: Extent) -> bytes:
        """The digests of the cells of an extent that does not cross a multiple of `STRETCH`."""
        start = extent.start // STRETCH * STRETCH
        stretch = self._stretch(start)
        first = (extent.start - start) // CELL * digest.SIZE
        return stretch[first : first + digest.count(extent.length) * digest.SIZE]

    def _stretch(self, start: int) -> bytes:
        with self._lock:
            if start in self._kept:
                self._kept.move_to_end(start)
            else:
                extent = Extent(start, min(STRETCH, self._capacity - start))
                self._kept[start] = self._fetch([extent])
                if len(self._kept) > KEPT:
                    self._kept.popitem(last=False)
            return self._kept[start]
