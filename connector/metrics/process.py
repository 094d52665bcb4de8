"""What the operating system knows of this process, by the names of Prometheus' clients.

The client's own collector needs /proc/stat, which our units hide (ProcSubset=pid): it would answer nothing there.
"""

from __future__ import annotations

import resource
import time
from pathlib import Path
from typing import Final

from connector.metrics.samples import Samples

_SELF: Final = Path("/proc/self")
_PAGE: Final = resource.getpagesize()
#: This module is loaded with the program.
_STARTED: Final = time.time()


def collect(samples: Samples) -> None:
    """See `Source`. What cannot be read is absent."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    samples.set("process_cpu_seconds_total", used.ru_utime + used.ru_stime)
    samples.set("process_start_time_seconds", _STARTED)
    samples.set("process_max_fds", resource.getrlimit(resource.RLIMIT_NOFILE)[0])
    try:
        virtual, resident = (_SELF / "statm").read_text().split()[:2]
        samples.set("process_virtual_memory_bytes", int(virtual) * _PAGE)
        samples.set("process_resident_memory_bytes", int(resident) * _PAGE)
        samples.set("process_open_fds", len(list((_SELF / "fd").iterdir())))
    except OSError:  # no /proc
        return
