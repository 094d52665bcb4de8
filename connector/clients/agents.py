"""An appliance calls the control plane over outbound HTTPS and pins its certificate by thumbprint.

Every call may be repeated after a failure. Errors of the control plane arrive as the same typed errors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Final

from connector import epoch
from connector.clients.failures import Peer
from connector.clients.heartbeat import HeartbeatAnswer, heard_from_json
from connector.clients.https import LIMITS, Answer, Https, RequestLimits
from connector.clients.trust import Pinned, thumbprint_of
from connector.epoch import EpochMemory
from connector.errors import BadInput, ConnectorError, ControlFailed, from_json
from connector.model import Finding, Machine

PEER: Final = Peer(
    "the control plane",
    ControlFailed,
    trust="compare the thumbprint with the one that it prints at start; if it is right, change `control.thumbprint` in the"
    " appliance's configuration",
)


class ControlConnection:
    """JSON over pinned HTTPS. One per thread."""

    def __init__(
        self,
        url: str,
        thumbprint: str,
        token: Callable[[], str] | str = "",
        memory: EpochMemory | None = None,
        limits: RequestLimits = LIMITS,
    ) -> None:
        """`memory` keeps the control plane's epoch mark; each call sends it."""
        self._memory = memory
        digest = thumbprint_of(thumbprint)
        self._https = Https(url, Pinned(digest), PEER, limits)
        self.url = self._https.on
        if not digest:
            raise BadInput("this is no SHA-256 thumbprint", on=self.url, remedy="use the one that it printed")
        self._token = token

    def call(
        self, method: str, path: str, body: Mapping[str, Any] | None = None, *, wait: float = 0.0
    ) -> Any:
        """The answer's JSON. Raises the error that the control plane reported, or `ControlFailed` if it is silent.

        `wait`: seconds for which the server may deliberately delay the answer.
        """
        headers = {"Content-Type": "application/json", **self._headers(), **self._remembered()}
        content = b"" if body is None else json.dumps(body).encode()
        return self._read(self._https.ask(method, path, headers, content, wait=wait))

    def _headers(self) -> dict[str, str]:
        token = self._token if isinstance(self._token, str) else self._token()
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _read(self, answer: Answer) -> Any:
        body = answer.json()
        if answer.status < 300 and body is not None:
            self._learn(answer)
            return body
        if isinstance(body, dict) and "error" in body:
            raise from_json(body)
        raise self._https.foreign(answer)

    def _remembered(self) -> dict[str, str]:
        mark = self._memory.mark if self._memory is not None else None
        return {} if mark is None else {epoch.HEADER: str(mark)}

    def _learn(self, answer: Answer) -> None:
        mark = epoch.read(answer.headers.get(epoch.HEADER.lower(), ""))
        if self._memory is not None and mark is not None:
            self._memory.learn(mark)

    def close(self) -> None:
        self._https.close()


@dataclass(frozen=True, slots=True)
class Membership:
    """What an appliance keeps after its enrolment."""

    appliance_id: str
    secret: str = field(repr=False)


def enrol(
    url: str,
    thumbprint: str,
    activation_code: str,
    *,
    name: str,
    vcenter: str,
    version: str,
    memory: EpochMemory | None = None,
    evidence_key: str = "",
) -> Membership:
    """Enrol. `vcenter`: its instance UUID. `evidence_key`: the public key, PEM.

    Raises `AuthenticationFailed` if the code is wrong, `NotPermitted` if it is not for this vCenter.
    """
    connection = ControlConnection(url, thumbprint, memory=memory)
    try:
        answer = connection.call(
            "POST",
            "/agents/v1/enrol",
            {
                "activation_code": activation_code,
                "name": name,
                "vcenter": vcenter,
                "version": version,
                "evidence_key": evidence_key,
            },
        )
    finally:
        connection.close()
    return Membership(str(answer["appliance_id"]), str(answer["secret"]))


