"""The former disks of a target instance on the page of a job: put back, or let go."""

from __future__ import annotations

from collections.abc import Callable

from connector.control.console.pages import Form, Page, PageRequest, Redirect, link
from connector.control.smc.dispatcher import OperationDispatcher


class FormerDiskForms:
    """`job`: the page of a job, which is shown again below a refusal."""

    def __init__(self, dispatcher: OperationDispatcher, job: Callable[[PageRequest], Page]) -> None:
        self._dispatcher = dispatcher
        self._job = job

    def forms(self) -> tuple[Form, ...]:
        return (
            Form("/jobs/{id}/put-back", self._put_back, self._job),
            Form("/jobs/{id}/release-former", self._release, self._job),
        )

    def _put_back(self, request: PageRequest) -> Redirect:
        return self._do(request, "PutBackFormerDisks", "put-back")

    def _release(self, request: PageRequest) -> Redirect:
        return self._do(request, "ReleaseFormerDisks", "release-former")

    def _do(self, request: PageRequest, operation: str, said: str) -> Redirect:
        job_id = request.path["id"]
        self._dispatcher.call(request.caller, operation, {"JobId": job_id})
        return Redirect(link("jobs", job_id, said=said))
