"""The operations on drills: rehearse a job's cutover with its newest image, without touching the source."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from typing import Any, Final

from connector.cloud.provider import DRILL_FILES
from connector.control.domain.access import Role
from connector.control.domain.drills import Drill
from connector.control.domain.entities import Json
from connector.control.service.drills import NETWORKS, DrillOptions, DrillService
from connector.control.service.jobs import JobService
from connector.control.smc import tables
from connector.control.smc.catalogue import invalid
from connector.control.smc.jobs import job_by_id
from connector.control.smc.operations import Answer, Caller, Field, Operation
from connector.control.smc.parameters import Values
from connector.control.smc.shapes import moment, wrapped
from connector.specification import kinds
from connector.specification.value import Flag, ListOf, OneOf, Parameter, Text, Whole

_START: Final = (
    tables.JOB_ID,
    Parameter(
        "Network",
        OneOf(NETWORKS),
        meaning="dhcp: the first card asks DHCP; keep: addresses stay with their cards; none: the network is left as it is."
        " Default: the job's Conversion",
    ),
    Parameter("PlanOnly", Flag(), meaning="only plan the conversion, and start nothing; default false"),
    Parameter(
        "NewMacs", Flag(), meaning="the target gives the cards other MACs, as clouds do; default false"
    ),
    Parameter(
        "Timeout",
        Whole(10, 14_400, "seconds"),
        meaning="until a machine that shows nothing counts as silent; default 600",
    ),
    Parameter(
        "Marker",
        Text(1, 256),
        meaning="a regular expression: wait for this line of the serial console instead of a login prompt",
    ),
)
_DESCRIBE: Final = (
    Parameter("JobId", ListOf(kinds.ID, 50), required=True),
    Parameter("LastOnly", Flag(), meaning="only the newest of each job; default false"),
    Parameter("PlanOnly", Flag(), meaning="true: only plans; false: only those that were to start a copy"),
)
_EXPORT: Final = (
    tables.JOB_ID,
    Parameter("DrillId", kinds.ID, required=True),
    Parameter("File", OneOf(DRILL_FILES), required=True),
)

_FILE: Final = (
    Field("Name", "string", ", ".join(DRILL_FILES)),
    Field("Sha256", "string"),
    Field("SizeBytes", "integer"),
)
_DRILL: Final = (
    Field("DrillId", "string"),
    Field("JobId", "string"),
    Field("ImageId", "string", "the image of which a copy is tried"),
    Field("ImageName", "string"),
    Field("RunNumber", "integer", "of the run that made the image"),
    Field("PlanOnly", "boolean"),
    Field("Network", "string", "dhcp, keep or none"),
    Field("State", "string", "Waiting, Running, Done (it has a result), Failed, Stopped or Interrupted"),
    Field("Phase", "string", "what it does, in words; empty: it does not run"),
    Field("AskedBy", "string", "id of the access key"),
    Field("AskedTime", "string"),
    Field("StartTime", "string", "empty: not yet"),
    Field("EndTime", "string", "empty: not yet"),
    Field("Verdict", "string", "boots, or does not boot; empty: no copy was started to its end"),
    Field("Outcome", "string", "how far the copy came, in words"),
    Field("Reason", "string", "why it did not boot, as its console says"),
    Field("Refusal", "string", "why it was not converted; it was started as it is"),
    Field("Note", "string", "what else to know before a cutover; empty: nothing"),
    Field("ConversionSeconds", "float", "-1: not known"),
    Field("BootSeconds", "float", "-1: not known"),
    Field("Report", "string", "plan and start as JSON, as `connector machine drill --json` prints them; empty: none"),
    Field("Files", "list", "what is kept beside the image; only the last drill of an image has them", "File", _FILE),
    Field("ErrorKind", "string", "the kind of error, as docs/errors.md lists them; empty: none"),
    Field("ErrorReason", "string", "what failed"),
    Field("ErrorSubject", "string", "on which object; empty: said already"),
    Field("ErrorRemedy", "string", "what to do"),
)  # fmt: skip
_DRILLS: Final = (Field("Drills", "list", "newest first; unknown ids are left out", "Drill", _DRILL),)
_CONTENT: Final = (
    Field("JobId", "string"),
    Field("DrillId", "string"),
    Field("File", "string"),
    Field("Sha256", "string", "of the file; the drill has the same"),
    Field("Content", "string", "the file in base64; it may show secrets of the guest"),
)


class DrillOperations:
    """What `connector job drill` asks of a control plane, and the console's page of a job."""

    def __init__(self, service: JobService) -> None:
        self._drills = DrillService(service)
        self._store = service.store

    def table(self) -> tuple[Operation, ...]:
        """The operations with their parameters."""
        return (
            Operation(
                "StartReplicationJobDrill",
                _START,
                Role.OPERATOR,
                self._start,
                "convert a copy of the job's newest image, start it, and throw it away; one drill runs at a time, others wait",
                "JobId",
                answers=_DRILL,
            ),
            Operation(
                "StopReplicationJobDrill",
                (tables.JOB_ID,),
                Role.OPERATOR,
                self._stop,
                "stop the job's drill that waits or runs",
                "JobId",
                answers=_DRILL,
            ),
            Operation(
                "DescribeReplicationJobDrills",
                _DESCRIBE,
                Role.READER,
                self._describe,
                "the drills of jobs: how far they are, and what they found",
                answers=_DRILLS,
            ),
            Operation(
                "ExportReplicationJobDrillFile",
                _EXPORT,
                Role.READER,
                self._export,
                "the console log or the screenshot of a drill",
                answers=_CONTENT,
            ),
        )

    def _start(self, caller: Caller, values: Values) -> Answer:
        job = job_by_id(self._store, values["JobId"])
        options = DrillOptions(
            network=values.get("Network", ""),
            plan_only=values.get("PlanOnly", False),
            new_macs=values.get("NewMacs", False),
            timeout=float(values.get("Timeout", 600)),
            marker=values.get("Marker", ""),
        )
        try:
            re.compile(options.marker)
        except re.error as error:
            raise invalid("Marker", f"it is no regular expression ({error})") from None
        return drill(self._drills.start(job.id, options, caller.key.id))

    def _stop(self, _caller: Caller, values: Values) -> Answer:
        return drill(self._drills.stop(job_by_id(self._store, values["JobId"]).id))

    def _describe(self, _caller: Caller, values: Values) -> Answer:
        rows = self._store.drills.of(list(dict.fromkeys(values["JobId"])))
        rows = [row for row in rows if row.plan_only is values.get("PlanOnly", row.plan_only)]
        if values.get("LastOnly", False):
            newest: dict[str, Drill] = {}
            for row in rows:
                newest.setdefault(row.job_id, row)
            rows = list(newest.values())
        return wrapped("Drills", "Drill", [drill(row) for row in rows])

    def _export(self, _caller: Caller, values: Values) -> Answer:
        job, drill_id, name = job_by_id(self._store, values["JobId"]), values["DrillId"], values["File"]
        content = self._drills.file(job.id, drill_id, name)
        kept = self._store.drills.get(job.id, drill_id).kept[name]
        return {
            "JobId": job.id,
            "DrillId": drill_id,
            "File": name,
            "Sha256": str(kept["sha256"]),
            "Content": base64.b64encode(content).decode(),
        }


