"""An action on many jobs names every ticked job, is confirmed once, and is done job by job as if for one job."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from connector.amounts import plural
from connector.control.console import actions
from connector.control.console.actions import Action
from connector.control.console.form_fields import spoken
from connector.control.console.job_lines import JobLine, JobLines
from connector.control.console.jobs import JobPages
from connector.control.console.lists import SIZES
from connector.control.console.middleware import as_denied
from connector.control.console.pages import Banner, Form, Page, PageRequest, link, ours
from connector.control.domain import jobs as machine
from connector.control.domain.allowed_events import impossible
from connector.control.domain.entities import Job
from connector.control.domain.jobs import JobEvent
from connector.control.domain.refusals import StateRefusal
from connector.control.smc.catalogue import Denied
from connector.control.smc.dispatcher import OperationDispatcher, permit
from connector.control.store import Store
from connector.errors import ConnectorError
from connector.model import PowerState

#: The name of a job's box; the job's id follows.
BOX: Final = "job-"
#: As many as a page of the list holds.
MOST: Final = SIZES[-1]
_CHANGED: Final = "it has changed since the question, and nothing was done: choose it again"


@dataclass(frozen=True, slots=True)
class Intent:
    """What the action would do to one job. `refused`: why it would do nothing; empty if it would do something."""

    line: JobLine
    action: Action | None = None
    refused: str = ""

    @property
    def effect(self) -> str:
        return self.action.does(self.line.job.state) if self.action else ""

    @property
    def sign(self) -> str:
        """A digest of everything that was shown of this job: only what was shown can be confirmed."""
        job, down = self.line.job, bool(self.line.outage)
        label = self.action.says(job.state) if self.action else ""
        content = (job.id, str(job.state), down, label, self.effect, self.refused)
        return hashlib.sha256(repr(content).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Result:
    """What the action did to one job."""

    id: str
    name: str
    done: bool
    text: str


class BulkPages:
    """The confirmation of one action for many jobs, and its results."""

    def __init__(
        self, store: Store, dispatcher: OperationDispatcher, lines: JobLines, pages: JobPages
    ) -> None:
        self._store = store
        self._dispatcher = dispatcher
        self._lines = lines
        self._pages = pages

    def forms(self) -> tuple[Form, ...]:
        return (
            Form("/bulk/{action}", self._ask, self._list),
            Form("/bulk/{action}/confirmed", self._do, self._list),
        )

    def _ask(self, request: PageRequest) -> Page:
        """Name each job and what will happen to it. Nothing is changed yet."""
        action = self._permitted(request)
        ids = list(_ticked(request))
        lines = self._lines.of(ids)
        intents = [self._intent(lines[job_id], action) for job_id in ids if job_id in lines]
        return Page(
            "bulk.html",
            {
                "action": action,
                "wanted": [intent for intent in intents if not intent.refused],
                "refused": [intent for intent in intents if intent.refused],
                "gone": [job_id for job_id in ids if job_id not in lines],
                "all": intents,
                "back": _back(request),
                "here": _back(request),
            },
        )

    def _do(self, request: PageRequest) -> Page:
        """Do the action for one job after the other. A refused job does not stop the others."""
        action = self._permitted(request)
        results = [self._done(request, action, job_id, sign) for job_id, sign in _ticked(request).items()]
        good = sum(result.done for result in results)
        summary = f"{action.label}: {good} of {plural(len(results), 'job')} done"
        summary += f", {len(results) - good} refused." if good < len(results) else "."
        return Page(
            "bulk_done.html",
            {"action": action, "results": results, "back": _back(request), "here": _back(request)},
            Banner(summary, bad=good < len(results)),
        )

    def _done(self, request: PageRequest, action: Action, job_id: str, sign: str) -> Result:
        """Do the action for one job, if the job is still as the person has seen it.

        What changes in the milliseconds between this look and the act is not seen; the operation then judges by its own rules.
        """
        name = ""
        try:
            line = self._lines.one(job_id)
            name = line.job.name
            intent = self._intent(line, action)
            if intent.sign != sign:
                return Result(job_id, name, False, f"{_CHANGED}. Now it is {line.state}")
            if intent.refused:
                return Result(job_id, name, False, intent.refused)
            self._dispatcher.call(request.caller, action.operation, {"JobId": job_id, **action.given})
        except (Denied, ConnectorError) as failed:
            problem, remedy = spoken(as_denied(failed))
            return Result(job_id, name, False, f"{problem}; {remedy}" if remedy else problem)
        return Result(job_id, name, True, action.done)

    def _permitted(self, request: PageRequest) -> Action:
        action = actions.named(request.path["action"])
        if action is None:
            raise Denied("InvalidAction.NotFound", "There is no such operation on a job.")
        permit(request.key, self._dispatcher.find(action.operation))
        return action

    def _intent(self, line: JobLine, chosen: Action) -> Intent:
        action = next((candidate for candidate in line.actions if candidate.word == chosen.word), None)
        if action is None:
            return Intent(line, refused=_why_not(line.job, chosen.event))
        if not action.reads:
            return Intent(line, action)
        source = self._store.sources.get(line.job.source_id)
        if source.error_code:
            return Intent(line, refused=f"its source {source.name} cannot be read: {source.reason}")
        off = source.facts.get("power") == PowerState.OFF
        return Intent(line, actions.for_a_source_that_is_off(action) if off else action)

    def _list(self, request: PageRequest) -> Page:
        """The list that the boxes were in, with its search."""
        back = _back(request)
        return self._pages.list(replace(request, query=dict(parse_qsl(urlsplit(back).query)), here=back))


def _ticked(request: PageRequest) -> Mapping[str, str]:
    """The jobs whose boxes are ticked, each with the value of its box."""
    boxes = {name.removeprefix(BOX): value for name, value in request.form.items() if name.startswith(BOX)}
    if not boxes:
        raise Denied("MissingParameter.JobId", "No job is ticked.", "tick the boxes of the jobs")
    if len(boxes) > MOST:
        raise Denied("NumberExceed.JobId", f"{len(boxes)} jobs are ticked, {MOST} can be.", "tick fewer")
    return boxes


def _why_not(job: Job, event: JobEvent) -> str:
    """Why this event is not possible for this job now."""
    try:
        machine.follow(job.state, event, job.name)
    except StateRefusal as refused:
        return f"{refused.what}; {refused.remedy}" if refused.remedy else refused.what
    if event in impossible(job) and job.application:
        return f"its application {job.application} is cut over and rolled back as a whole"
    return "this job never shut its source down" if event is JobEvent.ROLLBACK else "this job runs once"


def _back(request: PageRequest) -> str:
    """The address of the list that the boxes were in."""
    address = request.form.get("back", "")
    return address if ours(address) and urlsplit(address).path == link("jobs") else link("jobs")
