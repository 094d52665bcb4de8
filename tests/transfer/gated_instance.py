"""An instance whose disks cannot be read while a file `hold` lies beside its directory; `read-KEY` says that disk KEY waits."""

import sys
import time
from pathlib import Path

from connector.instance import contents
from connector.instance.__main__ import main
from connector.transfer.target import RawFileTarget

BESIDE = Path(sys.argv[sys.argv.index("--directory") + 1]).parent


class Gated(RawFileTarget):
    def __init__(self, path: Path, capacity: int) -> None:
        super().__init__(path, capacity)
        self._waits = BESIDE / f"read-{path.parent.name}"

    def read_into(self, offset: int, room: memoryview) -> None:
        while (BESIDE / "hold").exists():
            self._waits.touch()
            time.sleep(0.01)
        super().read_into(offset, room)


if __name__ == "__main__":
    contents.RawFileTarget = Gated  # type: ignore[misc]
    main()
