"""Which images of a job are of a cutover that was rolled back, by the job's runs. The source ran on, so they are out of date."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

#: Kind of a run that gives the source back.
ROLLBACK: Final = "Rollback"
NOT_THIS: Final = "of a cutover that was rolled back"
USE_THIS: Final = "use this image"


def rolled_back(runs: Sequence[tuple[str, str]], *, cut_over: bool) -> frozenset[str]:
    """The ids of these images. `runs`: kind and image id ("" without an image) of each run, oldest first.

    `cut_over`: the job's cutover still holds, so a rollback that came last has not ended well.
    """
    images = set()
    cutover_image = ""
    for number, (kind, image) in enumerate(runs, 1):
        if kind != ROLLBACK:
            cutover_image = image
        elif cutover_image and not (cut_over and all(later == ROLLBACK for later, _ in runs[number:])):
            images.add(cutover_image)
    return frozenset(images)
