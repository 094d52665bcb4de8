"""The HTTPS side: one path takes SOAP calls, others are documents that clients read."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

from simulator.certificate import Certificate
from simulator.https import Answer, TlsServer
from simulator.vcenter import folder
from simulator.vcenter.center import Center
from simulator.vcenter.dispatch import Caller, Dispatcher, versions_document
from simulator.vcenter.host_folders import FolderHandler
from simulator.vcenter.sessions import cookie_in

_SOAP_PATHS = frozenset({"/sdk", "/sdk/", "/sdk/vimService", "/sdk/webService"})


class SoapListener(TlsServer):
    """Serves one dispatcher."""

    def __init__(self, address: tuple[str, int], certificate: Certificate, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher
        super().__init__(address, certificate, _Handler)


class _Handler(FolderHandler):
    server_version = "SimulatedVCenter"

    @property
    def center(self) -> Center:
        return cast(SoapListener, self.server).dispatcher.center

    def do_POST(self) -> None:
        """A SOAP call."""
        body = self.body()
        if body is None:
            return
        if self.path.partition("?")[0] not in _SOAP_PATHS:
            self.send(Answer(404, b"", "text/plain"))
            return
        caller = Caller(
            cookie_in(self.headers.get("Cookie", "")),
            str(self.client_address[0]),
            self.headers.get("User-Agent", ""),
            self.headers.get("SOAPAction", ""),
        )
        answer = cast(SoapListener, self.server).dispatcher.answer(body, caller)
        self.send(replace(answer, chunked=self.center.options.chunked))

    def do_GET(self) -> None:
        """Files of datastores, and the few documents that clients look at."""
        path = self.path.partition("?")[0]
        if path.startswith(folder.ROOT):
            self.serve_folder()
        elif path in ("/sdk/vimServiceVersions.xml", "/sdk//vimServiceVersions.xml"):
            self.send(Answer(200, versions_document()))
        elif path in ("/sdk/vimService.wsdl", "/sdk/vimService"):
            self.send(Answer(200, _WSDL))
        elif path == "/":
            self.send(Answer(200, b"<html><body>Simulated vCenter Server</body></html>", "text/html"))
        else:
            self.send(Answer(404, b"", "text/plain"))


_WSDL = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<definitions targetNamespace="urn:vim25Service"'
    b' xmlns="http://schemas.xmlsoap.org/wsdl/"><import location="vim.wsdl" namespace="urn:vim25"/>'
    b"</definitions>"
)
