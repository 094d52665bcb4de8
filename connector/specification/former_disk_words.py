"""How the hand-over of an image to a target instance stands, in words that the command line and the console share. Data only.

The keys are the states of the API (`DescribeFormerDisks`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

STATES: Final[Mapping[str, str]] = {
    "Begun": "the image goes onto its disks; the former disks may be kept already",
    "Done": "the image is on its disks; the former disks are kept",
    "PuttingBack": "the former disks are being put back",
    "PutBack": "it has its former disks again, and is stopped",
    "Releasing": "the former disks are being removed",
    "Released": "the image is on its disks; the former disks are removed",
}
UNDER_WAY: Final = ("PuttingBack", "Releasing")
