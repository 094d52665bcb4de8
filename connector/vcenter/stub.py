"""Each SOAP call is one round trip on a verified connection, and only calls of the table `CALLS` are sent."""

from __future__ import annotations

import io
import select
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException, IncompleteRead
from http.cookies import CookieError, SimpleCookie
from typing import Any, Final, NoReturn, Protocol, TypeVar
from xml.parsers.expat import ErrorString, ExpatError, errors

from connector.errors import NotPermitted, VCenterFault
from connector.vcenter import trust
from connector.vcenter.bodies import PACKINGS, Body
from connector.vcenter.calls import CALLS, Care
from connector.vcenter.endpoint import VCenterAddress
from connector.vcenter.reading import value_of
from connector.vcenter.vmomi import SoapStubAdapter, plain, vim, vmodl

Result = TypeVar("Result")

LARGEST_VALUE = 256 << 20  # bytes of an answer whose value is made whole
_LONGEST_FAULT = 4 << 20  # bytes
_IDLE = 25  # seconds that a pooled connection may rest; later a proxy may have closed it silently

_ENDED: Final = (errors.XML_ERROR_NO_ELEMENTS, errors.XML_ERROR_UNCLOSED_TOKEN, errors.XML_ERROR_PARTIAL_CHAR)


class SessionCare(Protocol):
    """The owner of the session decides what follows a failed call."""

    def attended(self, care: Care, send: Callable[[], Any]) -> Any: ...


class Stub(SoapStubAdapter):
    """pyVmomi's transport on verified connections. Thread-safe: each call takes a connection of its own."""

    def __init__(
        self,
        endpoint: VCenterAddress,
        confidence: trust.VCenterTrust,
        version: str,
        care: SessionCare,
        seen: Callable[[bytes], None],
        connection: Callable[..., trust.PinnedConnection] | None = None,
    ) -> None:
        plain.__init__(
            self,
            host=endpoint.host,
            port=endpoint.port,
            path=endpoint.path,
            version=version,
            poolSize=8,
            connectionPoolTimeout=_IDLE,
        )
        self._endpoint = endpoint
        self._confidence = confidence
        self._care = care
        self._seen = seen
        self._connection = connection

    def GetConnection(self) -> Any:
        """A pooled connection that is still alive, or a new one whose peer has been verified."""
        while (rested := self._rested()) is not None:
            if not _hung_up(rested):
                return rested
            rested.close()
        make = self._connection or trust.PinnedConnection
        fresh = make(self._endpoint.host, self._endpoint.port, trust=self._confidence, seen=self._seen)
        fresh.connect()
        return fresh

    def _rested(self) -> Any:
        with self.lock:
            plain._CloseIdleConnections(self)
            return self.pool.pop(0)[0] if self.pool else None

    def InvokeMethod(self, mo: Any, info: Any, args: Any, outerStub: Any = None) -> Any:
        """Send one call of the table; raises pyVmomi's faults, `OSError` and `HTTPException` as they come."""
        care = CALLS.get(info.wsdlName)
        if care is None:
            raise NotPermitted(
                f"the connector never calls {info.wsdlName}",
                on=str(self._endpoint),
                remedy="report it: this is a defect",
            )

        def take(body: Any, packed: bool) -> Any:
            return value_of(
                Body(body, packed=packed, most=LARGEST_VALUE).read, info.result, outerStub or self
            )

        def send() -> Any:
            with _whole():
                return _authenticated(self._exchange(mo, info, args, take))

        return self._care.attended(care, send)

    def stream(self, mo: Any, name: str, args: list[Any], take: Callable[[Any, bool], Result]) -> Result:
        """Send one call of the table and let `take` read the answer's body: a stream, and whether it is compressed.

        `take` runs again, from the beginning, when the care repeats the call. Raises like `InvokeMethod`.
        """

        def send() -> Result:
            with _whole():
                return self._exchange(mo, type(mo)._methodInfo[name], args, take)

        answer: Result = self._care.attended(CALLS[name], send)
        return answer

    def _exchange(self, mo: Any, info: Any, args: Any, take: Callable[[Any, bool], Result]) -> Result:
        connection = self.GetConnection()
        try:
            body = plain.SerializeRequest(self, mo, info, args)
            headers = {
                "Cookie": self.cookie,
                "SOAPAction": self.versionId,
                "Accept-Encoding": "gzip, deflate",
                "Content-Type": "text/xml; charset=UTF-8",
                "User-Agent": "connector",
            }
            connection.request("POST", self.path, body, headers)
            answer = connection.getresponse()
            self._keep_cookie(answer.getheader("Set-Cookie"))
            packed = (answer.getheader("Content-Encoding") or "").strip().lower() in PACKINGS
            if answer.status == 500:
                _raise_fault(answer, packed, info, self)
            if answer.status != 200:
                raise HTTPException(f"{answer.status} {answer.reason}")
            value = take(answer, packed)
            _drain(answer)
        except vmodl.MethodFault:
            _drain(answer)
            plain.ReturnConnection(self, connection)
            raise
        except BaseException:
            connection.close()
            raise
        plain.ReturnConnection(self, connection)
        return value

    def _keep_cookie(self, cookie: str | None) -> None:
        """Keep the cookie of a login. pyVmomi reads the session's id from it."""
        if not cookie:
            return
        self.cookie = cookie
        with suppress(CookieError):
            morsel = SimpleCookie(cookie).get("vmware_soap_session")
            if morsel is not None:
                self.sessionId = morsel.value


def _raise_fault(answer: Any, packed: bool, info: Any, stub: Any) -> NoReturn:
    """Raise the SOAP fault of an answer with status 500. Anything else with that status does not come from a vCenter."""
    content = answer.read(_LONGEST_FAULT)
    if len(content) < _LONGEST_FAULT and answer.length:
        raise IncompleteRead(content, answer.length)
    document = io.BytesIO(content)
    try:
        value_of(Body(document, packed=packed, most=_LONGEST_FAULT).read, info.result, stub)
    except (ExpatError, ConnectionResetError, VCenterFault) as odd:
        raise HTTPException(f"{answer.status} {answer.reason}") from odd
    raise HTTPException(f"{answer.status} {answer.reason}, without a fault")


def _drain(answer: Any) -> None:
    """Read what follows the document, so that the connection can be used again; only a little may follow."""
    if answer.read(_LONGEST_FAULT) and answer.read(1):
        raise HTTPException("an answer goes on behind its end")


def _authenticated(answer: Any) -> Any:
    """The answer. Without a session a property collector may answer and put the fault into it, which is raised here."""
    for entry in getattr(answer, "objects", None) or ():
        for missing in entry.missingSet or ():
            if isinstance(missing.fault, vim.fault.NotAuthenticated):
                raise missing.fault
    return answer


@contextmanager
def _whole() -> Iterator[None]:
    """Turn the parser's error about an answer that ended early into an error of the connection."""
    try:
        yield
    except ExpatError as error:
        if ErrorString(error.code) in _ENDED:
            raise ConnectionResetError(f"the answer ended early ({error})") from None
        raise


def _hung_up(connection: Any) -> bool:
    """Whether the peer closed a resting connection: then it is readable although no call was sent."""
    sock = connection.sock
    if sock is None:
        return True
    resting = select.poll()
    try:
        resting.register(sock, select.POLLIN)
        return bool(resting.poll(0))
    except (OSError, ValueError):
        return True


BROKEN = (ConnectionError, HTTPException)
"""The errors of a connection that broke during a call."""
