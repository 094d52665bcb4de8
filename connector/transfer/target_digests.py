"""The digests of a target's cells, fetched from its instance in pages when they are first needed."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

from connector.model import Extent
from connector.transfer import digest
from connector.transfer.extents import CELL

PAGE: Final = 256 << 20  # bytes of the disk whose digests are fetched together: 128 KiB of digests
KEPT: Final = 8  # pages; blocks arrive nearly in order

Fetch = Callable[[Sequence[Extent]], bytes]


class TargetDigests:
    """A `sender.DigestLookup`. Thread-safe; at most `KEPT` pages are in memory.

    Make a new object for each connection: the pages do not show what was sent meanwhile.
    """

    def __init__(self, fetch: Fetch, capacity: int) -> None:
        self._fetch, self._capacity = fetch, capacity
        self._lock = threading.Lock()
        self._pages: OrderedDict[int, bytes] = OrderedDict()

    def __call__(self, extent: Extent) -> bytes:
        """The digests of the cells of an extent that does not cross a multiple of `PAGE`."""
        start = extent.start // PAGE * PAGE
        page = self._page(start)
        first = (extent.start - start) // CELL * digest.SIZE
        return page[first : first + digest.count(extent.length) * digest.SIZE]

    def _page(self, start: int) -> bytes:
        with self._lock:
            if start in self._pages:
                self._pages.move_to_end(start)
            else:
                extent = Extent(start, min(PAGE, self._capacity - start))
                self._pages[start] = self._fetch([extent])
                if len(self._pages) > KEPT:
                    self._pages.popitem(last=False)
            return self._pages[start]
