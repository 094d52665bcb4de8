"""The control port is a small JSON interface to the store; every handler runs on a thread and raises our errors."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

import zstandard
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from connector import __version__, epoch
from connector.epoch import EpochMemory
from connector.errors import BadInput, Conflict, ConnectorError, NotFound, NotPermitted, TargetFailed
from connector.http_edge import Handler, edge, read_body
from connector.instance.conversions import ConversionOrder, Conversions
from connector.instance.evidence import Evidence
from connector.instance.images import Expected, ImageBuilder, Shown
from connector.instance.proofs import Proofs
from connector.instance.records import PassBegin
from connector.instance.revoked import Revoked
from connector.instance.store import DiskStore
from connector.model import Extent
from connector.transfer import digest
from connector.transfer import extents as ranges
from connector.transfer.certificates import CertificateRole
from connector.transfer.extents import CELL
from connector.transfer.target import free_space

log = logging.getLogger(__name__)
BODY_LIMIT = 64 << 20  # bytes; a plan of a badly fragmented disk is a few MiB
PATIENCE = 20.0  # seconds that a request may wait for a proof, at most
ANSWER = 1 << 16  # cells whose digests one answer contains, at most: 2 MiB
T = TypeVar("T")
Work = Callable[[dict[str, str], dict[str, Any]], tuple[int, object]]


class InstanceService:
    """The handlers; each returns a status and a JSON body."""

    def __init__(self, store: DiskStore, revoked: Revoked) -> None:
        self.store, self.proofs, self.evidence = store, Proofs(), Evidence(store.directory)
        self.revoked = revoked
        self.images = ImageBuilder(store, self.evidence)
        self.conversions = Conversions(store)
        self.memory = EpochMemory(store.directory / "epoch")

    def application(self) -> Starlette:
        table: list[tuple[str, str, Work]] = [
            ("GET", "/health", self.health),
            ("GET", "/disks", self.disks),
            ("GET", "/disks/{key}", self.disk),
            ("PUT", "/disks/{key}", self.put_disk),
            ("DELETE", "/disks/{key}", self.remove_disk),
            ("POST", "/disks/{key}/digests", self.digests),
            ("POST", "/disks/{key}/doubt", self.doubt),
            ("POST", "/disks/{key}/passes", self.begin),
            ("POST", "/disks/{key}/passes/{id}/finish", self.finish),
            ("DELETE", "/disks/{key}/attempts", self.discard),
            ("POST", "/disks/{key}/proof", self.proof),
            ("GET", "/disks/{key}/account", self.account),
            ("PUT", "/evidence/{reading}", self.put_evidence),
            ("PUT", "/devices", self.devices),
            ("PUT", "/epoch", self.put_epoch),
            ("POST", "/settle", self.settle),
            ("POST", "/images", self.make_image),
            ("GET", "/images/{name}", self.image),
        ]
        of_control: list[tuple[str, str, Work]] = [
            ("PUT", "/revoked", self.put_revoked),
            ("PUT", "/conversions/{id}", self.order_conversion),
        ]
        routes = [Route(path, _answer(work), methods=[verb]) for verb, path, work in table]
        routes += [
            Route(path, _answer(work, control_only=True), methods=[verb]) for verb, path, work in of_control
        ]
        return Starlette(routes=routes)

    def close(self) -> None:
        self.conversions.close()
        self.proofs.close()
        self.images.close()

    def health(self, _path: dict[str, str], _body: dict[str, Any]) -> tuple[int, object]:
        free = free_space(self.store.directory)
        return 200, {"version": __version__, "disks": self.store.count(), "free": free}

    def disks(self, _path: dict[str, str], _body: dict[str, Any]) -> tuple[int, object]:
        return 200, {"disks": [disk.describe() for disk in self.store.all()]}

    def disk(self, path: dict[str, str], _body: dict[str, Any]) -> tuple[int, object]:
        return 200, self.store.get(path["key"]).describe()

    def put_disk(self, path: dict[str, str], body: dict[str, Any]) -> tuple[int, object]:
        capacity = _take(body, "capacity", int)
        if self.conversions.has_any:
            raise Conflict(
                "this instance converts copies, no pass writes here",
                on=f"disk {path['key'][:80]}",
                remedy="use the instance of the job",
            )
        with suppress(NotFound):
            if self.store.get(path["key"]).capacity < capacity:
                self.proofs.make_way(path["key"])
        disk = self.store.put(path["key"], capacity, _take(body, "label", str, ""))
        return 200, disk.describe()

    def remove_disk(self, path: dict[str, str], _body: dict[str, Any]) -> tuple[int, object]:
        self.proofs.make_way(path["key"])
        self.store.remove(path["key"])
        return 200, {}

    def digests(self, path: dict[str, str], body: dict[str, Any]) -> tuple[int, object]:
        disk = self.store.get(path["key"])
        extents = [
            part for extent in _extents(body, "extents") for part in ranges.blocks([extent], ANSWER * CELL)
        ]
        if ranges.align(extents, disk.capacity) != ranges.normalise(extents):
            raise BadInput("the ranges must be whole cells within the disk", on=f"disk {disk.key}")
        if sum(digest.count(extent.length) for extent in extents) > ANSWER:
            raise BadInput(
                f"one answer has the digests of {ANSWER} cells at most", remedy="ask for fewer cells"
            )
        return 200, zstandard.compress(disk.digests(extents, look=_take(body, "look", bool, False)), 1)

    def doubt(self, path: dict[str, str], body: dict[str, Any]) -> tuple[int, object]:
        disk = self.store.get(path["key"])
        disk.doubt(_take(body, "reason", str))
        return 200, disk.describe()

    def begin(self, path: dict[str, str], body: dict[str, Any]) -> tuple[int, object]:
        identity = _take(body, "identity", dict, {})
        begin = PassBegin(
            _take(body, "pass_id", str),
            _take(body, "kind", str),
            _take(body, "snapshot", str, ""),
            _take(body, "change_id", str, ""),
            _take(body, "base_change_id", str, ""),
            json.dumps(identity, sort_keys=True) if identity else "",
        )
        disk = self.store.get(path["key"])
        self.proofs.make_way(disk.key, begin.reading_id)
        disk.begin(begin)
        return 200, disk.describe()

    def finish(self, path: dict[str, str], body: dict[str, Any]) -> tuple[int, object]:
        cover, todo = _extents(body, "extents"), _extents(body, "todo", [])
        disk = self.store.get(path["key"])
        missing = disk.finish(path["id"], cover, todo)
        if missing:
            return 409, {
                "error": "Conflict",
                "what": f"{ranges.covered(missing)} bytes of the plan are not in the journal",
                "on": f"disk {disk.key}",
                "remedy": "send them and finish again",
                "retryable": True,
                "missing": ranges.to_json(missing),
            }
        return 200, disk.describe()

    def discard(self, path: dict[str, str], _body: dict[str, Any]) -> tuple[int, object]:
        disk = self.store.get(path["key"])
        disk.discard()
        return 200, disk.describe()

    def proof(self, path: dict[str, str], body: dict[str, Any]) -> tuple[int, object]:
        fresh = _take(body, "fresh", bool, False)
        run = self.proofs.ask(self.store.get(path["key"]), _patience(body), fresh)
        if run is None or run.proof is None:
            return 202, {"state": "running"}
        return 200, {"state": "done", **run.proof.to_json()}

    def account(self, path: dict[str, str], body: dict[str, Any]) -> tuple[int, object]:
        """The account of the disk, from its last proof or from one that is made now."""
        run = self.proofs.ask(self.store.get(path["key"]), _patience(body), False)
        if run is None or run.account is None:
            return 202, {"state": "running"}
        base = run.base
        return 200, {
            "state": "done",
            "pass": base.reading_id,
            "reading": base.reading_id,
            "change_id": base.change_id,
            "snapshot": base.snapshot,
            "proved": run.at,
            **run.lineage,
            "account": run.account.to_json(),
        }

    def put_evidence(self, path: dict[str, str], body: dict[str, Any]) -> tuple[int, object]:
        self.evidence.put(path["reading"], _take(body, "manifest", str).encode())
        return 200, {}

    def put_revoked(self, _path: dict[str, str], body: dict[str, Any]) -> tuple[int, object]:
        appliances = _take(body, "appliances", list)
        if not all(isinstance(entry, str) for entry in appliances):
            raise BadInput("field 'appliances' must be a list of ids")
        self.revoked.put(appliances)
        return 200, {}

    def devices(self, _path: dict[str, str], body: dict[str, Any]) -> tuple[int, object]:
        self.store.assign(_take(body, "serials", dict))
        return 200, {}

    def put_epoch(self, _path: dict[str, str], body: dict[str, Any]) -> tuple[int, object]:
        """Keep the latest epoch mark of a control plane; answers the mark that was kept before."""
        mark = epoch.read(_take(body, "epoch", str))
        if mark is None:
            raise BadInput("field 'epoch' is no epoch mark of a control plane")
        before = self.memory.learn(mark)
        return 200, {"epoch": "" if before is None else str(before)}

    def settle(self, _path: dict[str, str], body: dict[str, Any]) -> tuple[int, object]:
        return 200, {"disks": self.images.settle(_expected(body))}

    def make_image(self, _path: dict[str, str], body: dict[str, Any]) -> tuple[int, object]:
        image = self.images.start(
            _take(body, "name", str),
            _take(body, "format", str, "raw"),
            _take(body, "run", str, ""),
            _take(body, "require_same_pass", bool, True),
            _expected(body),
        )
        return 202, image.to_json()

    def image(self, path: dict[str, str], _body: dict[str, Any]) -> tuple[int, object]:
        return 200, self.images.get(path["name"]).to_json()

    def order_conversion(self, path: dict[str, str], body: dict[str, Any]) -> tuple[int, object]:
        keys = _take(body, "disks", list)
        if not all(isinstance(key, str) for key in keys):
            raise BadInput("field 'disks' must be a list of keys")
        order = ConversionOrder(
            path["id"],
            _take(body, "machine", dict),
            tuple(keys),
            _take(body, "network", str),
            _take(body, "plan_only", bool, False),
        )
        return 202, self.conversions.order(order).to_json()


def _take(body: dict[str, Any], name: str, kind: type[T], default: T | None = None) -> T:
    """A field of a JSON body, of exactly the expected type."""
    value = body.get(name, default)
    if type(value) is not kind:
        raise BadInput(f"field {name!r} must be {kind.__name__}")
    return value


def _patience(body: dict[str, Any]) -> float:
    """Seconds that the answer may wait for a proof: `wait` of the request, within bounds."""
    requested = _take(body, "wait", float, PATIENCE)
    return requested if 0.0 <= requested <= PATIENCE else PATIENCE


def _expected(body: dict[str, Any]) -> Expected | None:
    """The state that each disk must show; None when the caller does not say it."""
    if body.get("expect") is None:
        return None
    return {key: Shown.from_json(row) for key, row in _take(body, "expect", dict).items()}


def _extents(body: dict[str, Any], name: str, default: object = None) -> list[Extent]:
    try:
        return ranges.from_json(body.get(name, default))
    except ValueError as error:
        raise BadInput(str(error)) from None


async def _body(request: Request) -> dict[str, Any]:
    data = await read_body(request, BODY_LIMIT)
    try:
        body = json.loads(data) if data else {}
    except (ValueError, RecursionError):
        raise BadInput("the request is not JSON") from None
    if not isinstance(body, dict):
        raise BadInput("the request must be a JSON object")
    return body


def _answer(work: Work, *, control_only: bool = False) -> Handler:
    async def handle(request: Request) -> Response:
        if control_only and getattr(request.state, "role", None) is not CertificateRole.CONTROL:
            raise NotPermitted(
                "only the control plane may do this",
                on=request.url.path,
                remedy="use its credential of this job",
            )
        body = await _body(request)
        status, answer = await run_in_threadpool(work, dict(request.path_params), body)
        if isinstance(answer, bytes):
            return Response(answer, status, media_type="application/octet-stream")
        return JSONResponse(answer, status)

    return edge(handle, _failure)


def _failure(_request: Request, failed: Exception) -> Response:
    if isinstance(failed, ConnectorError):
        return JSONResponse(failed.to_json(), failed.http_status)
    log.error("request failed", exc_info=failed)
    unexpected = TargetFailed(
        f"the instance failed ({type(failed).__name__})", remedy="see the instance's log"
    )
    return JSONResponse(unexpected.to_json(), 500)
