"""The job API for people: what the command line calls, behind the operator's token."""

from __future__ import annotations

import hmac
from collections.abc import Callable, Sequence
from typing import Any

from connector.control import views
from connector.control.applications import Applications
from connector.control.epoch import confirm
from connector.control.jobs import Status
from connector.control.messages import Confirm, Cutover, Members, NewJob, Rollback, Start
from connector.control.service import Service
from connector.control.store import Wish
from connector.control.store.rows import Job, Json
from connector.control.web import Call, Endpoint, Guard
from connector.errors import AuthenticationFailed, BadInput, NotFound


class JobApi:
    """The endpoints under `/v1`."""

    def __init__(self, service: Service, grace: float) -> None:
        self._service = service
        self._store = service.store
        self._together = Applications(service)
        self._grace = grace

    def endpoints(self) -> Sequence[Endpoint]:
        """The whole API, one line each."""
        return (
            Endpoint("GET", "/v1/sources", self._sources, query=frozenset({"state"})),
            Endpoint("GET", "/v1/sources/{source}", self._source),
            Endpoint("GET", "/v1/appliances", self._appliances),
            Endpoint("GET", "/v1/jobs", self._jobs, query=frozenset({"status"})),
            Endpoint("POST", "/v1/jobs", self._create, NewJob),
            Endpoint("GET", "/v1/jobs/{job}", self._job),
            Endpoint("GET", "/v1/jobs/{job}/evidence", self._evidence),
            Endpoint("GET", "/v1/jobs/{job}/evidence/{pass}", self._manifest),
            Endpoint("DELETE", "/v1/jobs/{job}", self._change("delete", self._service.delete)),
            Endpoint("POST", "/v1/jobs/{job}/start", self._start, Start),
            Endpoint("POST", "/v1/jobs/{job}/stop", self._change("stop", self._service.stop)),
            Endpoint("POST", "/v1/jobs/{job}/cutover", self._cutover, Cutover),
            Endpoint("POST", "/v1/jobs/{job}/rollback", self._rollback, Rollback),
            Endpoint("GET", "/v1/epoch", self._epoch),
            Endpoint("POST", "/v1/epoch/confirm", self._confirm, Confirm),
            Endpoint("GET", "/v1/applications", self._applications),
            Endpoint("PUT", "/v1/applications/{name}", self._application, Members),
            Endpoint("POST", "/v1/applications/{name}/start", self._start_all, Start),
            Endpoint("POST", "/v1/applications/{name}/cutover", self._cutover_all, Start),
            Endpoint("POST", "/v1/applications/{name}/rollback", self._rollback_all, Rollback),
        )

    def _change(self, action: str, change: Callable[[str], Job]) -> Callable[[Call], Any]:
        return lambda call: self._done(call, action, change(call.path["job"]))

    def _done(self, call: Call, action: str, job: Job) -> Any:
        """The job as it is now; who changed it from where is in the audit log."""
        self._store.audit.add("operator", call.origin, action, job.id, call.message.model_dump(mode="json"))
        return views.job(self._store, job)

    def _sources(self, call: Call) -> Any:
        return {"sources": [views.source(row) for row in self._store.sources.all(call.query.get("state"))]}

    def _source(self, call: Call) -> Any:
        return views.source(self._store.sources.get(call.path["source"]))

    def _appliances(self, _call: Call) -> Any:
        now = self._store.now()
        rows = self._store.appliances.all()
        return {"appliances": [views.appliance(row, now, self._grace) for row in rows]}

    def _jobs(self, call: Call) -> Any:
        wanted = call.query.get("status")
        if wanted is not None and wanted not in list(Status):
            raise BadInput(f"unknown status {wanted[:40]!r}", remedy=f"one of {', '.join(Status)}")
        rows = self._store.jobs.all([Status(wanted)] if wanted else [])
        return {"jobs": [views.job(self._store, row) for row in rows]}

    def _job(self, call: Call) -> Any:
        job = self._store.jobs.get(call.path["job"])
        told = self._service.downtime(job)
        return views.full_job(self._store, job) | {"downtime": told.to_json() if told else None}

    def _evidence(self, call: Call) -> Any:
        job = self._store.jobs.get(call.path["job"])
        return {"evidence": [views.evidence(entry) for entry in self._store.evidence.of(job.id)]}

    def _manifest(self, call: Call) -> Any:
        """The manifest as text: byte for byte what was signed."""
        job, wanted = self._store.jobs.get(call.path["job"]), call.path["pass"]
        if all(entry.pass_id != wanted for entry in self._store.evidence.of(job.id)):
            raise NotFound("no evidence of this pass", on=job.id, remedy="list the evidence of the job")
        return {"manifest": self._store.evidence.manifest(wanted).decode()}

    def _epoch(self, _call: Call) -> Any:
        return views.epoch(self._store.epochs.current())

    def _confirm(self, call: Call) -> Any:
        made = confirm(self._store, keep_credentials=call.message.keep_credentials)
        self._store.audit.add("operator", call.origin, "confirm", made.epoch, call.message.model_dump())
        self._service.poke()
        return views.epoch(made)

    def _create(self, call: Call) -> Any:
        new: NewJob = call.message
        wish = Wish(
            source_id=self._store.sources.get(new.source).id,
            name=new.name,
            run_once=new.run_once,
            last_sync=not new.run_once if new.last_sync is None else new.last_sync,
            image_name=new.image_name or new.name,
            image_format=new.image_format,
            shutdown_deadline=new.shutdown_deadline,
            allow_power_off=new.allow_power_off,
            audit=new.audit,
            accept_removed_disks=new.accept_removed_disks,
            quiesce=new.quiesce,
            client_token=new.client_token,
        )
        return self._done(call, "create", self._service.create(wish))

    def _start(self, call: Call) -> Any:
        return self._done(call, "start", self._service.start(call.path["job"], _changes(call.message)))

    def _cutover(self, call: Call) -> Any:
        wish: Cutover = call.message
        job = self._service.cutover(call.path["job"], last_sync=wish.sync_data, changes=_changes(wish))
        return self._done(call, "cutover", job)

    def _rollback(self, call: Call) -> Any:
        wish: Rollback = call.message
        job = self._service.rollback(call.path["job"], keep_cbt=wish.keep_cbt)
        return self._done(call, "rollback", job)

    def _applications(self, _call: Call) -> Any:
        found = self._together.all().items()
        return {
            "applications": [
                views.application(name, jobs, self._together.spread(name)) for name, jobs in found
            ]
        }

    def _application(self, call: Call) -> Any:
        ranks = {member.job: member.rank for member in call.message.members}
        if len(ranks) < len(call.message.members):
            raise BadInput("a job is named twice", on=call.path["name"], remedy="name each job once")
        return self._all_done(call, "application", self._together.put(call.path["name"], ranks))

    def _start_all(self, call: Call) -> Any:
        jobs = self._together.start(call.path["name"], _changes(call.message))
        return self._all_done(call, "start", jobs)

    def _cutover_all(self, call: Call) -> Any:
        jobs = self._together.cutover(call.path["name"], _changes(call.message))
        return self._all_done(call, "cutover", jobs)

    def _rollback_all(self, call: Call) -> Any:
        jobs = self._together.rollback(call.path["name"], keep_cbt=call.message.keep_cbt)
        return self._all_done(call, "rollback", jobs)

    def _all_done(self, call: Call, action: str, jobs: list[Job]) -> Any:
        for job in jobs:
            self._done(call, action, job)
        return views.application(call.path["name"], jobs)


def _changes(wish: Start | Cutover) -> Json:
    return wish.model_dump(exclude={"sync_data"}, exclude_none=True)


def operator(token: str) -> Guard:
    """Whoever holds the operator's token is the operator."""

    def guard(given: str) -> None:
        if not hmac.compare_digest(given.encode(), token.encode()):
            raise AuthenticationFailed(
                "wrong or missing token",
                on="control plane",
                remedy="use the token in the state directory's file",
            )

    return guard
