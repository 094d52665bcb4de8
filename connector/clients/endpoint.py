"""An instance is recognised by the job's authority and the role in its certificate, never by its host name.

Callers use its control port over mutual TLS, and make connections to its block port.
"""

from __future__ import annotations

import json
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from functools import cached_property
from typing import Any, Final
from urllib.parse import quote

from connector.clients.failures import Peer
from connector.clients.https import Answer, Https, RequestLimits
from connector.errors import ConnectorError, ControlFailed, Interrupted, TransferFailed, from_json
from connector.model import Credential, Extent, InstanceAddress
from connector.patience import Patience
from connector.transfer import digest, tls
from connector.transfer import extents as ranges
from connector.transfer.certificates import CertificateRole
from connector.transfer.codec import Unpacker
from connector.transfer.receiving import MissingRanges
from connector.transfer.tls import Channel
from connector.transfer.wire import Codec

LIMITS: Final = RequestLimits(
    connect=60.0, silence=60.0, whole=600.0
)  # an instance that proves or flushes answers the handshake slowly
PEER: Final = Peer(
    "the instance",
    TransferFailed,
    trust="use credentials that this job issued",
    check="check the network and the instance",
)
POLL_INTERVAL: Final = 1.0  # seconds between two looks at `stop` during a proof
Expect = Mapping[str, Mapping[str, object]]
"""What each disk must show, by its key: `reading`, `target`, `generation` and `root`."""


class Mutual:
    """Trust within one job: its authority signed both certificates, and the peer's names this role. Only TLS 1.3."""

    def __init__(self, credential: Credential, role: CertificateRole) -> None:
        self._credential, self.role = credential, role

    def context(self) -> ssl.SSLContext:
        """One context for all connections: reading the key and the certificates costs as much as a handshake."""
        return self._made

    @cached_property
    def _made(self) -> ssl.SSLContext:
        return tls.context(self._credential, server=False, protocol=None)

    def accept(self, sock: ssl.SSLSocket, on: str) -> None:
        tls.require_role(sock.getpeercert(), [self.role], on)


