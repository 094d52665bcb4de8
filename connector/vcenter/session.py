"""A lost session is renewed once for each call, an idle one is kept alive, and a refused login is never tried again."""

from __future__ import annotations

import threading
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar

from connector import pasted
from connector.errors import AuthenticationFailed, ConnectorError, SessionExpired
from connector.settings import VCenterSettings
from connector.vcenter import trust
from connector.vcenter.calls import Care
from connector.vcenter.endpoint import VCenterAddress
from connector.vcenter.faults import not_a_vcenter, translated
from connector.vcenter.stub import BROKEN, Stub
from connector.vcenter.vmomi import support, vim, vmodl

Result = TypeVar("Result")

KEEP_ALIVE = (
    300.0  # idle seconds before a call keeps the session alive; vCenter ends idle sessions after 30 minutes
)


@dataclass(frozen=True, slots=True)
class About:
    """The product, version and identity of a vCenter."""

    name: str
    version: str
    api_version: str
    build: str
    instance_uuid: str
    api_type: str


class Session:
    """One login at one vCenter. Safe to share between threads; use it as a context manager.

    Entering logs in (`TrustFailed`, `AuthenticationFailed`, `Unreachable`, or `VCenterFault` when something
    else listens there). Leaving logs out and stops the keep-alive thread.
    """

    def __init__(
        self,
        settings: VCenterSettings,
        *,
        keep_alive: float = KEEP_ALIVE,
        connection: Callable[..., trust.PinnedConnection] | None = None,
    ) -> None:
        """`connection` replaces `PinnedConnection`, for recording."""
        self._connection = connection
        self.endpoint = VCenterAddress.parse(settings.url)
        self.user = pasted.account(settings.user, str(self.endpoint))
        self.url = settings.url
        self._password = settings.password
        self._trust = trust.VCenterTrust.of(settings.thumbprint, settings.authority)
        self._keep_alive = keep_alive
        self._renewing = threading.RLock()  # guards _generation and _refused, and makes logins one at a time
        self._generation = 0
        self._refused: ConnectorError | None = None
        self._used = time.monotonic()
        self._ended = threading.Event()
        self._keeper: threading.Thread | None = None
        self._certificate = b""
        self._stub: Any = None
        self.content: Any = None

    def __enter__(self) -> Self:
        try:
            with translated(str(self.endpoint)):
                self._stub = Stub(
                    self.endpoint, self._trust, self._negotiate(), self, self._see, self._connection
                )
                self.content = vim.ServiceInstance("ServiceInstance", self._stub).RetrieveContent()
                if self.content is None or self.content.sessionManager is None:
                    raise not_a_vcenter("it offers no session manager", str(self.endpoint))
                self._login()
        except BaseException:
            self._hang_up()
            raise
        self._keeper = threading.Thread(target=self._keep, name=f"keep-alive {self.endpoint}", daemon=True)
        self._keeper.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        if self._keeper is not None:
            self._keeper.join()
        try:
            with translated(str(self.endpoint)):
                self.content.sessionManager.Logout()
        except ConnectorError:
            pass  # the session ends by itself; the caller's own outcome matters more
        finally:
            self._hang_up()

    @property
    def about(self) -> About:
        about = self.content.about
        return About(
            about.fullName,
            about.version,
            about.apiVersion,
            about.build,
            about.instanceUuid or "",
            about.apiType,
        )

    @property
    def cookie(self) -> str:
        """The value of the session cookie. A secret; it changes whenever the session is renewed."""
        with self._renewing:
            return str(self._stub.GetSessionId() or "") if self._stub else ""

    def touch(self) -> None:
        """Make sure that the session lives, by a call that does nothing; renews it when it does not."""
        with translated(str(self.endpoint)):
            vim.ServiceInstance("ServiceInstance", self._stub).CurrentTime()

    def now(self) -> float:
        """Seconds since the epoch by vCenter's clock, which stamps snapshots. Our own clock may differ."""
        with translated(str(self.endpoint)):
            moment = self.managed(vim.ServiceInstance, "ServiceInstance").CurrentTime()
            return float(moment.timestamp())

    @property
    def thumbprint(self) -> str:
        """SHA-1 of the certificate that was verified for this session, in VMware's spelling."""
        return trust.thumbprint(self._certificate) if self._certificate else ""

    @property
    def certificate_ends(self) -> float | None:
        """When the certificate ends that vCenter showed last, in seconds since the epoch; None before the first."""
        return trust.ends(self._certificate) if self._certificate else None

    @property
    def trust(self) -> trust.VCenterTrust:
        """Whom this session believes. Other connections to the same server believe the same."""
        return self._trust

    @property
    def generation(self) -> int:
        """How many logins there were; each object of the property collector belongs to one of them."""
        return self._generation

    def managed(self, kind: Any, moref: str) -> Any:
        """The proxy of a managed object; asks nothing. Read its properties through `properties` only."""
        return kind(moref, self._stub)

    def steadily(self, work: Callable[[], Result]) -> Result:
        """Run `work`, and run it once more when the session was renewed meanwhile."""
        before = self._generation
        try:
            return work()
        except (SessionExpired, vmodl.fault.ManagedObjectNotFound):
            if before == self._generation:
                raise
            return work()

    def attended(self, care: Care, send: Callable[[], Any]) -> Any:
        """Session care around one round trip; see `Care`."""
        self._used = time.monotonic()
        before = self._generation
        try:
            return send()
        except vim.fault.NotAuthenticated:
            if care is Care.OPEN or self._ended.is_set():
                raise
            self._renew(before)
            if care is Care.BOUND:
                raise SessionExpired("the session was renewed", on=str(self.endpoint)) from None
        except BROKEN:
            if care is not Care.READ:
                raise
        return send()

    def _renew(self, before: int) -> None:
        with self._renewing:
            if self._refused is not None:
                raise self._refused
            if self._generation == before:
                self._login()

    def _login(self) -> None:
        with self._renewing:
            self._stub.SetSessionId(None)  # a login under a dead cookie may be refused
            try:
                with translated(f"{self.user} at {self.endpoint}"):
                    self.content.sessionManager.Login(self.user, self._password.get_secret_value())
            except AuthenticationFailed as refused:
                self._refused = refused
                raise
            self._generation += 1

    def _keep(self) -> None:
        while not self._ended.wait(max(0.05, self._used + self._keep_alive - time.monotonic())):
            if time.monotonic() - self._used < self._keep_alive:
                continue
            try:
                self.touch()
            except ConnectorError:
                self._used = time.monotonic()  # the next call meets the failure and reports it

    def _hang_up(self) -> None:
        if self._stub is not None:
            self._stub.DropConnections()

    def _see(self, certificate: bytes) -> None:
        self._certificate = certificate

    def _negotiate(self) -> str:
        """The newest API version that both sides speak, read from the server over a verified connection."""
        offered = _versions(self._ask(f"{self.endpoint.path}/vimServiceVersions.xml"))
        ours: list[str] = [v for v in support.GetServiceVersions("vim25") if v.startswith("vim.version.")]
        for version in ours:
            if support.versionIdMap[version] in offered:
                return version
        raise not_a_vcenter("it offers no version of the vSphere API from 5.5 on", str(self.endpoint))

    def _ask(self, path: str) -> bytes:
        make = self._connection or trust.PinnedConnection
        connection = make(self.endpoint.host, self.endpoint.port, trust=self._trust, seen=self._see)
        try:
            connection.connect()
            connection.request("GET", path)
            answer = connection.getresponse()
            body: bytes = answer.read(1 << 20)
            if answer.status != 200:
                raise not_a_vcenter(f"HTTP {answer.status} for {path}", str(self.endpoint))
            return body
        finally:
            connection.close()


def _versions(document: bytes) -> frozenset[str]:
    """Version ids of "urn:vim25" in vimServiceVersions.xml; empty for another document."""
    try:
        root = ET.fromstring(document)  # noqa: S314 # nosec B314 - a verified peer; expat bounds entities
    except ET.ParseError:
        return frozenset()
    spaces = [space for space in root.iter("namespace") if space.findtext("name") == "urn:vim25"]
    return frozenset(entry.text or "" for space in spaces for entry in space.iter("version"))
