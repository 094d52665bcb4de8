"""Each recipient has a thread of its own, so a dead one delays neither the others nor the engine."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from connector import backoff
from connector.control.domain.notification_text import document
from connector.control.domain.notifying import elapsed
from connector.control.notifications.mail import Mail
from connector.control.notifications.outcome import PATIENCE, AttemptOutcome, is_hopeless, pause
from connector.control.notifications.settings import AnyRecipient, WebhookSection
from connector.control.notifications.webhook import Webhook
from connector.control.store import Store
from connector.control.store.database import PEERS, DatabaseSilent
from connector.control.store.notifications import Delivery
from connector.errors import ConnectorError
from connector.outages import Outages

_LOG: Final = logging.getLogger(__name__)

#: Seconds for which a delivery is claimed. An attempt has ended before.
LEASE: Final = 180.0
#: Seconds between two looks at the outbox.
POLL: Final = 5.0


class Courier(Protocol):
    """Delivers to one recipient. An attempt ends within a minute or so, and raises nothing of ours."""

    name: str

    def deliver(self, delivery: Delivery) -> AttemptOutcome: ...


def courier(section: AnyRecipient) -> Courier:
    """The one for this kind of recipient."""
    return Webhook(section) if isinstance(section, WebhookSection) else Mail(section)


class Sender:
    """A thread that delivers to one recipient what is due, the most urgent first."""

    def __init__(self, store: Store, to: Courier, lease: float = LEASE, poll: float = POLL) -> None:
        self._store, self._courier, self._lease, self._poll = store, to, lease, poll
        self._outages = Outages(_LOG, PEERS)
        self._wake, self._end = threading.Event(), threading.Event()
        self._silences = 0
        self._thread = threading.Thread(target=self._loop, name=f"notify {to.name}", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def poke(self) -> None:
        """Look now: something was put into the outbox."""
        self._wake.set()

    def close(self) -> None:
        """Stop. It returns at once; an attempt under way may be made again by another process."""
        self._end.set()
        self._wake.set()

    def step(self) -> float:
        """Deliver one notification if one is due; answer the seconds until the next look."""
        outbox = self._store.notifications
        delivery = outbox.claim(self._courier.name, self._lease)
        if delivery is None:
            return self._poll
        outcome = self._courier.deliver(delivery)
        self._silences = self._silences + 1 if outcome.silent else 0
        if not outcome.trouble:
            outbox.sent(delivery)
            return 0.0
        age = elapsed(delivery.created, self._store.now())
        known = age if age != float("inf") else 0.0
        if is_hopeless(outcome, delivery.attempts, known):
            outbox.give_up(delivery, outcome.trouble)
            _LOG.error(
                "notification %s (%s of %s) to %s is given up after %d attempts: %s",
                delivery.notification_id,
                delivery.event,
                delivery.subject,
                delivery.recipient,
                delivery.attempts,
                outcome.trouble,
            )
        else:
            outbox.failed(delivery, outcome.trouble, pause(outcome, delivery.attempts))
            if delivery.attempts == 1:
                _LOG.warning(
                    "a notification to %s failed and is tried again: %s", delivery.recipient, outcome.trouble
                )
        rest = min(outcome.rest, backoff.NOTIFICATION.longest)
        return max(rest, backoff.NOTIFICATION.pause(self._silences)) if outcome.silent else rest

    def _loop(self) -> None:
        while not self._end.is_set():
            wait = self._guarded()
            if wait > self._poll:  # nothing answers: a new notification changes that as little
                self._end.wait(wait)
            elif wait:
                self._wake.wait(wait)
                self._wake.clear()

    def _guarded(self) -> float:
        """One step, and its failure logged: the outermost handler of the thread."""
        try:
            wait = self.step()
            self._outages.heard(DatabaseSilent)
            return wait
        except ConnectorError as failed:
            self._outages.missed(f"notifications to {self._courier.name} wait", failed)
        except Exception:  # noqa: BLE001 - outermost handler of a thread
            _LOG.exception("notifying %s failed unexpectedly; it goes on", self._courier.name)
        return self._poll


class Decider:
    """A thread that decides what is due. It asks the database alone, so it tells also while the runner hangs."""

    def __init__(self, look: Callable[[], int], every: float, then: Callable[[], None]) -> None:
        self._look, self._every, self._then = look, every, then
        self._outages = Outages(_LOG, PEERS)
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="notify", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def close(self) -> None:
        self._end.set()

    def _loop(self) -> None:
        while not self._end.is_set():
            try:
                if self._look():
                    self._then()
                self._outages.heard(DatabaseSilent)
            except ConnectorError as failed:
                self._outages.missed("it is not known which notifications are due", failed)
            except Exception:  # noqa: BLE001 - outermost handler of a thread
                _LOG.exception("deciding on notifications failed unexpectedly; it goes on")
            self._end.wait(self._every)


class Notifier:
    """All of it in one process: decides what is due, and delivers it. Without recipients it does nothing."""

    #: Seconds between two decisions, and between two looks at what is old.
    EVERY: Final = 10.0
    TIDYING: Final = 3600.0

    def __init__(
        self,
        store: Store,
        recipients: tuple[AnyRecipient, ...],
        certificate_ends: float | None = None,
        every: float = EVERY,
        lease: float = LEASE,
    ) -> None:
        self._store, self._ends = store, certificate_ends
        self._filters = [one.filter for one in recipients]
        self._senders = [Sender(store, courier(one), lease, min(POLL, every)) for one in recipients]
        self._decider = Decider(self.decide, every, self._poke)
        self._tidied = float("-inf")

    def start(self) -> None:
        if self._senders:
            self._decider.start()
        for sender in self._senders:
            sender.start()

    def decide(self) -> int:
        """One look; answers how many notifications are new."""
        count = self._store.notifications.decide(self._filters, document, self._ends)
        if time.monotonic() - self._tidied >= self.TIDYING:
            self._tidied = time.monotonic()
            names = [one.name for one in self._filters]
            if abandoned := self._store.notifications.abandon(names, PATIENCE):
                _LOG.error(
                    "%d notifications to recipients that are no longer in the settings are given up",
                    abandoned,
                )
            self._store.notifications.forget()
        return count

    def close(self) -> None:
        self._decider.close()
        for sender in self._senders:
            sender.close()

    def _poke(self) -> None:
        for sender in self._senders:
            sender.poke()