class ControlClient:
    """An enrolled appliance's calls. One per thread."""

    def __init__(
        self,
        url: str,
        thumbprint: str,
        membership: Membership | Callable[[], Membership],
        memory: EpochMemory | None = None,
    ) -> None:
        """`membership`: a function is called before every call, because the membership may change."""

        def token() -> str:
            now = membership if isinstance(membership, Membership) else membership()
            return f"{now.appliance_id}.{now.secret}"

        self._connection = ControlConnection(url, thumbprint, token, memory)

    def heartbeat(self, passes: Iterable[str]) -> HeartbeatAnswer:
        """Report the passes that this appliance has; answer what is asked of them. Every `HEARTBEAT` seconds."""
        return heard_from_json(
            self._connection.call("POST", "/agents/v1/heartbeat", {"passes": list(passes)})
        )

    def rotate(self, evidence_key: str) -> str:
        """A new secret for a new public key (PEM). The old secret is valid until the new one is used."""
        answer = self._connection.call("POST", "/agents/v1/rotate", {"evidence_key": evidence_key})
        return str(answer["secret"])

    def register_key(self, evidence_key: str) -> None:
        """Register the public key (PEM) of our evidence. Raises Conflict if another key is registered."""
        self._connection.call("POST", "/agents/v1/key", {"evidence_key": evidence_key})

    def put_sources(
        self, machines: Iterable[Machine], findings: Mapping[str, Sequence[Finding]], vcenter_url: str = ""
    ) -> dict[str, str]:
        """Report the whole inventory; `findings` by moref. Answers the source id of each moref. Missing machines are gone.

        `vcenter_url`: where the appliance reaches the vCenter; people name it in manifests.
        """
        body = [
            asdict(machine) | {"findings": [asdict(finding) for finding in findings.get(machine.moref, ())]}
            for machine in machines
        ]
        answer = self._connection.call(
            "PUT", "/agents/v1/sources", {"machines": body, "vcenter_url": vcenter_url}
        )
        return {str(moref): str(source) for moref, source in answer.items()}

    def take(self, wait: float, power_tasks: bool = False) -> dict[str, Any] | None:
        """The next order, or None after `wait` seconds (at most 60) without one.

        `power_tasks`: a power task instead of a pass that reads.
        """
        body = {"wait": wait, "errands": power_tasks}
        answer = self._connection.call("POST", "/agents/v1/passes/take", body, wait=wait)
        order: dict[str, Any] | None = answer["pass"]
        return order

    def record(
        self,
        pass_id: str,
        token: str,
        kind: str,
        moref: str | None,
        *,
        removed: bool = False,
        trouble: str = "",
    ) -> None:
        """Record an object in vCenter: before it is created, when its moref is known, and when it is removed.

        `trouble`: why it could not be removed.
        """
        body = {"token": token, "kind": kind, "moref": moref, "removed": removed, "trouble": trouble}
        self._post(pass_id, "objects", body)

    def shutting_down(self, pass_id: str) -> None:
        """Report that the machine of this pass will be shut down. Call it before the shutdown."""
        self._post(pass_id, "down", {})

    def progress(
        self, pass_id: str, phase: str, disks: Sequence[Mapping[str, Any]], free: float | None = None
    ) -> None:
        """Report progress: key, label, capacity, wanted, done, read, zero, wire, rate, bottleneck, state.

        `free`: share of the fullest datastore under the open snapshot, 0 to 1.
        """
        report: dict[str, Any] = {"phase": phase, "disks": [dict(disk) for disk in disks]}
        self._post(
            pass_id, "progress", report if free is None else report | {"free": min(1.0, max(0.0, free))}
        )

    def finish(
        self,
        pass_id: str,
        outcome: str,
        error: ConnectorError | None,
        result: Mapping[str, Any],
        rest: float = 0.0,
    ) -> None:
        """Send the last report: `done`, `failed` or `stopped`. Repeat it until it is answered.

        A pass that stopped without having been asked to is given back: it is offered again after `rest` seconds.
        """
        error_json = error.to_json() if error else None
        body = {"outcome": outcome, "error": error_json, "result": dict(result), "rest": rest}
        self._post(pass_id, "finish", body)

    def evidence(self, pass_id: str, manifest: bytes) -> None:
        """Send the signed evidence of a pass. Repeating it is harmless."""
        path = f"/agents/v1/passes/{pass_id}/evidence"
        self._connection.call("PUT", path, {"manifest": manifest.decode()})

    def leftovers(self) -> list[dict[str, Any]]:
        """Orders to remove leftovers of jobs that do not read now: token, machine, instance_uuid, pass_id."""
        answer = self._connection.call("POST", "/agents/v1/leftovers", {})
        return [dict(entry) for entry in answer["leftovers"]]

    def removed(self, token: str) -> None:
        """Report that a leftover is gone."""
        self._connection.call("POST", "/agents/v1/leftovers/removed", {"token": token})

    def resists(self, token: str, trouble: str) -> None:
        """Report why a leftover could not be removed. It is ordered again."""
        body = {"token": token, "trouble": trouble}
        self._connection.call("POST", "/agents/v1/leftovers/resists", body)

    def remembered(self) -> dict[str, Any]:
        """The register of this vCenter: `things` whose removal is not recorded, `reading`, the morefs of machines that a pass
        works on or will work on, and `down`, cutovers that have shut a machine down and have not ended."""
        answer: dict[str, Any] = self._connection.call("POST", "/agents/v1/remembered", {})
        return answer

    def close(self) -> None:
        self._connection.close()

    def _post(self, pass_id: str, action: str, body: Mapping[str, Any]) -> None:
        self._connection.call("POST", f"/agents/v1/passes/{pass_id}/{action}", body)
