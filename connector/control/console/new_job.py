"""The dialog that makes a job has fields with the public API's names, and the public API checks them."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Mapping, Sequence
from typing import Any, Final

from connector.cloud import licences
from connector.control.console.form_fields import new_boxes
from connector.control.console.pages import Form, Page, PageRequest, Redirect, View, link
from connector.control.console.sources import SourceLine, source_of
from connector.control.domain.definition import PARAMETER
from connector.control.domain.entities import Source
from connector.control.domain.findings import blocking, forbidding
from connector.control.domain.refusals import OutOfRange
from connector.control.domain.validity import DEFAULT_VALIDITY
from connector.control.service.forecast import Forecast, forecast
from connector.control.smc import shapes
from connector.control.smc.catalogue import Denied, invalid
from connector.control.smc.dispatcher import OperationDispatcher, permit
from connector.control.smc.parameters import read
from connector.control.store import JobFilter, Store
from connector.specification.fields import BY_NAME, JOB_FIELDS
from connector.specification.kinds import LOCAL_REGION, REPLICATION
from connector.specification.value import Whole

OPERATION: Final = "CreateReplicationJob"

#: The dialog's fields by the public API's names. Any other is refused, also the valid time (R78).
FIELDS: Final = frozenset(
    field.name for field in JOB_FIELDS if field.label and field.parameter and not field.part_of
) - {"DataDisk"} | {"ClientToken", "RunOnce", "SourceId"}
#: Replication parameters: they become one JSON text.
TRANSFER: Final = tuple(key for key, _low, _high in REPLICATION.keys)
_TRANSFER_KINDS: Final = {key: kind for key in TRANSFER if isinstance(kind := BY_NAME[key].kind, Whole)}
_DATA_DISK: Final = re.compile(r"DataDisk\.([1-9][0-9]?)\.Size")
_INCREMENTAL: Final = ("Frequency", "MaxNumberOfImageToKeep")
#: Bytes per second: 100 Mbit/s and 1 Gbit/s.
_RATES: Final = (12_500_000.0, 125_000_000.0)


class NewJobPages:
    """The page and the form that make a job for a source."""

    def __init__(self, store: Store, dispatcher: OperationDispatcher) -> None:
        self._store = store
        self._dispatcher = dispatcher

    def views(self) -> tuple[View, ...]:
        return (View("/new-job", self.ask),)

    def forms(self) -> tuple[Form, ...]:
        return (Form("/new-job", self._create, self.ask),)

    def ask(self, request: PageRequest) -> Page:
        """The dialog. After a refusal it has the values that were sent."""
        permit(request.key, self._dispatcher.find(OPERATION))
        source = source_of(self._store, request.form.get("SourceId") or request.query.get("source", ""))
        now = self._store.now()
        return Page(
            "new_job.html",
            {
                "source": source,
                "line": SourceLine(source, None),
                "disks": _disks(source),
                "blocking": blocking(source),
                "forbidden": bool(forbidding(source)),
                "advice": licences.warnings(str(source.facts.get("guest_id", ""))),
                "no_mobility": licences.NO_MOBILITY
                if licences.windows(str(source.facts.get("guest_id", "")))
                else "",
                "boxes": new_boxes(request.form),
                "forecasts": _forecasts(self._store, source),
                "expires": now + DEFAULT_VALIDITY,
                "form": request.form or {"RegionId": self._region(), "ClientToken": secrets.token_hex(16)},
            },
        )

    def _create(self, request: PageRequest) -> Redirect:
        permit(request.key, self._dispatcher.find(OPERATION))  # before anything else is checked
        answer = self._dispatcher.call(request.caller, OPERATION, asked(request.form))
        return Redirect(link("jobs", answer["JobId"], said="created"))

    def _region(self) -> str:
        """The region of the newest job: most jobs go to the same region as the one before."""
        newest = self._store.jobs.page(JobFilter(), 1, 1).rows
        return (newest[0].region if newest else "") or LOCAL_REGION


def _forecasts(store: Store, source: Source) -> Sequence[Forecast]:
    """R13. The forecast at the measured rate, or else at two rates that are common for links."""
    try:
        return [forecast(store, [source], None, 1)]
    except OutOfRange:
        return [forecast(store, [source], rate, 1) for rate in _RATES]


def asked(form: Mapping[str, str]) -> dict[str, str]:
    """The form's values as the public API's parameters. Raises `Denied` for a field that the dialog does not have."""
    values = {name: value for name, value in form.items() if value != ""}
    replication = transfer({key: values.pop(key) for key in TRANSFER if key in values})
    sizes = {
        int(match.group(1)): values.pop(name)
        for name in list(values)
        if (match := _DATA_DISK.fullmatch(name)) is not None
    }
    if unknown := sorted(values.keys() - FIELDS):
        name = re.sub(r"[^A-Za-z0-9._-]", "?", unknown[0])[:80]
        raise Denied("UnknownParameter", f"A job made here has no {name}.", "use the public API for it")
    if values.get("RunOnce", "true").lower() == "true":
        values = {name: value for name, value in values.items() if name not in _INCREMENTAL}
    if "InstanceId" in values:
        values["TargetType"] = "TargetInstance"
    if (start := values.get("ScheduledStartTime")) is not None:
        values["ScheduledStartTime"] = _utc(start)
    if replication:
        values[PARAMETER] = json.dumps(replication)
    for index, size in sizes.items():  # numbered by index, so that a refusal names the box at fault
        values |= {f"DataDisk.{index}.Index": str(index), f"DataDisk.{index}.Size": size}
    return values | {"JobType": "3"}


def transfer(values: Mapping[str, str]) -> dict[str, int]:
    """The replication parameters as whole numbers. Raises `Denied`, which names the one that breaks its rule."""
    return {key: read(_TRANSFER_KINDS[key], key, value) for key, value in values.items()}


def _utc(text: str) -> str:
    """The time that a browser sends, with UTC added: it sends no zone, and the dialog says that it is UTC."""
    if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?", text, re.ASCII) is None:
        raise invalid("ScheduledStartTime", "yyyy-MM-ddTHH:mm, in UTC")
    return f"{text}Z"


def _disks(source: Source) -> Sequence[Mapping[str, Any]]:
    """R72. The data disks. Index 0 is the system disk; a source without data disks has no section for them."""
    return [
        {"index": index, "label": disk.label, "capacity": disk.capacity, "least": shapes.gib(disk.capacity)}
        for index, disk in enumerate(source.disks)
    ]
