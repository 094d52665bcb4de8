"""Delivers notifications as plain text by SMTP, with STARTTLS or TLS. Headers have one line, whatever a machine is called."""

from __future__ import annotations

import email.policy
import email.utils
import errno
import json
import smtplib
import ssl
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from email.message import EmailMessage
from typing import Any, BinaryIO, Final

from connector.clients import posting
from connector.clients.trust import OtherCertificate
from connector.control.domain.clock import Clock
from connector.control.notifications.outcome import AttemptOutcome
from connector.control.notifications.settings import MailSection
from connector.control.store.notifications import Delivery
from connector.errors import ConnectorError
from connector.names import visible

PRODUCT: Final = "connector"
#: Seconds: of silence, and for all of one delivery.
_SILENCE: Final = 15.0
_WHOLE: Final = 60.0
#: Bytes of all that a mail server says in one delivery, at most.
_LARGEST: Final = 64 << 10
#: Characters of the subject, at most.
_SUBJECT: Final = 180
#: Seconds after a refused password: accounts lock.
_LOCKED: Final = 900.0


class Mail:
    """One mail recipient of the settings."""

    def __init__(self, section: MailSection, clock: Clock = time.time) -> None:
        self._section, self._clock = section, clock
        self.name = section.name

    def deliver(self, delivery: Delivery) -> AttemptOutcome:
        """One attempt: the message is delivered when the server has taken it for at least one mailbox."""
        on = self._section.shown
        try:
            message = compose(self._section, delivery)
            with _session(self._section) as server:
                server.send_message(message, self._section.sender, list(self._section.to))
        except smtplib.SMTPAuthenticationError as refused:
            return AttemptOutcome(
                f"{on}: it refused the login ({refused.smtp_code})", silent=True, rest=_LOCKED
            )
        except smtplib.SMTPRecipientsRefused as refused:
            codes = sorted({code for code, _ in refused.recipients.values()})
            return AttemptOutcome(
                f"{on}: it refused every mailbox ({', '.join(map(str, codes))})",
                final=min(codes, default=0) >= 500,
            )
        except smtplib.SMTPResponseException as refused:
            return AttemptOutcome(f"{on}: it answered {refused.smtp_code}", final=refused.smtp_code >= 500)
        except OtherCertificate as other:
            return AttemptOutcome(
                f"{on}: it shows another certificate (SHA-256 {other.thumbprint}) than the pinned one",
                silent=True,
            )
        except smtplib.SMTPNotSupportedError:
            return AttemptOutcome(f"{on}: it offers no STARTTLS, or no login", silent=True)
        except (OSError, smtplib.SMTPException, UnicodeError) as failed:
            return AttemptOutcome(f"{on}: {_why(failed)}", silent=True)
        except ConnectorError as failed:
            return AttemptOutcome(str(failed), silent=True)
        return AttemptOutcome()


def compose(section: MailSection, delivery: Delivery) -> EmailMessage:
    """The message. Its Message-ID and date are the same in each attempt."""
    document = json.loads(delivery.document)
    message = EmailMessage(policy=email.policy.SMTP)
    named = f" ({document['untrusted']['name']})" if document["untrusted"]["name"] else ""
    subject = f"[{PRODUCT}] {document['severity']}: {document['title']}{named}"
    message["Subject"] = visible(subject)[:_SUBJECT]
    message["From"] = section.sender
    message["To"] = ", ".join(section.to)
    message["Date"] = email.utils.formatdate(delivery.created)
    message["Message-ID"] = f"<{delivery.notification_id}@{section.sender.rpartition('@')[2]}>"
    message["Auto-Submitted"] = "auto-generated"
    message.set_content(_text(document))
    return message


def _text(document: dict[str, Any]) -> str:
    name, subject = document["untrusted"]["name"], document["subject"]
    lines = [document["title"], "", document["text"]]
    lines += ["", "What to do:", document["remedy"]] if document["remedy"] else []
    lines += ["", f"Severity: {document['severity']}", f"Event:    {document['event']} ({document['phase']})"]
    lines += [f"About:    {subject['kind']} {subject['id']}"]
    lines += [f'Name:     "{name}" (as people wrote it; do not trust it)'] if name else []
    lines += [
        f"Since:    {document['since']}",
        f"Told:     {document['at']}",
        f"Id:       {document['id']}",
        "",
    ]
    return "\n".join(lines)


@contextmanager
def _session(section: MailSection) -> Iterator[smtplib.SMTP]:
    """A server that is trusted, and logged in to. It ends within a minute, whatever the server does."""
    context, begun = section.trust.context(), list[smtplib.SMTP]()

    def abort() -> None:
        for server in begun:
            posting.shut(server.sock)

    with posting.ends_within(_WHOLE, abort):
        server = _connected(section, context, begun.append)
        try:
            server.ehlo_or_helo_if_needed()
            if section.tls == "starttls":
                server.starttls(context=context)
                server.ehlo()
            if isinstance(server.sock, ssl.SSLSocket):
                section.trust.accept(server.sock, section.shown)
            if section.user:
                _log_in(server, section)
            yield server
            with suppress(OSError, smtplib.SMTPException):
                server.quit()
        finally:
            server.close()


def _log_in(server: smtplib.SMTP, section: MailSection) -> None:
    """Once, in the first way that both know: `login` would try a refused password in every way, and accounts lock."""
    server.user, server.password = section.user, section.password()
    offered = server.esmtp_features.get("auth", "").upper().split()
    ways = {"PLAIN": server.auth_plain, "LOGIN": server.auth_login}
    way = next((name for name in ways if name in offered), "")
    if not way:
        raise smtplib.SMTPNotSupportedError
    server.auth(way, ways[way])


def _connected(
    section: MailSection, context: ssl.SSLContext, begin: Callable[[smtplib.SMTP], None]
) -> smtplib.SMTP:
    if section.tls == "tls":
        return _OverTls(section, begin, context)
    return _Plain(section, begin)


class _Bounded(smtplib.SMTP):
    """A mail server of which all answers together are bounded."""

    def getreply(self) -> tuple[int, bytes]:
        if self.file is None and self.sock is not None:
            self.file = _Answers(self.sock.makefile("rb"))
        return super().getreply()


class _Plain(_Bounded):
    """`begin` gets the object before it connects."""

    def __init__(self, section: MailSection, begin: Callable[[smtplib.SMTP], None]) -> None:
        begin(self)
        super().__init__(section.host, section.port_number, timeout=_SILENCE)


class _OverTls(_Bounded, smtplib.SMTP_SSL):
    """The same, with TLS from the first byte."""

    def __init__(
        self, section: MailSection, begin: Callable[[smtplib.SMTP], None], context: ssl.SSLContext
    ) -> None:
        begin(self)
        smtplib.SMTP_SSL.__init__(self, section.host, section.port_number, timeout=_SILENCE, context=context)


class _Answers:
    """Lines of a server, up to a bound."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream, self._left = stream, _LARGEST

    def readline(self, limit: int) -> bytes:
        line = self._stream.readline(limit)
        self._left -= len(line)
        if self._left < 0:
            raise OSError(errno.EFBIG, "its answers are too large")
        return line

    def close(self) -> None:
        self._stream.close()


def _why(failed: Exception) -> str:
    """One line without what the server wrote."""
    if isinstance(failed, ssl.SSLCertVerificationError):
        return f"its certificate is not the trusted one ({failed.verify_message})"
    if isinstance(failed, TimeoutError):
        return f"no answer within {_SILENCE:g} s"
    return f"no answer ({getattr(failed, 'strerror', None) or type(failed).__name__})"
