"""Webhooks and mail over real sockets: signed, over TLS that is verified, within bounds, and without a secret anywhere."""

from __future__ import annotations

import contextlib
import json
import logging
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any, Final

import pytest

from connector.clients import posting
from connector.control import configuration
from connector.control.notifications import mail as mail_module
from connector.control.notifications.mail import Mail, compose
from connector.control.notifications.outcome import (
    PATIENCE,
    REFUSALS,
    AttemptOutcome,
    is_hopeless,
    pause,
    retry_after,
)
from connector.control.notifications.settings import AnyRecipient, MailSection, WebhookSection, check_secrets
from connector.control.notifications.webhook import ID, SIGNATURE, TIMESTAMP, Webhook, signature
from connector.control.store.notifications import LONGEST_PAUSE, Delivery, DeliveryState, MessagePhase
from connector.errors import BadInput
from tests.clients.wire import (
    Listening,
    Server,
    answer,
    certificate,
    raw,
    serving,
    silent,
    thumbprint,
    without_end,
)
from tests.control.mail_server import MailServer
from tests.control.test_configuration import written

KEY: Final = "a-key-of-a-signature-0123456789"
PASSWORD: Final = "the-password-of-the-mailer"
NOW: Final = 1_790_000_000.0


def delivery(name: str = "web-01") -> Delivery:
    body = {
        "version": 1,
        "id": "n-0123456789",
        "event": "source-down",
        "phase": "raised",
        "severity": "critical",
        "title": "SOURCE IS DOWN longer than forecast",
        "text": "The source of job j-1 is down for 2 h.",
        "remedy": "Resume it.",
        "at": "2026-09-21T14:13:20Z",
        "since": "2026-09-21T14:13:20Z",
        "subject": {"kind": "job", "id": "j-1"},
        "workgroup": None,
        "figures": {"down_seconds": 7200.0},
        "untrusted": {"name": name},
    }
    return Delivery(
        "n-0123456789",
        "ops",
        "source-down",
        "j-1",
        MessagePhase.RAISED,
        DeliveryState.PENDING,
        NOW,
        1,
        NOW,
        "",
        None,
        json.dumps(body),
    )


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "webhook.secret"
    file.write_text(KEY + "\n")
    file.chmod(0o600)
    return file


