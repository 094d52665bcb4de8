"""The kinds of value that several operations share are defined once: names, ids, tags, pages, disks. Data only."""

from __future__ import annotations

from typing import Final

from connector.specification.value import (
    Flag,
    JsonText,
    ListOf,
    OneOf,
    Parameter,
    Struct,
    Text,
    Whole,
)

_URL: Final = ("http://", "https://")

#: X1. Names of jobs, sources, images and activation codes.
NAME: Final = Text(
    2, 128, r"[A-Za-z][A-Za-z0-9:_\-]*", "a letter first, then letters, digits, colons, _ and -", _URL
)
#: Workgroups may have dots too.
GROUP_NAME: Final = Text(
    2, 64, r"[A-Za-z][A-Za-z0-9:._\-]*", "a letter first, then letters, digits, colons, dots, _ and -", _URL
)
#: A wave's name, a dot, and a group's name.
APPLICATION_NAME: Final = Text(
    2, 128, r"[A-Za-z][A-Za-z0-9:._\-]*", "a letter first, then letters, digits, colons, dots, _ and -", _URL
)
DESCRIPTION: Final = Text(2, 128, r"[^\W\d_].*", "a letter first, no http:// or https://", _URL)
LONG_DESCRIPTION: Final = Text(0, 256, "", "no http:// or https:// at the start", _URL)
GROUP_DESCRIPTION: Final = Text(2, 256, "", "no http:// or https:// at the start", _URL)
ID: Final = Text(1, 80)
#: The region of a cloud that has only one. Its jobs are in every region that a client asks for.
LOCAL_REGION: Final = "local"
#: The value of a filter: any text, compared exactly.
WORD: Final = Text(1, 400)
TOKEN: Final = Text(1, 64, r"[\x21-\x7e]+", "ASCII")

#: No key of a tag starts with one of these.
RESERVED: Final = ("aliyun", "acs:", "http://", "https://")


def tags(key: int = 128, *, required: bool = False, value_may_be_empty: bool = True) -> ListOf:
    """`Tag.N.Key` and `Tag.N.Value`, at most 20, each key once."""
    reserved = "not starting with aliyun, acs:, http:// or https://"
    values = Text(0 if value_may_be_empty else 1, key, "", "no http:// or https:// at the start", _URL)
    return ListOf(
        Struct(
            (
                Parameter("Key", Text(1, key, "", reserved, RESERVED), required=True),
                Parameter("Value", values, required=required and not value_may_be_empty),
            )
        ),
        20,
        "Duplicate.TagKey",
        "Key",
    )


#: In a filter a key alone matches any value.
TAG_FILTER: Final = Parameter("Tag", tags(), meaning="all of them must match; a key alone matches any value")

PAGE: Final = (
    Parameter("PageNumber", Whole(1, 1 << 31), meaning="default 1"),
    Parameter("PageSize", Whole(1, 50), meaning="default 10"),
)

#: X18. Agentless migration reads blocks of whole disks.
PART: Final = (
    Parameter("Device", Text(1, 40, r"[0-9]+_[0-9]+", "disk index _ partition index")),
    Parameter("SizeBytes", Whole(1, unit="bytes"), meaning="with Device, or neither"),
    Parameter("Block", Flag(), meaning="default true; false is refused"),
)
PATH_PART: Final = (
    Parameter("Path", Text(1, 512)),
    Parameter("SizeBytes", Whole(1, unit="bytes")),
    Parameter("Block", Flag(), meaning="default true; false is refused"),
)
SYSTEM_PARTS: Final = Parameter("SystemDiskPart", ListOf(Struct(PART), 128))
DATA_DISKS: Final = Parameter(
    "DataDisk",
    ListOf(
        Struct(
            (
                Parameter("Index", Whole(1, 16), required=True, meaning="as DescribeSourceServers lists it"),
                Parameter("Size", Whole(20, 32768, "GiB")),
                Parameter("Part", ListOf(Struct(PART), 128)),
            )
        ),
        16,
        "DataDisk.DuplicateIndex",
        "Index",
    ),
    meaning="only for a source with data disks",
)
DISKS: Final = Parameter(
    "Disks",
    Struct(
        (
            Parameter(
                "System",
                Struct(
                    (
                        Parameter("Size", Whole(20, 32768, "GiB")),
                        Parameter("LVM", Flag(), meaning="true is refused: blocks are copied as they are"),
                        Parameter("Part", ListOf(Struct(PATH_PART), 128)),
                    )
                ),
            ),
            Parameter(
                "Data",
                ListOf(
                    Struct(
                        (
                            Parameter("DiskId", Text(1, 80), meaning="the disk's index"),
                            Parameter("Size", Whole(20, 32768, "GiB")),
                            Parameter("LVM", Flag(), meaning="true is refused"),
                            Parameter("Part", ListOf(Struct(PATH_PART), 128)),
                        )
                    ),
                    16,
                ),
            ),
        )
    ),
)
REPLICATION: Final = JsonText(
    2048, (("bandwidth_limit", 0, 1 << 31), ("compress_level", 0, 10), ("checksum", 0, 1))
)
TARGET: Final = OneOf(("Image", "ContainerImage", "TargetInstance"), True, (("Instance", "TargetInstance"),))
RESOURCE_TYPE: Final = OneOf(
    ("sourceserver", "replicationjob"),
    True,
    (
        ("ALIYUN::SMC::SOURCESERVER", "sourceserver"),
        ("ALIYUN::SMC::REPLICATIONJOB", "replicationjob"),
    ),
    "InvalidResourceType.NotFound",
)
CROSS_ZONE_DISK: Final = Struct(
    tuple(Parameter(name, Text(0, 80)) for name in ("DiskId", "Category", "PerformanceLevel"))
)
