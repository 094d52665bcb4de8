"""What the boxes of forms are called, by the public API's names; and what is refused, said in those words. Pure."""

from __future__ import annotations

import re
from typing import Final

from connector.control.smc.catalogue import Denied, code_of
from connector.specification.fields import JOB_FIELDS

#: What is in a form, or in an address, and is no field of a job with a label.
_OTHERS: Final = {
    "AccessTokenId": "Activation code",
    "ApplianceId": "Appliance",
    "Count": "Sources that it may bring in",
    "DataDisk.Size": "Data disk, GiB",
    "DiskKey": "Disks",
    "JobId": "Job",
    "LeftOutDisks": "Disks",
    "ReplicationParameters": "Transfer",
    "RunOnce": "Runs",
    "SourceId": "Source",
    "TimeToLiveInDays": "Days that it is good for",
    "VCenter": "vCenter",
    "WorkgroupId": "Workgroup",
}
LABELS: Final = {field.name: field.label for field in JOB_FIELDS if field.label} | _OTHERS

_DATA_DISK: Final = re.compile(r"DataDisk\.([1-9][0-9]*)\.(?:Size|Index)")
_LONGEST_FIRST: Final = sorted(map(re.escape, LABELS), key=len, reverse=True)
_NAMES: Final = re.compile(rf"\b(?:{'|'.join([_DATA_DISK.pattern, *_LONGEST_FIRST])})\b")
_FAMILIES: Final = {"InvalidParameter": "correct it and send it again", "MissingParameter": "fill it in"}


def label(name: str) -> str:
    """As a person sees it; the name itself, when no form has it."""
    disk = _DATA_DISK.fullmatch(name)
    return f"Data disk {disk[1]}, GiB" if disk else LABELS.get(name, name)


def field_at_fault(denied: Denied) -> str:
    """The name of the box that a refusal is about; empty when it is about none."""
    family, _, name = denied.code.partition(".")
    return name if family in (*_FAMILIES, "NumberExceed") else ""


def spoken(denied: Denied) -> tuple[str, str]:
    """What failed and what to do, without the full stops; parameters are called as their boxes are."""
    family = denied.code.partition(".")[0]
    what, remedy = denied.message.strip().rstrip("."), denied.remedy.strip().rstrip(".")
    if remedy == code_of(denied.code).remedy:
        remedy = _FAMILIES.get(family, remedy)
    if name := field_at_fault(denied):
        what = what.replace(f"The specified parameter {name} is not valid", f"“{label(name)}” is not valid")
        what = what.replace(f"{name} is mandatory for this action", f"“{label(name)}” is missing")
    return _labelled(what), _labelled(remedy)


def _labelled(text: str) -> str:
    return _NAMES.sub(lambda found: _quoted(found[0]), text)


def _quoted(name: str) -> str:
    return name if label(name) == name else f"“{label(name)}”"
