"""What a person says about a new or a changed job, in the parameters of the API."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Final

import click

from connector.errors import BadInput

_OPTIONS: Final = (
    click.option("--description", help="A description."),
    click.option("--image-name", help="The image's name. Default: the job's."),
    click.option("--every", type=int, metavar="HOURS", help="Hours from the end of a run to the next one."),
    click.option("--keep", type=int, metavar="N", help="So many images of an incremental job are kept."),
    click.option("--start-at", metavar="TIME", help="Begin by itself: yyyy-MM-ddTHH:mm:ssZ, UTC."),
    click.option("--valid-until", metavar="TIME", help="7 to 90 days from its creation. Default: 30 days."),
    click.option("--bandwidth", type=int, metavar="MBIT", help="Limit in Mbit/s; 0: none."),
    click.option("--system-disk-size", type=int, metavar="GIB", help="A larger system disk."),
    click.option(
        "--data-disk", "data_disks", multiple=True, metavar="INDEX=GIB", help="A larger data disk; repeat it."
    ),
    click.option("--instance-type", help="Of the intermediate instance."),
    click.option("--vswitch", help="Run in this vSwitch of a VPC."),
    click.option(
        "--set",
        "others",
        multiple=True,
        metavar="NAME=VALUE",
        help="Any other parameter of the API, by its own name; repeat it.",
    ),
)


def definition_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """What both creating and modifying can say."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def definition(
    description: str | None,
    image_name: str | None,
    every: int | None,
    keep: int | None,
    start_at: str | None,
    valid_until: str | None,
    bandwidth: int | None,
    system_disk_size: int | None,
    data_disks: Sequence[str],
    instance_type: str | None,
    vswitch: str | None,
    others: Sequence[str],
) -> dict[str, Any]:
    """The parameters; the API checks their values."""
    return {
        "Description": description,
        "ImageName": image_name,
        "Frequency": every,
        "MaxNumberOfImageToKeep": keep,
        "ScheduledStartTime": start_at,
        "ValidTime": valid_until,
        "ReplicationParameters": None if bandwidth is None else f'{{"bandwidth_limit":{bandwidth}}}',
        "SystemDiskSize": system_disk_size,
        "DataDisk": [
            dict(zip(("Index", "Size"), _pair("--data-disk", word), strict=True)) for word in data_disks
        ],
        "InstanceType": instance_type,
        "VSwitchId": vswitch,
        "NetMode": 2 if vswitch else None,
    } | dict(_pair("--set", word) for word in others)


def _pair(option: str, word: str) -> tuple[str, str]:
    name, separator, value = word.partition("=")
    if not name or not separator:
        raise BadInput(f"{word[:80]!r} is no pair", on=option, remedy="NAME=VALUE")
    return name, value
