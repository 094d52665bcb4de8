"""`/folder/PATH?dcPath=DATACENTER&dsName=DATASTORE`: files of datastores over HTTPS, whole or by Range.

vCenter serves every datastore, a host those that it has mounted, in the datacenter `ha-datacenter`. A request carries the
cookie of a session (not at a host) or a ticket of AcquireGenericServiceTicket. The user needs Datastore.Browse on the datastore.
`[?]` marks what no source that we have says; there the answer is only plausible.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from email.utils import formatdate
from typing import Any, Final
from urllib.parse import parse_qs, unquote, urlsplit

from simulator.estate.errors import EstateFault
from simulator.estate.inventory import Datastore
from simulator.faults import Rule
from simulator.vcenter import datastore_files, service_tickets
from simulator.vcenter.center import Center
from simulator.vcenter.datastore_files import DatastoreFile
from simulator.vcenter.naming import same
from simulator.vcenter.sessions import cookie_in

ROOT: Final = "/folder/"
OF_HOSTS: Final = "ha-datacenter"
PRIVILEGE: Final = "Datastore.Browse"
POINT: Final = "folder.read"
_STEP: Final = 256 << 10  # bytes that are read and sent at a time
_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)")
_TICKET: Final = re.compile(service_tickets.COOKIE + r'="?([^";,\s]+)')
_LOCKED: Final = b"Unable to access the file since it is locked"


@dataclass(frozen=True, slots=True)
class FileAnswer:
    """`pieces` are `length` bytes together. `cut_after`: drop the connection after so many. `rate`: bytes a second, 0: any."""

    status: int
    length: int = 0
    pieces: Iterator[bytes] = field(default_factory=lambda: iter(()))
    headers: Mapping[str, str] = field(default_factory=dict)
    cut_after: int | None = None
    rate: float = 0.0


class _Refused(Exception):
    """The request ends with this answer."""

    def __init__(self, answer: FileAnswer) -> None:
        super().__init__(answer.status)
        self.answer = answer


def answer(center: Center, method: str, target: str, cookie: str, wanted: str, host: str = "") -> FileAnswer:
    """The answer to GET or HEAD of `target`; `cookie` and `wanted` are the headers Cookie and Range.

    `host`: the moref of the host that is asked; empty: vCenter itself is.
    """
    try:
        user = _user(center, method, target, cookie, host)
        store, path = _named(center, target, host)
        if not center.authority.has(user, store.moref, PRIVILEGE):
            raise _Refused(_short(403, f"missing privilege {PRIVILEGE}".encode()))
        rule = center.estate.faults.consult(POINT, path)
        _scripted(rule)
        file = _opened(center, store, path)
        return _part(file, wanted, rule)
    except _Refused as refused:
        return refused.answer


def _user(center: Center, method: str, target: str, cookie: str, host: str) -> str:
    session = None if host else center.sessions.find(cookie_in(cookie))
    if session is not None:
        center.sessions.begin_call(session)
        center.sessions.end_call(session)
        return session.user
    ticket = _TICKET.search(cookie)
    user = center.service_tickets.redeem(ticket[1], method, target, host) if ticket else None
    if user is None:
        headers = {"WWW-Authenticate": 'Basic realm="VMware HTTP server"'}
        raise _Refused(_short(401, b"not authenticated", headers))
    return user


def _named(center: Center, target: str, host: str) -> tuple[Datastore, str]:
    """The datastore and the path within it. A datacenter or host that does not have the datastore is refused."""
    parts = urlsplit(target)
    query = parse_qs(parts.query)
    name, place = query.get("dsName", [""])[0], query.get("dcPath", [""])[0]
    for store in center.estate.inventory.datastores.values():
        if same(store.name, name) and _in_place(center, store, place.strip("/"), host):
            return store, unquote(parts.path.removeprefix(ROOT))
    raise _Refused(_short(404, b"no such datacenter or datastore"))


def _in_place(center: Center, store: Datastore, place: str, host: str) -> bool:
    if host:
        return place == OF_HOSTS and store.moref in center.estate.inventory.hosts[host].datastores
    home = center.index.datacenter_of(store.moref)
    return home is not None and same(center.index.path(home), place)


def _opened(center: Center, store: Datastore, path: str) -> DatastoreFile:
    try:
        file = datastore_files.find(center.estate, store, path)
    except (EstateFault, OSError):  # it is just being removed
        file = None
    if file is None:
        raise _Refused(_short(404, b"no such file"))
    if file.locked:
        raise _Refused(_short(500, _LOCKED))  # [?]: no source says what a host answers
    return file


def _scripted(rule: Rule | None) -> None:
    """Wait as a rule says, and raise the answer that it prescribes."""
    if rule is None:
        return
    time.sleep(rule.seconds)
    if "status" in rule.answer:
        headers = {"Location": str(rule.answer["location"])} if "location" in rule.answer else {}
        raise _Refused(_short(int(rule.answer["status"]), b"injected", headers))


def _short(status: int, body: bytes, headers: Mapping[str, str] | None = None) -> FileAnswer:
    return FileAnswer(status, len(body), iter((body,)), {"Content-Type": "text/plain", **(headers or {})})


def _part(file: DatastoreFile, wanted: str, rule: Rule | None) -> FileAnswer:
    script: Mapping[str, Any] = rule.answer if rule is not None else {}
    bounds = _bounds(wanted, file.length) if script.get("ranges", True) else None
    start, stop = bounds or (0, file.length)
    if start >= stop:
        raise _Refused(_short(416, b"", {"Content-Range": f"bytes */{file.length}"}))
    headers = {
        "Content-Type": "application/octet-stream",
        "Accept-Ranges": "bytes",
        "Last-Modified": str(script.get("last_modified") or formatdate(file.written, usegmt=True)),
    }
    if bounds is not None:
        headers["Content-Range"] = str(
            script.get("content_range") or f"bytes {start}-{stop - 1}/{file.length}"
        )
    length = stop - start + int(script.get("length_added", 0))
    cut = rule.bytes if rule is not None and rule.action == "cut" else None
    return FileAnswer(
        206 if bounds else 200,
        length,
        _pieces(file, start, stop),
        headers,
        cut,
        float(script.get("rate", 0)),
    )


def _bounds(wanted: str, length: int) -> tuple[int, int] | None:
    """Start and stop of the one range that is asked for; None for the whole file, also where the header is not understood."""
    match = _RANGE.fullmatch(wanted.strip())
    if match is None or match[0] == "bytes=-":
        return None
    if not match[1]:
        return max(0, length - int(match[2])), length
    stop = min(length, int(match[2]) + 1) if match[2] else length
    return int(match[1]), stop


def _pieces(file: DatastoreFile, start: int, stop: int) -> Iterator[bytes]:
    for at in range(start, stop, _STEP):
        yield file.read(at, min(_STEP, stop - at))
