"""The HTTPS side: one path takes SOAP calls, others are documents that clients read."""

from __future__ import annotations

import time
from http import HTTPStatus
from typing import cast

from simulator.certificate import Certificate
from simulator.estate.errors import EstateFault
from simulator.https import Answer, Handler, TlsServer
from simulator.vcenter import folder
from simulator.vcenter.dispatch import Caller, Dispatcher, versions_document
from simulator.vcenter.sessions import cookie_in

_SOAP_PATHS = frozenset({"/sdk", "/sdk/", "/sdk/vimService", "/sdk/webService"})


class SoapListener(TlsServer):
    """Serves one dispatcher."""

    def __init__(self, address: tuple[str, int], certificate: Certificate, dispatcher: Dispatcher) -> None:
        self.dispatcher = dispatcher
        super().__init__(address, certificate, _Handler)


class _Handler(Handler):
    server_version = "SimulatedVCenter"

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
        self.send(cast(SoapListener, self.server).dispatcher.answer(body, caller))

    def do_GET(self) -> None:
        """Files of datastores, and the few documents that clients look at."""
        path = self.path.partition("?")[0]
        if path.startswith(folder.ROOT):
            self._folder()
        elif path in ("/sdk/vimServiceVersions.xml", "/sdk//vimServiceVersions.xml"):
            self.send(Answer(200, versions_document()))
        elif path in ("/sdk/vimService.wsdl", "/sdk/vimService"):
            self.send(Answer(200, _WSDL))
        elif path == "/":
            self.send(Answer(200, b"<html><body>Simulated vCenter Server</body></html>", "text/html"))
        else:
            self.send(Answer(404, b"", "text/plain"))

    def do_HEAD(self) -> None:
        """What GET would answer about a file of a datastore, without its bytes."""
        if self.path.startswith(folder.ROOT):
            self._folder()
        else:
            self.refuse(405)

    def _folder(self) -> None:
        center = cast(SoapListener, self.server).dispatcher.center
        cookie, wanted = self.headers.get("Cookie", ""), self.headers.get("Range", "")
        answer = folder.answer(center, self.command, self.path, cookie, wanted)
        self.send_response(answer.status, HTTPStatus(answer.status).phrase)
        for name, value in {"Content-Length": str(answer.length), **answer.headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return
        if not self._poured(answer):
            self.drop()

    def _poured(self, answer: folder.FileAnswer) -> bool:
        """Send the bytes; whether all of them were sent."""
        sent, most = 0, answer.length if answer.cut_after is None else answer.cut_after
        try:
            for piece in answer.pieces:
                part = piece[: most - sent]
                self.wfile.write(part)
                sent += len(part)
                if len(part) < len(piece):
                    return False
                time.sleep(len(part) / answer.rate if answer.rate else 0)
        except (EstateFault, EOFError):  # the file was removed meanwhile
            return False
        return sent == answer.length


_WSDL = (
    b'<?xml version="1.0" encoding="UTF-8"?>\n<definitions targetNamespace="urn:vim25Service"'
    b' xmlns="http://schemas.xmlsoap.org/wsdl/"><import location="vim.wsdl" namespace="urn:vim25"/>'
    b"</definitions>"
)
