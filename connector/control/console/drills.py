"""Rehearsals of a cutover on the page of a job: asked for, stopped, and what the copy showed on its screen and console."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Final

from connector.control.console.pages import Download, Form, Page, PageRequest, Picture, Redirect, View, link
from connector.control.smc.catalogue import Denied
from connector.control.smc.dispatcher import OperationDispatcher

#: By the name of a file: how it begins, and its media type.
_PICTURES: Final = {
    "screen.png": (b"\x89PNG\r\n\x1a\n", "image/png"),
    "screen.jpg": (b"\xff\xd8\xff", "image/jpeg"),
}


class DrillPages:
    """`job`: the page of a job, which is shown again below a refusal."""

    def __init__(self, dispatcher: OperationDispatcher, job: Callable[[PageRequest], Page]) -> None:
        self._dispatcher = dispatcher
        self._job = job

    def views(self) -> tuple[View, ...]:
        return (
            View("/jobs/{id}/drills/{drill}/screen/{file}", self._screen),
            View("/jobs/{id}/drills/{drill}/console", self._console),
        )

    def forms(self) -> tuple[Form, ...]:
        return (
            Form("/jobs/{id}/drill", self._ask, self._job),
            Form("/jobs/{id}/plan-conversion", self._plan, self._job),
            Form("/jobs/{id}/stop-drill", self._stop, self._job),
        )

    def _ask(self, request: PageRequest) -> Redirect:
        return self._do(request, "StartReplicationJobDrill", "drill")

    def _plan(self, request: PageRequest) -> Redirect:
        return self._do(request, "StartReplicationJobDrill", "plan-conversion", PlanOnly="true")

    def _stop(self, request: PageRequest) -> Redirect:
        return self._do(request, "StopReplicationJobDrill", "stop-drill")

    def _do(self, request: PageRequest, operation: str, said: str, **given: str) -> Redirect:
        job_id = request.path["id"]
        self._dispatcher.call(request.caller, operation, {"JobId": job_id, **given})
        return Redirect(link("jobs", job_id, said=said))

    def _screen(self, request: PageRequest) -> Picture:
        """A guest made this picture: it is sent as what its first bytes say, or not at all."""
        name = request.path["file"]
        beginning, media_type = _PICTURES.get(name, (b"", ""))
        content = self._file(request, name)
        if not media_type or not content.startswith(beginning):
            raise Denied("ReplicationJobDrill.NotFound", "The screenshot is no picture.")
        return Picture(content, media_type)

    def _console(self, request: PageRequest) -> Download:
        """A guest wrote this: a browser saves it and does not show it."""
        content = self._file(request, "console.log")
        return Download("console.log", iter([content.decode("utf-8", "replace")]))

    def _file(self, request: PageRequest, name: str) -> bytes:
        values = {"JobId": request.path["id"], "DrillId": request.path["drill"], "File": name}
        answer = self._dispatcher.call(request.caller, "ExportReplicationJobDrillFile", values)
        return base64.b64decode(answer["Content"])
