"""Every failure on the way to a peer becomes one of our errors here, so that all clients report the same failure alike.

A failure is silence, a refused certificate, or an answer of another server.
"""

from __future__ import annotations

import http.client
import socket
import ssl
from dataclasses import dataclass
from typing import Final

from connector import bounded
from connector.clients.trust import OtherCertificate
from connector.errors import ConnectorError, ControlFailed, TrustFailed

#: Statuses of a proxy that does not reach its server now.
PASSING: Final = frozenset({502, 503, 504})

_ADDRESS: Final = "check host and port: something else answers there"


@dataclass(frozen=True, slots=True)
class Peer:
    """The words for the other side. `kind`: the error for its silence. `trust`: the remedy for a refused certificate.
    `check`: the remedy for silence. `insist`: repeat after every foreign answer, not only after those that pass.
    """

    noun: str
    kind: type[ConnectorError]
    trust: str
    check: str = "check that it runs, and the network"
    insist: bool = True


@dataclass(frozen=True, slots=True)
class RequestStage:
    """How far a request was: the limit that was running, and whether it may have been carried out."""

    limit: float
    sent: bool


def failed(error: Exception, peer: Peer, on: str, at: RequestStage, doubt: str = "") -> ConnectorError:
    """The error for a failure of socket, TLS or HTTP. `doubt`: a remedy if the request may have been carried out."""
    if isinstance(error, OtherCertificate):
        return TrustFailed(
            f"{peer.noun} shows another certificate (SHA-256 {error.thumbprint}) than the pinned one ({error.pinned})",
            on=on,
            remedy=peer.trust,
        )
    if isinstance(error, ssl.SSLError) and (distrust := _distrust(error, peer, on)) is not None:
        return distrust
    problem, remedy = _silence(error, at.limit)
    remedy = remedy or peer.check
    return peer.kind(problem, on=on, remedy=f"{remedy}; {doubt}" if doubt and at.sent else remedy)


def foreign(status: int, content_type: str, peer: Peer, on: str) -> ControlFailed:
    """The error for an answer that is not the API's, but a proxy's or another server's. It is not repeated."""
    kind = content_type.partition(";")[0].strip() or "nothing"
    return ControlFailed(
        f"it answered {status} with {kind[:40]} instead of the API's JSON",
        on=on,
        remedy="check the address: another server, or a proxy, answers there",
        retryable=peer.insist or status in PASSING,
    )


def _distrust(error: ssl.SSLError, peer: Peer, on: str) -> TrustFailed | None:
    reason = _reason(error)
    if isinstance(error, ssl.SSLCertVerificationError):
        why = error.verify_message or reason
        if "expired" in why or "not yet valid" in why:
            remedy = "renew it, or set the clock of this machine"
            return TrustFailed(f"the certificate of {peer.noun} is out of date ({why})", on=on, remedy=remedy)
        problem = f"the certificate of {peer.noun} is not the trusted one ({why})"
        return TrustFailed(problem, on=on, remedy=peer.trust)
    if "alert" in reason and ("certificate" in reason or "unknown ca" in reason):
        return TrustFailed(f"{peer.noun} refuses our certificate ({reason})", on=on, remedy=peer.trust)
    return None


def _silence(error: Exception, limit: float) -> tuple[str, str]:
    """What failed, and the remedy if it differs from the peer's."""
    if isinstance(error, ssl.SSLError):
        return _broken_tls(error)
    if isinstance(error, bounded.Unending | bounded.TooLarge):
        return str(error.strerror), _ADDRESS
    if isinstance(error, http.client.RemoteDisconnected):
        return "it hung up without an answer", ""
    if isinstance(error, http.client.IncompleteRead):
        return "it hung up in the middle of its answer", ""
    if isinstance(error, http.client.HTTPException):
        return f"it does not speak HTTP ({type(error).__name__})", _ADDRESS
    if isinstance(error, socket.gaierror | UnicodeError):
        why = getattr(error, "strerror", None) or "no name of a host"
        return f"no answer ({why})", "check the name in the address, and name resolution"
    if isinstance(error, TimeoutError) and not error.strerror:
        return f"no answer within {limit:g} s", ""
    return f"no answer ({getattr(error, 'strerror', None) or type(error).__name__})", ""


def _broken_tls(error: ssl.SSLError) -> tuple[str, str]:
    reason = _reason(error)
    if isinstance(error, ssl.SSLEOFError | ssl.SSLZeroReturnError) or "eof" in reason:
        return "it hung up in the middle of TLS", ""
    if reason in ("wrong version number", "http request", "unknown protocol", "packet length too long"):
        return "it does not speak TLS", _ADDRESS
    return f"TLS failed ({reason})", ""


def _reason(error: ssl.SSLError) -> str:
    return (error.reason or type(error).__name__).replace("_", " ").lower()
