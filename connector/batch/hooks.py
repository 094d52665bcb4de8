"""The command that carries a phase out runs the phase's hooks and notifications; the control plane never does.

A hook gets the event as JSON, on standard input or as the body. Messages show only the hook's name.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from queue import Empty, SimpleQueue
from typing import Any, Final

from connector import amounts, environment
from connector.batch import quantities
from connector.batch.manifest import Happening, Hook, HttpCall, Notification, Phase
from connector.batch.parse import Wave
from connector.batch.problems import ManifestRefused, Problem
from connector.errors import BadInput, ConnectorError, ControlFailed

TOLD: Final = 300  # how many characters of a program's last output a message shows
_GRACE: Final = 5.0  # seconds between asking a program to end and ending it
_NOTICE: Final = 10.0  # seconds for a notification


class HookFailed(ControlFailed):
    """A hook has failed, and its failure stops the phase."""

    retryable = False


@dataclass(frozen=True, slots=True)
class HookEvent:
    """The event that a hook gets."""

    wave: str
    what: str  # a phase or an event
    group: str = ""
    machines: tuple[str, ...] = ()
    detail: str = ""


class HookRunner:
    """Runs the hooks and notifications of one wave. `warned` gets one line for each failure that stops nothing."""

    def __init__(
        self,
        wave: Wave,
        warned: Callable[[str], None],
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._wave, self._warned = wave, warned
        self._environment = os.environ if environment is None else environment

    def check(self) -> None:
        """Raise `ManifestRefused` if a variable that a hook names is not set, before a phase begins."""
        problems = [
            Problem(
                f"the variable {variable} is not set", self._wave.document.mark(path), f"export {variable}"
            )
            for path, variable in self._variables()
            if variable not in self._environment
        ]
        if problems:
            raise ManifestRefused(self._wave.file, problems)

    def _variables(self) -> Iterator[tuple[tuple[str | int, ...], str]]:
        """The variables that the manifest names, each with its place."""
        manifest = self._wave.manifest
        for n, hook in enumerate(manifest.hooks):
            for m, variable in enumerate(hook.environment):
                yield ("hooks", n, "environment", m), variable
            for header, variable in (hook.http.headersFromEnvironment if hook.http else {}).items():
                yield ("hooks", n, "http", "headersFromEnvironment", header), variable
        for n, notification in enumerate(manifest.notifications):
            for header, variable in notification.webhook.headersFromEnvironment.items():
                yield ("notifications", n, "webhook", "headersFromEnvironment", header), variable

    def has(self, phase: Phase, group: str = "") -> bool:
        """Whether the phase has hooks for this group."""
        return any(self._of(phase, group))

    def _of(self, phase: Phase, group: str) -> Iterator[Hook]:
        for hook in self._wave.manifest.hooks:
            if hook.phase is phase and (not hook.groups or group in hook.groups):
                yield hook

    def run(self, phase: Phase, group: str = "", machines: Sequence[str] = ()) -> None:
        """Run every hook of the phase, in the manifest's order. Raises `HookFailed` for a hook that must not fail."""
        event = HookEvent(self._wave.name, phase.value, group, tuple(machines))
        for hook in self._of(phase, group):
            try:
                self._carry_out(hook, event)
            except ConnectorError as failed:
                if hook.onFailure == "stop":
                    remedy = f"put it right and repeat the command; nothing after {phase.value} was done"
                    raise HookFailed(failed.what, on=f"hook {hook.name}", remedy=remedy) from None
                self._warned(f"hook {hook.name}: {failed.what}")

    def notify(
        self, happening: Happening, group: str = "", machines: Sequence[str] = (), detail: str = ""
    ) -> None:
        """Send the notifications of an event. It never raises."""
        event = HookEvent(self._wave.name, happening.value, group, tuple(machines), detail)
        for notification in self._wave.manifest.notifications:
            if happening in notification.events:
                self._tell(notification, event)

    def _tell(self, notification: Notification, event: HookEvent) -> None:
        try:
            self._request(notification.webhook, event, _NOTICE)
        except ConnectorError as failed:
            self._warned(f"notification {notification.name}: {failed.what}")

    def _carry_out(self, hook: Hook, event: HookEvent) -> None:
        limit = float(quantities.seconds(hook.timeout))
        if hook.http is not None:
            self._request(hook.http, event, limit)
        elif hook.command is not None:
            _program(hook.command, event, limit, self._of_program(hook))

    def _of_program(self, hook: Hook) -> dict[str, str]:
        """The environment of a hook's program: without secrets, except those that the hook names."""
        named_variables = {variable for _, variable in self._variables()}
        variables = environment.without_secrets(self._environment, named_variables)
        return variables | {
            name: self._environment[name] for name in hook.environment if name in self._environment
        }

    def _request(self, call: HttpCall, event: HookEvent, limit: float) -> None:
        import requests  # imported late: most waves have no webhook

        headers = {
            name: self._environment.get(variable, "")
            for name, variable in call.headersFromEnvironment.items()
        }
        body: Any = None if call.method == "GET" else asdict(event)
        answers: SimpleQueue[int | str] = SimpleQueue()

        def ask() -> None:
            try:
                with requests.request(
                    call.method,
                    call.url,
                    json=body,
                    headers=headers,
                    timeout=limit,
                    allow_redirects=False,
                    stream=True,
                ) as answer:
                    answers.put(answer.status_code)
            except (requests.exceptions.RequestException, ValueError) as failed:
                answers.put(type(failed).__name__)

        # In its own thread, because the library's limit begins again with every byte that arrives.
        threading.Thread(target=ask, name="hook", daemon=True).start()
        try:
            status = answers.get(timeout=limit)
        except Empty:
            raise ControlFailed(f"no answer within {amounts.span(limit)}") from None
        if isinstance(status, str):
            raise ControlFailed(f"no answer ({status})")
        if status >= 400:
            raise ControlFailed(f"it answered {status}")


def _program(command: Sequence[str], event: HookEvent, limit: float, variables: Mapping[str, str]) -> None:
    """Run a program to its end, in its own process group, so that its children end with it."""
    try:
        process = subprocess.Popen(
            list(command),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            env=dict(variables),
            start_new_session=True,
        )
    except (OSError, ValueError) as failed:
        raise BadInput(f"cannot be started: {getattr(failed, 'strerror', None) or failed}") from None
    try:
        _, output = process.communicate(json.dumps(asdict(event)).encode(), timeout=limit)
    except subprocess.TimeoutExpired:
        _end(process)
        raise ControlFailed(f"did not end within {amounts.span(limit)}") from None
    except BaseException:
        _end(process)
        raise
    if process.returncode:
        words = " ".join(output.decode("utf-8", "replace").split())[-TOLD:]
        raise ControlFailed(f"ended with {process.returncode}{': ' if words else ''}{words}")


def _end(process: subprocess.Popen[bytes]) -> None:
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        deadline = time.monotonic() + _GRACE
        with suppress(subprocess.TimeoutExpired):
            process.wait(max(0.0, deadline - time.monotonic()))
    for pipe in (process.stdin, process.stderr):
        if pipe is not None:
            with suppress(OSError):
                pipe.close()
