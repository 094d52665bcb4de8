"""`connector control notify`: a test says of each recipient how it went; the list says what became of the newest ones."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import yaml

from connector.cli.main import main
from connector.control.domain.notification_text import document
from connector.control.domain.notifying import RecipientFilter
from connector.control.store import Store
from tests.clients.wire import Listening, answer, certificate, serving, thumbprint
from tests.control import fresh
from tests.control.mail_server import MailServer


@pytest.fixture
def key(tmp_path: Path) -> Path:
    file = tmp_path / "key"
    file.write_text("0123456789abcdef0123456789abcdef\n")
    file.chmod(0o600)
    return file


def configured(tmp_path: Path, *recipients: dict[str, Any]) -> str:
    file = tmp_path / "control-plane.yaml"
    file.write_text(yaml.safe_dump({"notifications": {"recipients": list(recipients)}}))
    return str(file)


def test_a_test_reaches_each_recipient(tmp_path: Path, key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = certificate(tmp_path)
    with Listening(serving(file)) as hook, MailServer(serving(file)) as mailer:
        hook.answers = [answer(200, b"")]
        sections = (
            {
                "name": "on-call",
                "kind": "webhook",
                "url": f"{hook.url}/a-secret-path",
                "secret_file": str(key),
            }
            | {"thumbprint": thumbprint(file)},
            {
                "name": "team",
                "kind": "mail",
                "host": "127.0.0.1",
                "port": mailer.port,
                "from": "a@example.com",
            }
            | {"to": ["b@example.com"], "authority": str(file)},
        )
        config = configured(tmp_path, *sections)
        assert main(["control", "notify", "test", "--config", config]) == 0
        assert capsys.readouterr().out == "on-call: taken\nteam: taken\n"
        hook.answers = [answer(401, b"who are you")]
        assert main(["control", "notify", "test", "--config", config, "--json"]) == 12
        told = capsys.readouterr()
        rows = [json.loads(line) for line in told.out.splitlines()][:2]  # the error is the last line
        assert [(row["recipient"], row["taken"]) for row in rows] == [("on-call", False), ("team", True)]
        assert rows[0]["trouble"] == f"{hook.url}: it answered 401"
        assert "1 of 2 did not take it" in told.out + told.err
        assert main(["control", "notify", "test", "--config", config, "team"]) == 0
    assert len(mailer.taken) == 3
    assert json.loads(hook.asked[0].partition(b"\r\n\r\n")[2])["event"] == "test"
    assert "a-secret-path" not in told.out + told.err


def test_what_is_missing_is_one_line(tmp_path: Path, key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["control", "notify", "test", "--config", configured(tmp_path)]) == 2
    assert "names no recipients" in capsys.readouterr().err
    section = {"name": "on-call", "kind": "webhook", "url": "https://127.0.0.1:1/", "secret_file": str(key)}
    assert main(["control", "notify", "test", "--config", configured(tmp_path, section), "nobody"]) == 2
    assert "nobody: no such recipient" in capsys.readouterr().err
    key.unlink()
    assert main(["control", "notify", "test", "--config", configured(tmp_path, section)]) == 12
    assert "cannot read the secret" in capsys.readouterr().out


def test_the_newest_notifications_are_listed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    state = tmp_path / "state"
    state.mkdir(mode=0o700)
    url = fresh.sqlite(state / "control.sqlite")
    words = ["control", "notify", "list", "--state", str(state)]
    assert main(words) == 0
    assert "no notifications" in "".join(capsys.readouterr())
    with closing(Store(url)) as store:
        store.notifications.decide([RecipientFilter("on-call")], document)
        store._database.hold("a test says so", 0)
        store.notifications.decide([RecipientFilter("on-call")], document)
        delivery = store.notifications.claim("on-call", 60.0)
        assert delivery is not None
        store.notifications.failed(delivery, "https://hooks.example.com:443: it answered 503", 60.0)
    assert main(words) == 0
    shown = capsys.readouterr().out
    assert "state-held" in shown and "pending" in shown
    assert main([*words, "--json"]) == 0
    row = json.loads(capsys.readouterr().out)
    assert (row["event"], row["state"], row["attempts"], row["recipient"]) == (
        "state-held",
        "pending",
        1,
        "on-call",
    )
    assert row["trouble"].endswith("it answered 503")
