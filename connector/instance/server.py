"""The control port is HTTPS with mutual TLS by uvicorn; a peer without the right role is cut off before its first request."""

from __future__ import annotations

import asyncio
import logging
import socket
import ssl
from functools import partial
from typing import ClassVar, cast

import uvicorn
from starlette.applications import Starlette
from uvicorn.protocols.http.h11_impl import H11Protocol

from connector.errors import TrustFailed
from connector.instance.revoked import Revoked
from connector.managed_server import ManagedServer
from connector.service_manager import ServiceManager
from connector.transfer.certificates import CertificateRole
from connector.transfer.tls import require_role

log = logging.getLogger(__name__)
ALLOWED = (CertificateRole.APPLIANCE, CertificateRole.CONTROL)
CONCURRENCY = 64
KEEPALIVE = 15  # seconds


class RoleProtocol(H11Protocol):
    """HTTP/1.1 for peers whose certificate has an allowed role; `state.role` of a request is this role."""

    revoked: ClassVar[Revoked]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        certificate, name = transport.get_extra_info("peercert"), str(transport.get_extra_info("peername"))
        self._end = partial(self.loop.call_soon_threadsafe, transport.abort)
        try:
            role = require_role(certificate, ALLOWED, name)
            self.revoked.enter(certificate, self._end, name)
        except TrustFailed as error:
            log.warning("control connection refused: %s", error)
            transport.abort()
            return
        self.app_state = {**self.app_state, "role": role}
        super().connection_made(transport)

    def connection_lost(self, exc: Exception | None) -> None:
        self.revoked.leave(self._end)
        super().connection_lost(exc)


class ControlServer(ManagedServer):
    """`run` blocks until `should_exit`; signals stay with the main program."""

    def __init__(
        self,
        application: Starlette,
        tls: ssl.SSLContext,
        listener: socket.socket,
        revoked: Revoked,
        manager: ServiceManager | None = None,
    ) -> None:
        config = uvicorn.Config(
            application,
            log_config=None,
            access_log=False,
            http=type("Protocol", (RoleProtocol,), {"revoked": revoked}),
            ws="none",
            lifespan="off",
            server_header=False,
            timeout_keep_alive=KEEPALIVE,
            limit_concurrency=CONCURRENCY,
            timeout_graceful_shutdown=5,
        )
        config.load()
        config.ssl = tls
        super().__init__(config, manager)
        self._listener = listener

    def serve_until_stopped(self) -> None:
        asyncio.run(self._serve_quietly())

    async def _serve_quietly(self) -> None:
        await cast("asyncio.Future[None]", self._serve([self._listener]))
