"""What can go wrong on the way to a peer, as one of our errors: silence, a refused certificate, an answer of somebody else.

One table for all clients, so that each says the same of the same failure.
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

#: Statuses of something that stands before a server and does not reach it now.
PASSING: Final = frozenset({502, 503, 504})

_ADDRESS: Final = "check host and port: something else answers there"


@dataclass(frozen=True, slots=True)
class Peer:
    """The other side as messages speak of it. `kind` is what its silence is, `trust` and `check` what helps when its
    certificate is refused and when it is silent. `insist`: every foreign answer may be repeated; else those that pass.
    """

    noun: str
    kind: type[ConnectorError]
    trust: str
    check: str = "check that it runs, and the network"
    insist: bool = True


@dataclass(frozen=True, slots=True)
class RequestStage:
    """How far a request had come: the limit that ran, and whether anything of it may have been carried out."""

    limit: float
    sent: bool


def failed(error: Exception, peer: Peer, on: str, at: RequestStage, doubt: str = "") -> ConnectorError:
    """What a socket, TLS or HTTP reported. `doubt`: what to do besides when nobody knows whether it was carried out."""
    if isinstance(error, OtherCertificate):
        return TrustFailed(
            f"{peer.noun} shows another certificate than the pinned one (SHA-256 {error.thumbprint})",
            on=on,
            remedy=peer.trust,
        )
    if isinstance(error, ssl.SSLError) and (distrust := _distrust(error, peer, on)) is not None:
        return distrust
    problem, remedy = _silence(error, at.limit)
    remedy = remedy or peer.check
    return peer.kind(problem, on=on, remedy=f"{remedy}; {doubt}" if doubt and at.sent else remedy)


def foreign(status: int, content_type: str, peer: Peer, on: str) -> ControlFailed:
    """The answer is not one of the API's: a proxy, a balancer or another server gave it. Nothing of it is repeated."""
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
    """What failed, and the remedy where it is not the peer's own."""
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
