"""Appliances call the agents' API; the control plane never calls an appliance. Every call may be repeated."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from typing import Any, Final

from starlette.concurrency import run_in_threadpool

from connector.control.agents.messages import (
    Enrol,
    EvidenceKey,
    EvidenceReport,
    Finish,
    Heartbeat,
    ProgressReport,
    Removed,
    Resists,
    ResourceReport,
    SourceList,
    Take,
)
from connector.control.domain.entities import Appliance, ApplianceStatus, Json, Outcome
from connector.control.http import views
from connector.control.http.exchange import ApiRequest, ApiRoute, Authenticate
from connector.control.service.jobs import JobService
from connector.control.store import lineage
from connector.errors import Conflict

_BIG: Final = 64 << 20
_POLL: Final = 0.25  # seconds between two looks during a long poll
_WAITING: Final = 8  # long polls of one appliance at once; an appliance needs two


class AgentApi:
    """The endpoints under `/agents/v1`."""

    def __init__(self, service: JobService, activation_code: str) -> None:
        self._service = service
        self._store = service.store
        self._code = activation_code
        self._waiting: Counter[str] = (
            Counter()
        )  # the number of long polls of each appliance; only the loop's thread uses it

    def open_endpoints(self) -> Sequence[ApiRoute]:
        """Routes for callers that have only an activation code."""
        return (ApiRoute("POST", "/agents/v1/enrol", self._enrol, Enrol),)

    def waiting_endpoints(self) -> Sequence[ApiRoute]:
        """Routes for enrolled appliances, also while they wait for approval."""
        return (
            ApiRoute("POST", "/agents/v1/heartbeat", self._heartbeat, Heartbeat),
            ApiRoute("POST", "/agents/v1/key", self._key, EvidenceKey),
            ApiRoute("POST", "/agents/v1/rotate", self._rotate, EvidenceKey),
        )

    def endpoints(self) -> Sequence[ApiRoute]:
        """Routes for approved appliances."""
        passes = "/agents/v1/passes"
        return (
            ApiRoute("POST", "/agents/v1/leftovers", self._leftovers),
            ApiRoute("POST", "/agents/v1/remembered", self._remembered),
            ApiRoute("POST", "/agents/v1/leftovers/removed", self._removed, Removed),
            ApiRoute("POST", "/agents/v1/leftovers/resists", self._resists, Resists),
            ApiRoute("PUT", "/agents/v1/sources", self._sources, SourceList, max_body=_BIG),
            ApiRoute("POST", f"{passes}/take", self._take, Take, waits=True),
            ApiRoute("POST", f"{passes}/{{id}}/objects", self._object, ResourceReport),
            ApiRoute("POST", f"{passes}/{{id}}/down", self._down),
            ApiRoute("POST", f"{passes}/{{id}}/progress", self._progress, ProgressReport),
            ApiRoute("PUT", f"{passes}/{{id}}/evidence", self._evidence, EvidenceReport, max_body=_BIG),
            ApiRoute("POST", f"{passes}/{{id}}/finish", self._finish, Finish),
        )

    def known(self, token: str) -> Appliance:
        """The appliance of `Authorization: Bearer APPLIANCE_ID.SECRET`."""
        appliance_id, _, secret = token.partition(".")
        return self._store.appliances.authenticate(appliance_id, secret)

    def guard(self, token: str) -> Appliance:
        """The same, if the appliance is approved."""
        appliance = self.known(token)
        if appliance.state is not ApplianceStatus.APPROVED:
            raise Conflict(
                "this appliance waits for approval",
                on=appliance.name,
                remedy=f"connector appliance approve {appliance.id}",
                retryable=True,
            )
        return appliance

    def _enrol(self, call: ApiRequest) -> Any:
        enrolment: Enrol = call.message
        built_in = hmac.compare_digest(enrolment.activation_code.encode(), self._code.encode())
        token = None if built_in else self._store.tokens.redeem(enrolment.activation_code)
        by = token.id if token is not None else "activation code"
        about = {"name": enrolment.name, "vcenter": enrolment.vcenter}
        with self._store.audit.announced(by, call.origin, "enrol", details=about):
            appliance, secret = self._store.appliances.enrol(
                enrolment.name, enrolment.vcenter, enrolment.version, token, enrolment.evidence_key
            )
        return {"appliance_id": appliance.id, "secret": secret, "state": appliance.state}

    def _key(self, call: ApiRequest) -> Any:
        """Register the evidence key of an appliance that enrolled before keys were registered."""
        with self._store.audit.announced(call.who.id, call.origin, "register key", call.who.id, idle=False):
            self._store.appliances.register_key(call.who.id, call.message.evidence_key)
        return {}

    def _rotate(self, call: ApiRequest) -> Any:
        """Give a new secret for a new key, if an administrator has asked for it."""
        with self._store.audit.announced(call.who.id, call.origin, "rotate", call.who.id):
            secret = self._store.appliances.rotate(call.who.id, call.message.evidence_key)
        return {"secret": secret}

    def _heartbeat(self, call: ApiRequest) -> Any:
        pass_ids = set(call.message.passes)
        stop = self._service.heard(call.who, pass_ids)
        return {
            "state": call.who.state,
            "rotate": call.who.rotate,
            "stop": stop,
            "replication": self._service.replication(call.who, pass_ids - set(stop)),
            "target": asdict(self._service.limits),
        }

    def _leftovers(self, call: ApiRequest) -> Any:
        """Orders to clean up; only one appliance of each vCenter gets them."""
        return {"leftovers": [views.leftover(*row) for row in self._service.leftovers(call.who)]}

    def _remembered(self, call: ApiRequest) -> Any:
        resources = self._store.resources.remembered(call.who.vcenter)
        return {
            "things": [views.remembered(*row) for row in resources],
            "reading": sorted(self._store.resources.running_machines(call.who.vcenter)),
            "down": [views.open_cutover(*row) for row in self._store.jobs.open_cutovers(call.who.vcenter)],
        }

    def _removed(self, call: ApiRequest) -> Any:
        self._store.resources.cleaned(call.message.token, call.who.vcenter)
        return {}

    def _resists(self, call: ApiRequest) -> Any:
        self._store.resources.cleaned(call.message.token, call.who.vcenter, call.message.trouble)
        return {}

    def _sources(self, call: ApiRequest) -> Any:
        address = {"vcenter_url": call.message.vcenter_url}
        machines = [machine | address for machine in call.message.machines]
        return self._store.sources.put(call.who.vcenter, machines, call.who)

    async def _take(self, call: ApiRequest) -> Any:
        with self._place(call.who.id) as may_wait:
            return await self._waited(call, call.message.wait if may_wait else 0.0)

    @contextmanager
    def _place(self, appliance: str) -> Iterator[bool]:
        """Whether one more call of this appliance may wait. Only the loop's thread uses it."""
        self._waiting[appliance] += 1
        try:
            yield self._waiting[appliance] <= _WAITING
        finally:
            self._waiting[appliance] -= 1
            if not self._waiting[appliance]:
                del self._waiting[appliance]

    async def _waited(self, call: ApiRequest, seconds: float) -> Any:
        deadline = time.monotonic() + seconds
        while True:
            if (order := await run_in_threadpool(self._order, call.who, call.message.errands)) is not None:
                return {"pass": order}
            if (remaining := deadline - time.monotonic()) <= 0:
                return {"pass": None}
            await asyncio.sleep(min(_POLL, remaining))

    def _order(self, appliance: Appliance, power_tasks: bool) -> Json | None:
        order = self._service.order(appliance, power_tasks)
        if order is None:
            return None
        job, attempt = order
        machine = self._store.sources.of(job)
        resources = self._store.resources.of(job.id, "vcenter")
        attempts = self._store.passes.before(attempt)
        credential = self._service.credential(job.id, appliance) if attempt.task.reads else None
        disks = self._store.passes.disk_set(job.id)
        alone = self._store.runs.get(attempt.run_id).cohort is None
        now = self._store.now()
        ends = lineage.of(self._store, job.id).to_json() if attempt.task.reads else None
        return views.order(
            job, machine, attempt, credential, resources, attempts, disks, alone=alone, now=now, lineage=ends
        )

    def _object(self, call: ApiRequest) -> Any:
        report: ResourceReport = call.message
        owned = self._store.passes.owned(call.path["id"], call.who)
        resource = self._store.resources.record(
            owned.job_id,
            report.token,
            place="vcenter",
            kind=report.kind,
            reference=report.moref,
            removed=report.removed,
            pass_id=owned.id,
            trouble=report.trouble,
        )
        return views.resource(resource)

    def _down(self, call: ApiRequest) -> Any:
        owned = self._store.passes.owned(call.path["id"], call.who)
        return {"down_since": self._store.cutovers.going_down(owned.job_id, owned.id)}

    def _progress(self, call: ApiRequest) -> Any:
        report: ProgressReport = call.message
        disks = [disk.model_dump() for disk in report.disks]
        self._store.pass_ends.progress(call.path["id"], call.who, report.phase, disks, report.free)
        return {}

    def _evidence(self, call: ApiRequest) -> Any:
        self._service.keep_evidence(call.path["id"], call.who, call.message.manifest.encode())
        return {}

    def _finish(self, call: ApiRequest) -> Any:
        report: Finish = call.message
        error = report.error.model_dump() if report.error else None
        outcome = Outcome(report.outcome)
        self._service.finish(call.path["id"], call.who, outcome, error, report.result, report.rest)
        return {}


def nobody() -> Authenticate:
    """No authentication; the route itself checks the activation code."""
    return lambda _token: None