def drill(row: Drill) -> Answer:
    """One drill with what it found."""
    report: Json = row.report or {}
    boot: Json = report.get("boot") or {}
    error: Json = row.error or {}
    verdict = "" if row.boots is None else "boots" if row.boots else "does not boot"
    return {
        "DrillId": row.id,
        "JobId": row.job_id,
        "ImageId": row.image_id,
        "ImageName": row.image_name,
        "RunNumber": row.run_number,
        "PlanOnly": row.plan_only,
        "Network": row.network,
        "State": str(row.state),
        "Phase": row.phase,
        "AskedBy": row.asked_by,
        "AskedTime": moment(row.asked),
        "StartTime": moment(row.started),
        "EndTime": moment(row.ended),
        "Verdict": verdict,
        "Outcome": _words(boot.get("outcome")),
        "Reason": _words(boot.get("reason")),
        "Refusal": _words(report.get("refusal")),
        "Note": _words(report.get("note")),
        "ConversionSeconds": _seconds(report.get("conversion_seconds")),
        "BootSeconds": _seconds(boot.get("seconds")),
        "Report": json.dumps(report) if report else "",
        **wrapped("Files", "File", [_file(name, facts) for name, facts in sorted(row.kept.items())]),
        "ErrorKind": _words(error.get("error")),
        "ErrorReason": _words(error.get("what")),
        "ErrorSubject": _words(error.get("on")),
        "ErrorRemedy": _words(error.get("remedy")),
    }


def _file(name: str, facts: Mapping[str, Any]) -> Answer:
    return {"Name": name, "Sha256": str(facts.get("sha256")), "SizeBytes": int(facts.get("bytes", 0))}


def _words(value: object) -> str:
    return "" if value is None else str(value)[:2000]


def _seconds(value: object) -> float:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if is_number and abs(value) < 1e9 else -1.0  # type: ignore[arg-type]
