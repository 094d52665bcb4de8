"""How the command line speaks to the control plane: the job API over pinned HTTPS, as its operator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from connector.clients.agents import ControlConnection

Json = dict[str, Any]


class JobClient:
    """Sources and jobs; names work wherever ids do. Errors are those of the control plane. One per thread."""

    def __init__(self, url: str, thumbprint: str, token: str) -> None:
        self._connection = ControlConnection(url, thumbprint, token)
        self.applications = ApplicationClient(self._connection)

    def sources(self, state: str | None = None) -> list[Json]:
        """All sources by name, or those in one state."""
        query = f"?state={quote(state, safe='')}" if state else ""
        return list(self._connection.call("GET", f"/v1/sources{query}")["sources"])

    def source(self, source: str) -> Json:
        return self._object("GET", f"/v1/sources/{quote(source, safe='')}")

    def appliances(self) -> list[Json]:
        """All appliances, with `online`."""
        return list(self._connection.call("GET", "/v1/appliances")["appliances"])

    def jobs(self, status: str | None = None) -> list[Json]:
        """All jobs, newest first, or those with one status."""
        query = f"?status={quote(status, safe='')}" if status else ""
        return list(self._connection.call("GET", f"/v1/jobs{query}")["jobs"])

    def create(self, source: str, name: str, **wishes: Any) -> Json:
        """A job in Ready. `wishes`: run_once, last_sync, image_name, image_format, shutdown_deadline, ..."""
        return self._object("POST", "/v1/jobs", {"source": source, "name": name, **wishes})

    def job(self, job: str) -> Json:
        """Everything about one job: disks, runs, passes, images, objects, events."""
        return self._object("GET", f"/v1/jobs/{quote(job, safe='')}")

    def evidence(self, job: str) -> list[Json]:
        """What its passes left as proof, oldest first, without the manifests."""
        return list(self._object("GET", f"/v1/jobs/{quote(job, safe='')}/evidence")["evidence"])

    def manifest(self, job: str, pass_id: str) -> bytes:
        """The signed manifest of one pass, as it belongs into a file."""
        path = f"/v1/jobs/{quote(job, safe='')}/evidence/{quote(pass_id, safe='')}"
        return str(self._object("GET", path)["manifest"]).encode()

    def start(self, job: str, **wishes: Any) -> Json:
        """`wishes`: shutdown_deadline, allow_power_off, audit, accept_removed_disks; what is given replaces what the job was
        created with.
        """
        return self._act(job, "start", wishes)

    def stop(self, job: str) -> Json:
        return self._act(job, "stop")

    def cutover(self, job: str, **wishes: Any) -> Json:
        """`wishes`: sync_data, and those of `start`."""
        return self._act(job, "cutover", wishes)

    def rollback(self, job: str, *, keep_cbt: bool = False) -> Json:
        """After a cutover: the source as it was found. `keep_cbt`: another cutover will follow."""
        return self._act(job, "rollback", {"keep_cbt": keep_cbt})

    def delete(self, job: str) -> Json:
        return self._object("DELETE", f"/v1/jobs/{quote(job, safe='')}")

    def epoch(self) -> Json:
        """`restored` says why the control plane begins nothing; empty when all is well."""
        return self._object("GET", "/v1/epoch")

    def confirm_restore(self, *, keep_credentials: bool = False) -> Json:
        """That its state was restored is known: it goes on."""
        return self._object("POST", "/v1/epoch/confirm", {"keep_credentials": keep_credentials})

    def close(self) -> None:
        self._connection.close()

    def _act(self, job: str, what: str, body: Mapping[str, Any] | None = None) -> Json:
        return self._object("POST", f"/v1/jobs/{quote(job, safe='')}/{what}", body or {})

    def _object(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Json:
        answer: Json = self._connection.call(method, path, body)
        return answer


class ApplicationClient:
    """Jobs whose sources are cut over together, over the connection of a `JobClient`."""

    def __init__(self, connection: ControlConnection) -> None:
        self._connection = connection

    def put(self, name: str, ranks: Mapping[str, int]) -> Json:
        """Exactly these jobs (id or name) are the application; the lowest rank is shut down first. None: it is no more."""
        members = [{"job": job, "rank": rank} for job, rank in ranks.items()]
        return self._call("PUT", name, "", {"members": members})

    def start(self, name: str) -> Json:
        """A run of each, read when all are ready."""
        return self._call("POST", name, "/start", {})

    def cutover(self, name: str, **wishes: Any) -> Json:
        """`wishes` as for one job's start."""
        return self._call("POST", name, "/cutover", wishes)

    def rollback(self, name: str, *, keep_cbt: bool = False) -> Json:
        """After a cutover: all sources as they were found."""
        return self._call("POST", name, "/rollback", {"keep_cbt": keep_cbt})

    def _call(self, method: str, name: str, what: str, body: Mapping[str, Any]) -> Json:
        path = f"/v1/applications/{quote(name, safe='')}{what}"
        return dict(self._connection.call(method, path, body))
