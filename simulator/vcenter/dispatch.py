"""One SOAP request to one SOAP answer: decode, find session and object, consult the fault rules, check,
call, encode.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from simulator.faults import Rule
from simulator.https import Answer
from simulator.vcenter import decode, service
from simulator.vcenter.api import (
    ManagedObject,
    fields_of,
    method_named,
    support,
    type_named,
    vim,
    vmodl,
)
from simulator.vcenter.center import Center
from simulator.vcenter.encode import Encoder, Typed, escape, octets
from simulator.vcenter.failures import as_fault, fault_named
from simulator.vcenter.kinds import Call, Target
from simulator.vcenter.paths import invalid
from simulator.vcenter.sessions import COOKIE, Session, set_cookie

_START = (
    '<?xml version="1.0" encoding="UTF-8"?>\n<soapenv:Envelope'
    ' xmlns:soapenc="http://schemas.xmlsoap.org/soap/encoding/"'
    ' xmlns:soapenv="http://schemas.xmlsoap.org/soap/envelope/"'
    ' xmlns:xsd="http://www.w3.org/2001/XMLSchema" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">'
    "\n<soapenv:Body>\n"
)
_END = "\n</soapenv:Body>\n</soapenv:Envelope>"
# Before login a client may ask only these.
_PUBLIC = frozenset({"RetrieveServiceContent", "Login", "CloneSession", "Logout"})
_CHECKED_BY_METHOD = frozenset({"RetrieveProperties", "RetrievePropertiesEx", "ContinueRetrievePropertiesEx"})


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request: cookie, address, user agent and the SOAPAction header."""

    cookie: str | None = None
    address: str = ""
    agent: str = ""
    action: str = ""


@lru_cache(maxsize=64)
def encoder_for(action: str) -> Encoder:
    """The encoder for the API version in a SOAPAction header; the server's own for newer and unknown ones."""
    text = action.strip().strip('"').removeprefix("urn:")
    version = support.versionMap.get(text, service.VERSION)
    if not support.IsChildVersion(service.VERSION, version):
        version = service.VERSION
    return Encoder(version)


class Dispatcher:
    """Answers requests for one Center. Thread-safe."""

    def __init__(self, center: Center) -> None:
        self.center = center

    def answer(self, document: bytes, caller: Caller) -> Answer:
        """The answer to one POST. It never raises: every failure becomes a fault."""
        encoder = encoder_for(caller.action)
        rule: Rule | None = None
        try:
            request = decode.request(document)
            rule = self._consult(request)
            if rule is not None and rule.action == "answer":
                return _scripted(rule)
            return self._call(request, caller, encoder, _cut(rule))
        except decode.Malformed as error:
            return _fault(encoder, fault_named("InvalidRequest", str(error)), _cut(rule))
        except Exception as error:  # noqa: BLE001 - the outermost handler of a request: every failure is an answer
            return _fault(encoder, as_fault(error), _cut(rule))

    def _consult(self, request: decode.Request) -> Rule | None:
        rule = self.center.estate.faults.consult(request.method, request.moref)
        if rule is not None and rule.seconds:
            time.sleep(rule.seconds)
        if rule is not None and rule.action == "fault":
            raise fault_named(rule.fault, rule.message, **rule.details)
        return rule

    def _call(self, request: decode.Request, caller: Caller, encoder: Encoder, cut: int | None) -> Answer:
        center = self.center
        session = center.sessions.find(caller.cookie)
        if session is not None:
            center.sessions.begin_call(session)
        try:
            target = self._target(request, session)
            call = Call(
                center, session, request.method, target, request.arguments, caller.address, caller.agent
            )
            body = self._invoke(call, encoder)
        finally:
            if session is not None:
                center.sessions.end_call(session)
        headers = {"Set-Cookie": set_cookie(call.cookies[COOKIE])} if COOKIE in call.cookies else {}
        text = f'{_START}<{request.method}Response xmlns="urn:vim25">{body}</{request.method}Response>{_END}'
        return Answer(200, octets(text), headers=headers, cut_after=cut)

    def _target(self, request: decode.Request, session: Session | None) -> Target:
        try:
            kind = type_named(request.type_name.rpartition(":")[2]) if request.type_name else ManagedObject
        except KeyError:
            raise decode.Malformed(f"unknown type {request.type_name}") from None
        reference = kind(request.moref)
        public = request.method in _PUBLIC or request.method in _CHECKED_BY_METHOD
        if session is None and not public:
            raise vim.fault.NotAuthenticated(
                object=reference, privilegeId="System.View", msg="The session is not authenticated."
            )
        return self.center.locate(reference)

    def _invoke(self, call: Call, encoder: Encoder) -> str:
        if call.method == "Fetch":
            return self._fetch(call, encoder)
        handler = call.target.kind.methods.get(call.method)
        info = method_named(call.method)
        if info is None or not issubclass(call.target.kind.type, info.type):
            raise vmodl.fault.MethodNotFound(
                receiver=call.target.reference,
                method=call.method,
                msg=f"The method {call.method} is not found on {call.target.kind.name}.",
            )
        if handler is None:
            raise vmodl.fault.NotSupported(msg=f"The simulator does not support {call.method}.")
        if info.privId and call.session is not None and info.privId not in _NEVER_CHECKED:
            self.center.authority.demand(call.session, call.target, info.privId)
        return encoder.element("returnval", handler(call), info.result)

    def _fetch(self, call: Call, encoder: Encoder) -> str:
        name = call["prop"] or ""
        declared = fields_of(call.target.kind.type).get(name)
        if declared is None:
            raise invalid(name)
        self.center.authority.demand(call.session, call.target, "System.Read")
        value = self.center.read(call.target, name, call.session)
        return encoder.element("returnval", Typed(value, declared.type), object)


_NEVER_CHECKED = frozenset({"System.Anonymous"})


def _cut(rule: Rule | None) -> int | None:
    return rule.bytes if rule is not None and rule.action == "cut" else None


def _scripted(rule: Rule) -> Answer:
    """An answer that a rule wrote: `status`, `body`, `contentType`; by default an HTML page with status
    503.
    """
    known = rule.answer
    body = str(known.get("body", "<html><body><h1>503 Service Unavailable</h1></body></html>"))
    kind = str(known.get("contentType", "text/html"))
    return Answer(int(known.get("status", 503)), body.encode(), kind)


def _fault(encoder: Encoder, fault: Any, cut: int | None) -> Answer:
    text = (
        f"{_START}<soapenv:Fault><faultcode>ServerFaultCode</faultcode>"
        f"<faultstring>{escape(fault.msg or '')}</faultstring>"
        f"<detail>{encoder.fault_detail(fault)}</detail></soapenv:Fault>{_END}"
    )
    return Answer(500, text.encode(errors="replace"), cut_after=cut)


def versions_document() -> bytes:
    """`vimServiceVersions.xml`: the API versions of this server, newest first."""
    own = support.versionIdMap[service.VERSION]
    older = [
        known.partition("/")[2]
        for known, version in support.versionMap.items()
        if known.startswith("vim25/")
        and version != service.VERSION
        and support.IsChildVersion(service.VERSION, version)
    ]
    listed = "".join(f"<version>{name}</version>" for name in sorted(older, key=_order, reverse=True))
    text = (
        '<?xml version="1.0" encoding="UTF-8"?>\n<namespaces version="1.0"><namespace><name>urn:vim25</name>'
        f"<version>{own}</version><priorVersions>{listed}</priorVersions></namespace></namespaces>"
    )
    return text.encode()


def _order(version: str) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in version.split("."))