class InstanceEndpoint:
    """Thread-safe; every call makes its own connection. Raises ConnectorErrors only: what the instance
    reported, TransferFailed (retryable) when it cannot be reached, TrustFailed when one side does not accept
    the other. `patience` outlasts an instance that is being started again: every call may be repeated."""

    def __init__(
        self,
        address: InstanceAddress,
        credential: Credential,
        patience: Patience | None = None,
        limits: RequestLimits = LIMITS,
    ) -> None:
        self.address, self._credential = address, credential
        self._patience, self._limits = patience or Patience(0.0), limits
        self._trust = Mutual(credential, CertificateRole.INSTANCE)

    def until(self, halt: threading.Event) -> InstanceEndpoint:
        """The same endpoint, but its patience ends when `halt` is set."""
        return InstanceEndpoint(
            self.address, self._credential, replace(self._patience, halt=halt), self._limits
        )

    def health(self) -> dict[str, object]:
        return self.call("GET", "/health")

    def disk(self, key: str) -> dict[str, object]:
        return self.call("GET", f"/disks/{quote(key, safe='')}")

    def put_disk(self, key: str, capacity: int, label: str = "") -> dict[str, object]:
        body = {"capacity": capacity, "label": label}
        return self.call("PUT", f"/disks/{quote(key, safe='')}", body)

    def begin_pass(self, key: str, body: Mapping[str, object]) -> dict[str, object]:
        """`body`: pass_id (the reading id), kind, snapshot, change_id, base_change_id, identity. Repeating it is harmless."""
        return self.call("POST", f"/disks/{quote(key, safe='')}/passes", body)

    def finish_pass(
        self, key: str, reading_id: str, cover: Sequence[Extent], todo: Sequence[Extent] = ()
    ) -> dict[str, object]:
        """Finish the reading. Raises MissingRanges if a part of the plan is not in the journal."""
        body = {"extents": ranges.to_json(cover), "todo": ranges.to_json(todo)}
        return self.call(
            "POST", f"/disks/{quote(key, safe='')}/passes/{quote(reading_id, safe='')}/finish", body
        )

    def remove_disk(self, key: str) -> None:
        """Remove the disk and its bytes. Images stay. Repeating it is harmless."""
        self.call("DELETE", f"/disks/{quote(key, safe='')}")

    def disks(self) -> list[dict[str, object]]:
        return objects(self.call("GET", "/disks"), "disks", self._name)

    def digests(self, key: str, extents: Sequence[Extent], *, look: bool = False) -> bytes:
        """The target digests of these ranges of whole cells, one after the other.

        At most 65536 cells. `look`: read the target instead of its table. Raises WireViolation for a malformed answer.
        """
        body = {"extents": ranges.to_json(extents), "look": look}
        content = self._exchange("POST", f"/disks/{quote(key, safe='')}/digests", body).content
        sizes = [extent.length for extent in extents]
        size = sum(digest.count(length) for length in sizes) * digest.SIZE
        marked = Unpacker().unpack(Codec.ZSTD, content, size) if size else memoryview(b"")
        pieces, at = [], 0
        for length in sizes:
            end = at + digest.count(length) * digest.SIZE
            pieces.append(digest.unmarked(length, bytes(marked[at:end])))
            at = end
        return b"".join(pieces)

    def put_epoch(self, mark: str) -> str:
        """Send the control plane's epoch mark; answer the mark that the instance kept before, or ""."""
        return str(self.call("PUT", "/epoch", {"epoch": mark}).get("epoch", ""))

    def doubt(self, key: str, reason: str) -> dict[str, object]:
        """Doubt the base of the disk, so that the next pass compares."""
        return self.call("POST", f"/disks/{quote(key, safe='')}/doubt", {"reason": reason})

    def discard_attempts(self, key: str) -> dict[str, object]:
        return self.call("DELETE", f"/disks/{quote(key, safe='')}/attempts")

    def prove(
        self, key: str, *, fresh: bool = False, stop: threading.Event | None = None
    ) -> dict[str, object]:
        """Wait for the proof. Raises ProofFailed, Conflict in the middle of a pass, and Interrupted soon after `stop` is
        set. The instance then goes on proving, and the next call for the same reading joins that proof.
        """
        path, first = f"/disks/{quote(key, safe='')}/proof", {"fresh": fresh}
        return self._proved("POST", path, first, stop)

    def account(self, key: str, stop: threading.Event | None = None) -> dict[str, Any]:
        """The account of every byte (see transfer.account) with `proved` (seconds), `reading`, `snapshot` and `change_id`
        of the pass, and `target`, `generation`, `root` and `previous_root` of the target. If the proof must be made
        again, wait for it until `stop` is set.
        """
        return self._proved("GET", f"/disks/{quote(key, safe='')}/account", {}, stop)

    def _proved(
        self, verb: str, path: str, first: Mapping[str, object], stop: threading.Event | None
    ) -> dict[str, Any]:
        """Ask until the answer is ready. The instance delays no answer for longer than `POLL_INTERVAL`."""
        body = dict(first)
        while True:
            answer = self.call(verb, path, body | {"wait": POLL_INTERVAL})
            if answer.get("state") == "done":
                return answer
            if stop is not None and stop.is_set():
                raise Interrupted(
                    "stopped while the instance proves", on=self._name, remedy="run it again: it resumes"
                )
            body = {}

    def put_evidence(self, reading: str, manifest: bytes) -> None:
        """Give images of this reading the manifest from now on. Repeating it is harmless."""
        self.call("PUT", f"/evidence/{quote(reading, safe='')}", {"manifest": manifest.decode()})

    def assign_devices(self, serials: Mapping[str, str]) -> None:
        """Say which device carries which disk, by serial number. Repeating it is harmless."""
        self.call("PUT", "/devices", {"serials": dict(serials)})

    def put_revoked(self, appliances: Sequence[str]) -> None:
        """Set the appliances whose certificates are refused from now on. Only the control plane calls it. Repeatable."""
        self.call("PUT", "/revoked", {"appliances": list(appliances)})

    def settle(self, expect: Expect | None = None) -> list[str]:
        """The disks' keys, if all show the end of one pass on stable storage. Raises Conflict in the middle of a pass, and
        if a disk or the disk set differs from what is expected.
        """
        disks = objects(self.call("POST", "/settle", _expecting({}, expect)), "disks", self._name)
        return [str(disk.get("disk", "")) for disk in disks]

    def make_image(
        self,
        name: str,
        kind: str,
        run: str,
        *,
        same_pass: bool = True,
        wait: bool = True,
        expect: Expect | None = None,
    ) -> dict[str, object]:
        """Order an image and, unless `wait` is False, wait for it. Raises the error of a failed image, and Conflict if a
        disk or the disk set differs from what is expected.
        """
        body = {"name": name, "format": kind, "run": run, "require_same_pass": same_pass}
        answer = self.call("POST", "/images", _expecting(body, expect))
        while wait and answer["state"] == "making":
            time.sleep(0.2)
            answer = self.image(name)
        if answer["state"] == "failed":
            raise from_json(answer["error"])
        return answer

    def image(self, name: str) -> dict[str, object]:
        return self.call("GET", f"/images/{quote(name, safe='')}")

    def order_conversion(self, conversion_id: str, order: Mapping[str, object]) -> dict[str, object]:
        """Order a conversion of copies that the instance has; answer what became of it. Only the control plane calls it.

        `order`: machine, disks, network, plan_only. The same order may be repeated. Raises Conflict while another one runs.
        """
        return self.call("PUT", f"/conversions/{quote(conversion_id, safe='')}", order)

    def connect_blocks(self) -> Channel:
        """A new authenticated connection to the block port."""
        return tls.connect(self.address.host, self.address.block_port, self._credential)

    def call(self, verb: str, path: str, body: Mapping[str, object] | None = None) -> dict[str, object]:
        """One request to the control port, repeated within the patience."""
        answer = self._exchange(verb, path, body).json()
        if not isinstance(answer, dict):
            raise _other_release("something else than an object", self._name)
        return answer

    def _exchange(self, verb: str, path: str, body: Mapping[str, object] | None) -> Answer:
        data = b"" if body is None else json.dumps(body).encode()
        with closing(
            Https(f"https://{self._name}", self._trust, PEER, self._limits, self._patience)
        ) as https:
            return https.repeated(lambda: _once(https, verb, path, data), harmless=True)

    @property
    def _name(self) -> str:
        host = self.address.host
        return f"{f'[{host}]' if ':' in host else host}:{self.address.control_port}"


def _once(https: Https, verb: str, path: str, data: bytes) -> Answer:
    answer = https.ask(verb, path, {"Content-Type": "application/json"}, data)
    if answer.status < 300:
        return answer
    body = answer.json()
    raise _error(body) if isinstance(body, dict) and "error" in body else https.foreign(answer)


def objects(answer: Mapping[str, object], name: str, on: str) -> list[dict[str, object]]:
    """The list of objects of this name in an answer. Raises ControlFailed if there is none."""
    rows = answer.get(name)
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise _other_release(f"no list of objects as {name!r}", on)
    return rows


def _other_release(content: str, on: str) -> ControlFailed:
    remedy = "run the same release on both sides"
    return ControlFailed(f"the instance answered {content}", on=on, remedy=remedy)


def _expecting(body: dict[str, object], expect: Expect | None) -> dict[str, object]:
    return body if expect is None else body | {"expect": {key: dict(row) for key, row in expect.items()}}


def _error(body: object) -> ConnectorError:
    error = from_json(body)
    if isinstance(body, dict) and "missing" in body:
        short = MissingRanges(error.what, on=error.on, remedy=error.remedy)
        short.missing = ranges.from_json(body["missing"])
        return short
    return error