@pytest.fixture
def server_file(tmp_path: Path) -> Path:
    return certificate(tmp_path)


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Bounds that a test can wait for."""
    monkeypatch.setattr(
        posting, "LIMITS", posting.RequestLimits(connect=1.0, silence=0.5, whole=1.0, largest=1 << 16)
    )
    monkeypatch.setattr(posting, "LONGEST", 1.5)
    monkeypatch.setattr(mail_module, "_SILENCE", 0.5)
    monkeypatch.setattr(mail_module, "_WHOLE", 1.5)


def webhook(secret: Path, url: str, **more: Any) -> Webhook:
    section = WebhookSection.model_validate(
        {"kind": "webhook", "name": "ops", "url": url, "secret_file": secret} | more
    )
    return Webhook(section, lambda: NOW)


def _parsed(request: bytes) -> tuple[str, dict[str, str], bytes]:
    head, _, body = request.partition(b"\r\n\r\n")
    first, *lines = head.decode().split("\r\n")
    return first, dict(line.split(": ", 1) for line in lines), body


def test_a_notification_arrives_signed_over_pinned_tls(secret: Path, server_file: Path) -> None:
    with Listening(serving(server_file)) as server:
        server.answers = [answer(204, b"")]
        url = f"{server.url}/hook?token=in-the-url"
        assert (
            webhook(secret, url, thumbprint=thumbprint(server_file)).deliver(delivery()) == AttemptOutcome()
        )
    first, headers, body = _parsed(server.asked[0])
    assert first == "POST /hook?token=in-the-url HTTP/1.1"
    assert json.loads(body)["id"] == headers[ID] == "n-0123456789"
    assert headers[TIMESTAMP] == str(int(NOW)) and headers["Content-Type"] == "application/json"
    assert headers[SIGNATURE] == f"v1={signature(KEY.encode(), headers[TIMESTAMP], body)}"


def _examples() -> dict[str, str]:
    """The programs of docs/notifications.md, by their language."""
    page = (Path(__file__).parents[2] / "docs" / "notifications.md").read_text()
    blocks = page.split("```")[1::2]
    return {
        block.partition("\n")[0]: block.partition("\n")[2]
        for block in blocks
        if "Connector-Signature" in block
    }


@pytest.mark.parametrize("changed", [False, True])
def test_the_examples_of_the_document_verify_a_signature(secret: Path, tmp_path: Path, changed: bool) -> None:
    body = delivery("évil \u202e").document.encode()
    stamp = str(int(time.time()))
    signed = f"v1={signature(KEY.encode(), stamp, body)}"
    received = body + b" " if changed else body
    space: dict[str, Any] = {}
    exec(_examples()["python"], space)
    assert space["is_genuine"](KEY.encode(), {TIMESTAMP: stamp, SIGNATURE: signed}, received) is not changed
    old = {TIMESTAMP: "1000", SIGNATURE: f"v1={signature(KEY.encode(), '1000', body)}"}
    assert not space["is_genuine"](KEY.encode(), old, body)
    (tmp_path / "body").write_bytes(received)
    script = _examples()["sh"]
    words = ["sh", "-c", script, "verify", stamp, signed, str(tmp_path / "body"), str(secret)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode == 0) is not changed, done.stderr


def test_another_certificate_than_the_pinned_one_gets_nothing(
    secret: Path, server_file: Path, tmp_path: Path
) -> None:
    other = certificate(tmp_path)
    with Listening(serving(server_file)) as server:
        server.answers = [answer(204, b"")]
        for trust in ({"thumbprint": thumbprint(other)}, {"authority": other}, {}):
            outcome = webhook(secret, server.url, **trust).deliver(delivery())
            assert "certificate" in outcome.trouble and outcome.silent
        assert server.asked == []
        assert webhook(secret, server.url, authority=server_file).deliver(delivery()) == AttemptOutcome()


@pytest.mark.parametrize(
    ("status", "final"),
    [
        (200, None),
        (202, None),
        (301, True),
        (307, True),
        (400, True),
        (404, True),
        (408, False),
        (429, False),
        (503, False),
    ],
)
def test_an_answer_says_whether_trying_again_may_help(
    secret: Path, server_file: Path, status: int, final: bool | None
) -> None:
    with Listening(serving(server_file)) as elsewhere, Listening(serving(server_file)) as server:
        elsewhere.answers = [answer(204, b"")]
        server.answers = [answer(status, b"x", "text/html", f"Location: {elsewhere.url}/")]
        outcome = webhook(secret, server.url, thumbprint=thumbprint(server_file)).deliver(delivery())
        assert (None if not outcome.trouble else outcome.final) == final
        assert elsewhere.asked == []  # no redirect is followed


def test_what_a_recipient_asks_for_is_bounded() -> None:
    assert pause(AttemptOutcome("x", rest=60.0), 1) == 60.0
    assert pause(AttemptOutcome("x", rest=1e9), 1) == LONGEST_PAUSE
    assert pause(AttemptOutcome("x"), 1) <= 5.0 and pause(AttemptOutcome("x"), 40) <= 900.0
    assert retry_after("120", NOW) == 120.0
    assert retry_after("Mon, 21 Sep 2026 14:14:20 GMT", NOW) == 60.0
    assert [retry_after(text, NOW) for text in ("", "-5", "soon", "٣", "9" * 400)][:4] == [0.0] * 4
    assert retry_after("9" * 400, NOW) < 1e10


def test_what_is_refused_is_given_up_soon_and_silence_after_a_day() -> None:
    refused, down = AttemptOutcome("404", final=True), AttemptOutcome("no answer", silent=True)
    assert not is_hopeless(refused, REFUSALS - 1, 60.0) and is_hopeless(refused, REFUSALS, 60.0)
    assert not is_hopeless(down, 500, PATIENCE - 1) and is_hopeless(down, 500, PATIENCE)


@pytest.mark.parametrize(
    "say",
    [silent, without_end(b"x" * 10, 0.05), without_end(b"x" * 65536, 0.0), raw(b"garbage\r\n\r\n"), raw(b"")],
    ids=["silent", "slow", "large", "garbage", "hangs up"],
)
@pytest.mark.parametrize("tls", [True, False], ids=["https", "http"])
def test_a_strange_server_costs_seconds_and_no_memory(
    secret: Path, server_file: Path, quick: None, say: Any, tls: bool
) -> None:
    if tls:
        with Listening(serving(server_file)) as server:
            server.answers = [say]
            outcome = webhook(secret, server.url, thumbprint=thumbprint(server_file)).deliver(delivery())
    else:
        with PlainServer(say) as plain:
            outcome = webhook(secret, plain.url).deliver(delivery())
    assert outcome.trouble or not tls  # without TLS the start of an answer is enough


class PlainServer:
    """The same without TLS."""

    def __init__(self, say: Any) -> None:
        self._say, self._over, self.asked = say, threading.Event(), list[bytes]()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def __enter__(self) -> PlainServer:
        threading.Thread(target=self._serve, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._listener.close()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self._listener.accept()
                with sock, contextlib.suppress(OSError):
                    self.asked.append(sock.recv(65536))
                    self._say(sock, self._over)


def test_a_webhook_on_this_computer_needs_no_tls(secret: Path) -> None:
    with PlainServer(answer(200, b"")) as server:
        assert webhook(secret, server.url + "/a").deliver(delivery()) == AttemptOutcome()
    assert server.asked[0].startswith(b"POST /a HTTP/1.1\r\n")


def test_nothing_that_is_shown_has_a_secret(
    secret: Path, server_file: Path, quick: None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    shown: list[str] = []
    with Listening(serving(server_file)) as server:
        server.answers = [answer(500, b""), silent]
        one = webhook(
            secret, f"{server.url}/hook/path-secret?k=query-secret", thumbprint=thumbprint(server_file)
        )
        for _ in range(2):
            shown.append(one.deliver(delivery()).trouble)
        shown += [repr(one._section), repr(one._section.address), *map(repr, server.asked[:0])]
    with MailServer(serving(server_file), password="another") as mailer:
        section = mailbox(mailer, server_file, secret, user="me")
        shown += [Mail(section).deliver(delivery()).trouble, repr(section)]
    shown.append(caplog.text)
    for text in (KEY, "path-secret", "query-secret", PASSWORD):
        assert not any(text in one for one in shown)
    assert all(shown[:2])


def mailbox(server: MailServer, file: Path, secret: Path | None = None, **more: Any) -> MailSection:
    values: dict[str, Any] = {"kind": "mail", "name": "ops", "host": "127.0.0.1", "port": server.port}
    values |= {"from": "connector@example.com", "to": ["a@example.com", "b@example.com"], "authority": file}
    return MailSection.model_validate(values | ({"secret_file": secret} if secret else {}) | more)


@pytest.mark.parametrize("tls", ["starttls", "tls"])
def test_mail_arrives_over_verified_tls_with_a_login(tmp_path: Path, server_file: Path, tls: str) -> None:
    file = tmp_path / "password"
    file.write_text(PASSWORD)
    file.chmod(0o600)
    with MailServer(serving(server_file), tls_first=tls == "tls", password=PASSWORD) as server:
        outcome = Mail(mailbox(server, server_file, file, user="me", tls=tls)).deliver(delivery())
        assert outcome == AttemptOutcome()
    ((sender, to, message),) = server.taken
    assert (sender, to) == ("connector@example.com", ["a@example.com", "b@example.com"])
    assert message["Subject"] == "[connector] critical: SOURCE IS DOWN longer than forecast (web-01)"
    assert (
        message["Message-ID"] == "<n-0123456789@example.com>"
        and message["To"] == "a@example.com, b@example.com"
    )
    text = message.get_content()
    assert "The source of job j-1 is down for 2 h." in text and "Resume it." in text
    assert message.get_content_type() == "text/plain" and message["Auto-Submitted"] == "auto-generated"
    assert all(line.startswith("tls") for line in server.heard if "AUTH" in line or "MAIL" in line)


def test_a_message_is_the_same_in_each_attempt(server_file: Path) -> None:
    with MailServer() as server:
        section = mailbox(server, server_file, tls="none")
        assert bytes(compose(section, delivery())) == bytes(compose(section, delivery()))


@pytest.mark.parametrize(
    "name",
    ["x\r\nBcc: everyone@example.com", "a" * 4000, "\x1b[31m\x00", "п" * 100, "\u202e", "=?utf-8?b?QmNj?="],
)
def test_no_name_makes_a_header(server_file: Path, name: str) -> None:
    with MailServer() as server:
        assert Mail(mailbox(server, server_file, tls="none")).deliver(delivery(name)) == AttemptOutcome()
    ((_, to, message),) = server.taken
    assert to == ["a@example.com", "b@example.com"]
    headers = ["Subject", "From", "To", "Date", "Message-ID", "Auto-Submitted"]
    assert [n for n in message if not n.startswith(("Content-", "MIME-"))] == headers
    assert len(message["Subject"]) <= 200 and str(message["Subject"]).isprintable()


def test_a_password_is_sent_to_nobody_else(tmp_path: Path, server_file: Path, secret: Path) -> None:
    """A server without STARTTLS, and one with another certificate, get no login and no message."""
    with MailServer(None, password=KEY) as server:
        assert "STARTTLS" in Mail(mailbox(server, server_file, secret, user="me")).deliver(delivery()).trouble
        assert not server.logins and not server.taken
    with MailServer(serving(server_file), password=KEY) as server:
        for trust in ({"authority": certificate(tmp_path)}, {"authority": None, "thumbprint": "0" * 64}):
            assert (
                "certificate"
                in Mail(mailbox(server, server_file, secret, user="me", **trust)).deliver(delivery()).trouble
            )
        assert not server.logins and not server.taken


@pytest.mark.parametrize(
    ("word", "reply", "final", "silent_"),
    [
        ("MAIL", "550 who are you", True, False),
        ("MAIL", "451 later", False, False),
        ("RCPT", "550 unknown", True, False),
        ("RCPT", "450 later", False, False),
        ("DATA", "554 no", True, False),
        ("GREETING", "554 no", True, False),
        ("GREETING", "what?", True, False),
    ],
)
def test_what_a_mail_server_refuses(
    server_file: Path, word: str, reply: str, final: bool, silent_: bool
) -> None:
    with MailServer() as server:
        server.answers[word] = reply
        outcome = Mail(mailbox(server, server_file, tls="none")).deliver(delivery())
    assert outcome.trouble and "\n" not in outcome.trouble
    assert "who" not in outcome.trouble
    if reply[:3].isdigit():
        assert (outcome.final, outcome.silent) == (final, silent_)


def test_a_refused_password_is_not_tried_often(server_file: Path, secret: Path) -> None:
    with MailServer(serving(server_file), password="another") as server:
        outcome = Mail(mailbox(server, server_file, secret, user="me")).deliver(delivery())
        assert server.logins == 1
    assert outcome.rest >= 900.0 and outcome.silent and not outcome.final
    assert pause(outcome, 1) >= 900.0


@pytest.mark.parametrize("greeting", ["220-" + "x" * 400 + "\r\n220-y", "220-slow"])
def test_a_mail_server_without_end_costs_seconds_and_no_memory(
    server_file: Path, quick: None, greeting: str
) -> None:
    def say(sock: Any, over: threading.Event) -> bool:
        while not over.wait(0.0 if len(greeting) > 100 else 0.1):
            sock.sendall(greeting.encode() + b"\r\n")
        return False

    listener, over = socket.create_server(("127.0.0.1", 0)), threading.Event()

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                sock, _ = listener.accept()
                with sock, contextlib.suppress(OSError):
                    say(sock, over)

    threading.Thread(target=accept, daemon=True).start()
    with MailServer() as server:
        section = mailbox(server, server_file, tls="none", port=listener.getsockname()[1])
        outcome = Mail(section).deliver(delivery())
    over.set()
    listener.close()
    assert outcome.trouble and outcome.silent


def _section(change: dict[str, Any], kind: str = "webhook") -> dict[str, Any]:
    base: dict[str, Any] = {"kind": kind, "name": "ops"}
    if kind == "webhook":
        base |= {"url": "https://hooks.example.com/a", "secret_file": "/etc/connector/hook"}
    else:
        base |= {"host": "mail.example.com", "from": "a@example.com", "to": ["b@example.com"]}
    return {"notifications": {"recipients": [{k: v for k, v in (base | change).items() if v is not None}]}}


@pytest.mark.parametrize(
    ("change", "kind", "says"),
    [
        ({"url": "https://user:hunter2@hooks.example.com/"}, "webhook", "contains a user"),
        ({"url": "http://hooks.example.com/hunter2"}, "webhook", "not encrypted"),
        ({"url": "ftp://hooks.example.com/hunter2"}, "webhook", "no URL"),
        ({"url": "https://hooks.example.com:hunter2/"}, "webhook", "no URL"),
        ({"url": "https://hooks.example.com/\r\nX: hunter2"}, "webhook", "url"),
        ({"secret_file": None}, "webhook", "secret_file"),
        ({"credential": "hook"}, "webhook", "not both"),
        ({"credential": "../hook", "secret_file": None}, "webhook", "credential"),
        ({"secret": "hunter2"}, "webhook", r"recipients\.0\.webhook\.secret"),
        ({"events": ["source-down", "hunter2"]}, "webhook", r"recipients\.0\.webhook\.events"),
        ({"severity": "hunter2"}, "webhook", r"recipients\.0\.webhook\.severity"),
        ({"thumbprint": "hunter2"}, "webhook", r"recipients\.0\.webhook\.thumbprint"),
        ({"kind": "pager"}, "webhook", "recipients"),
        ({"name": "Ops Team"}, "webhook", r"recipients\.0\.webhook\.name"),
        ({"to": []}, "mail", r"recipients\.0\.mail\.to"),
        ({"to": ["b@example.com\r\nBcc: hunter2@example.com"]}, "mail", r"recipients\.0\.mail\.to"),
        ({"from": "Ops <a@example.com>"}, "mail", r"recipients\.0\.mail\.from"),
        ({"user": "me", "tls": "none", "secret_file": "/x"}, "mail", "over TLS only"),
        ({"user": "me"}, "mail", "secret_file"),
        ({"secret_file": "/x"}, "mail", "user"),
        ({"tls": "maybe"}, "mail", r"recipients\.0\.mail\.tls"),
    ],
)
def test_a_wrong_setting_is_one_line_with_its_path(
    tmp_path: Path, change: dict[str, Any], kind: str, says: str
) -> None:
    with pytest.raises(BadInput, match=says) as refused:
        configuration.load(written(tmp_path, _section(change, kind)))
    assert "\n" not in str(refused.value) and "notifications" in str(refused.value)
    assert "hunter2" not in str(refused.value)


def test_two_recipients_of_one_name_are_refused(tmp_path: Path) -> None:
    section = _section({})
    section["notifications"]["recipients"] *= 2
    with pytest.raises(BadInput, match="same name"):
        configuration.load(written(tmp_path, section))


def _recipients(tmp_path: Path, change: dict[str, Any]) -> tuple[AnyRecipient, ...]:
    return configuration.load(written(tmp_path, _section(change))).notifications.recipients


def test_secrets_are_looked_at_before_the_start(
    tmp_path: Path, secret: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_secrets(_recipients(tmp_path, {"secret_file": str(secret)}))
    secret.chmod(0o644)
    with pytest.raises(BadInput, match="others can read"):
        check_secrets(_recipients(tmp_path, {"secret_file": str(secret)}))
    secret.chmod(0o600)
    secret.write_text("short")
    with pytest.raises(BadInput, match="less than 16"):
        check_secrets(_recipients(tmp_path, {"secret_file": str(secret)}))
    with pytest.raises(BadInput, match="cannot read the secret"):
        check_secrets(_recipients(tmp_path, {"secret_file": str(tmp_path / "none")}))
    credential = {"credential": secret.name, "secret_file": None}
    with pytest.raises(BadInput, match="no such credential"):
        check_secrets(_recipients(tmp_path, credential))
    secret.write_text(KEY)
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path))
    check_secrets(_recipients(tmp_path, credential))


def test_no_server_is_named_by_what_it_says(server_file: Path, secret: Path) -> None:
    server: Server
    with Listening(serving(server_file)) as server:
        server.answers = [answer(400, b"<script>hunter2</script>", "text/html", "X-Why: hunter2")]
        outcome = webhook(secret, server.url, thumbprint=thumbprint(server_file)).deliver(delivery())
    assert outcome.trouble == f"{server.url}: it answered 400"
