"""The dialog that makes a job. Its fields have the public API's names, and the public API judges them."""

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
from connector.control.domain.refusals import OutOfRange
from connector.control.domain.validity import DEFAULT_VALIDITY
from connector.control.service.forecast import Forecast, forecast
from connector.control.service.jobs import blocking
from connector.control.smc import shapes
from connector.control.smc.catalogue import Denied, invalid
from connector.control.smc.dispatcher import OperationDispatcher, permit
from connector.control.smc.parameters import read
from connector.control.store import JobFilter, Store
from connector.specification.fields import BY_NAME, JOB_FIELDS
from connector.specification.kinds import LOCAL_REGION, REPLICATION
from connector.specification.value import Whole

OPERATION: Final = "CreateReplicationJob"

#: What the dialog asks, as the public API calls it. Anything else is refused: R78, the valid time among it.
FIELDS: Final = frozenset(
    field.name for field in JOB_FIELDS if field.label and field.parameter and not field.part_of
) - {"DataDisk"} | {"ClientToken", "RunOnce", "SourceId"}
#: How data is moved: these become one JSON text.
TRANSFER: Final = tuple(key for key, _low, _high in REPLICATION.keys)
_TRANSFER_KINDS: Final = {key: kind for key in TRANSFER if isinstance(kind := BY_NAME[key].kind, Whole)}
_DATA_DISK: Final = re.compile(r"DataDisk\.([1-9][0-9]?)\.Size")
_INCREMENTAL: Final = ("Frequency", "MaxNumberOfImageToKeep")
#: Bytes a second: 100 Mbit/s and 1 Gbit/s.
_RATES: Final = (12_500_000.0, 125_000_000.0)


class NewJobPages:
    """From a source to a job."""

    def __init__(self, store: Store, dispatcher: OperationDispatcher) -> None:
        self._store = store
        self._dispatcher = dispatcher

    def leaves(self) -> tuple[View, ...]:
        return (View("/new-job", self.ask),)

    def forms(self) -> tuple[Form, ...]:
        return (Form("/new-job", self._create, self.ask),)

    def ask(self, request: PageRequest) -> Page:
        """The dialog, filled in as it was sent when it comes back refused."""
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
        permit(request.key, self._dispatcher.find(OPERATION))  # first of all, whatever else is wrong
        answer = self._dispatcher.call(request.caller, OPERATION, asked(request.form))
        return Redirect(link("jobs", answer["JobId"], said="created"))

    def _region(self) -> str:
        """Most jobs go where the one before went."""
        newest = self._store.jobs.page(JobFilter(), 1, 1).rows
        return (newest[0].region if newest else "") or LOCAL_REGION


def _forecasts(store: Store, source: Source) -> Sequence[Forecast]:
    """R13. How long it may take at the rate that passes have shown, or else at two that lines often have."""
    try:
        return [forecast(store, [source], None, 1)]
    except OutOfRange:
        return [forecast(store, [source], rate, 1) for rate in _RATES]


def asked(form: Mapping[str, str]) -> dict[str, str]:
    """The public API's parameters of what was filled in; `Denied` for a field that the dialog does not have."""
    given = {name: value for name, value in form.items() if value != ""}
    replication = transfer({key: given.pop(key) for key in TRANSFER if key in given})
    sizes = {
        int(found.group(1)): given.pop(name)
        for name in list(given)
        if (found := _DATA_DISK.fullmatch(name)) is not None
    }
    if unknown := sorted(given.keys() - FIELDS):
        name = re.sub(r"[^A-Za-z0-9._-]", "?", unknown[0])[:80]
        raise Denied("UnknownParameter", f"A job made here has no {name}.", "use the public API for it")
    if given.get("RunOnce", "true").lower() == "true":
        given = {name: value for name, value in given.items() if name not in _INCREMENTAL}
    if (start := given.get("ScheduledStartTime")) is not None:
        given["ScheduledStartTime"] = _utc(start)
    if replication:
        given[PARAMETER] = json.dumps(replication)
    for index, size in sizes.items():  # numbered by index, so that a refusal names the box at fault
        given |= {f"DataDisk.{index}.Index": str(index), f"DataDisk.{index}.Size": size}
    return given | {"JobType": "3"}


def transfer(given: Mapping[str, str]) -> dict[str, int]:
    """How data is moved, as whole numbers; `Denied` names the one that breaks its rule."""
    return {key: read(_TRANSFER_KINDS[key], key, value) for key, value in given.items()}


def _utc(text: str) -> str:
    """What a browser sends for a date and a time of day has no zone: the dialog says that it is UTC."""
    if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d)?", text, re.ASCII) is None:
        raise invalid("ScheduledStartTime", "yyyy-MM-ddTHH:mm, in UTC")
    return f"{text}Z"


def _disks(source: Source) -> Sequence[Mapping[str, Any]]:
    """R72. Index 0 is the system disk; a source without others has no section for them."""
    return [
        {"index": index, "label": disk.label, "capacity": disk.capacity, "least": shapes.gib(disk.capacity)}
        for index, disk in enumerate(source.disks)
    ]
