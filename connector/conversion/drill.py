"""A drill: a copy of an image is converted and started, and thrown away. The image is only read, and the source is not touched.

A guest that cannot be converted is started as it is; the report says why.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

from connector.conversion.boot_check import BootReport
from connector.conversion.conversion import ConversionPlan, GuestImage, converted_copies
from connector.conversion.virtual_machine import Hardware
from connector.errors import Ineligible


@dataclass(frozen=True, slots=True)
class DrillReport:
    """`conversion` is None when the guest was started as it is; `refusal` says why. `seconds`: of the conversion."""

    conversion: ConversionPlan | None
    refusal: str
    seconds: float
    boot: BootReport

    def to_json(self) -> dict[str, object]:
        return {
            "conversion": self.conversion.to_json() if self.conversion else None,
            "refusal": self.refusal,
            "conversion_seconds": round(self.seconds, 1),
            "boot": self.boot.to_json(),
        }


def drill(
    image: GuestImage,
    hardware: Hardware,
    check: Callable[[Hardware], BootReport],
    say: Callable[[str], None],
    scratch: Path | None = None,
) -> DrillReport:
    """Convert a copy and start it. `hardware` has the image's disks; `check` starts it, `say` gets a line for each stage.

    Raises BadInput without the tools, TargetFull, TargetFailed, Interrupted.
    """
    say("converting a copy")
    began = time.monotonic()
    with ExitStack() as stack:
        conversion, refusal, disks = None, "", image.disks
        try:
            copies = converted_copies(image, scratch or Path(tempfile.gettempdir()))
            conversion, disks = stack.enter_context(copies)
        except Ineligible as refused:
            refusal = str(refused)
        seconds = time.monotonic() - began
        say(f"starting it as it is: {refusal}" if refusal else "starting the copy")
        return DrillReport(conversion, refusal, seconds, check(replace(hardware, disks=disks)))
