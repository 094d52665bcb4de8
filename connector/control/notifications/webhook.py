"""Delivers notifications by POST, with a signature over time and body. The body is the same in each attempt."""

from __future__ import annotations

import hashlib
import hmac
import time
from typing import Final

from connector import __version__
from connector.clients import posting
from connector.clients.failures import Peer
from connector.control.domain.clock import Clock
from connector.control.notifications.outcome import AttemptOutcome, RecipientSilent, retry_after
from connector.control.notifications.settings import WebhookSection
from connector.control.store.notifications import Delivery
from connector.errors import ConnectorError

SIGNATURE: Final = "Connector-Signature"
TIMESTAMP: Final = "Connector-Timestamp"
ID: Final = "Connector-Notification"

_PEER: Final = Peer(
    "the webhook",
    RecipientSilent,
    "compare the thumbprint, or name the authority that signed its certificate",
)
#: Refusals that pass.
_PASSING: Final = (408, 425, 429)


class Webhook:
    """One webhook of the settings."""

    def __init__(self, section: WebhookSection, clock: Clock = time.time) -> None:
        self._section, self._clock = section, clock
        self.name = section.name

    def deliver(self, delivery: Delivery) -> AttemptOutcome:
        """One attempt. A 2xx means that the recipient has it."""
        body = delivery.document.encode()
        stamp = str(int(self._clock()))
        try:
            headers = {
                "Content-Type": "application/json",
                "User-Agent": f"connector/{__version__}",
                ID: delivery.notification_id,
                TIMESTAMP: stamp,
                SIGNATURE: f"v1={signature(self._section.key(), stamp, body)}",
            }
            to = self._section.address
            answer = posting.post(to, headers, body, self._section.trust, _PEER)
        except ConnectorError as failed:
            return AttemptOutcome(str(failed), silent=True)
        if 200 <= answer.status < 300:
            return AttemptOutcome()
        final = answer.status < 500 and answer.status not in _PASSING
        rest = retry_after(answer.headers.get("retry-after", ""), self._clock())
        return AttemptOutcome(f"{to.shown}: it answered {answer.status}", final=final, rest=rest)


def signature(key: bytes, timestamp: str, body: bytes) -> str:
    """HMAC-SHA256 in hex over the timestamp, a dot, and the body."""
    return hmac.new(key, timestamp.encode() + b"." + body, hashlib.sha256).hexdigest()
