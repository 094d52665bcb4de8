"""Messages carry the ids of the work that they are about, in every form, and nothing in them can forge another message."""

from __future__ import annotations

import json
import logging
import os
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from pydantic import ValidationError

from connector import log_context, log_formats, logs
from connector.errors import BadInput, VCenterFault
from connector.log_context import carried, current
from connector.log_context import log_context as about
from connector.log_forwarding import Forwarding
from connector.log_settings import LogSection
from tests.waiting import PATIENCE, eventually

FORGED = 'web-01\nMESSAGE=all is well\x1b[2J\u2028{"level": "critical"}'


class Kept(logging.Handler):
    """Keeps what its formatter makes."""

    def __init__(self, form: logging.Formatter) -> None:
        super().__init__()
        self.lines: list[str] = []
        self.setFormatter(form)
        self.addFilter(log_formats.note_ids)

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(self.format(record))


def logger(handler: logging.Handler) -> logging.Logger:
    made = logging.Logger("connector.test")
    made.addHandler(handler)
    return made


def test_ids_are_those_of_the_work_around_and_end_with_it() -> None:
    with about(job="j-1", machine="vm-1"):
        with about(pass_id="p-1", disk="2000"):
            assert dict(current()) == {"job": "j-1", "machine": "vm-1", "pass": "p-1", "disk": "2000"}
        assert dict(current()) == {"job": "j-1", "machine": "vm-1"}
        with about(run="r-1"):
            log_context.add(job="j-2")
            assert current()["job"] == "j-2"
        assert current()["job"] == "j-1"
    assert dict(current()) == {}


def test_what_is_added_outside_of_a_block_does_not_stay() -> None:
    """A thread of a pool would keep it for the work that comes next."""
    log_context.add(job="j-1")
    assert dict(current()) == {}
    with about():
        log_context.add(job="j-1")
        assert current()["job"] == "j-1"
    assert dict(current()) == {}


def test_another_thread_has_them_only_if_they_are_carried() -> None:
    with ThreadPoolExecutor(2) as pool:
        with about(job="j-1"):
            bare, with_ids = pool.submit(current), pool.submit(carried(current))
        assert dict(bare.result()) == {}
        assert dict(with_ids.result()) == {"job": "j-1"}
        assert dict(pool.submit(current).result()) == {}


def test_a_line_of_json() -> None:
    kept = Kept(log_formats.JsonLine())
    with about(job="j-1", disk="2000"):
        logger(kept).warning("%s is gone: %s", FORGED, VCenterFault("no", on="x"))
    (line,) = kept.lines
    assert line.isascii() and "\n" not in line
    told = json.loads(line)
    assert (told["job"], told["disk"], told["level"], told["logger"]) == (
        "j-1",
        "2000",
        "warning",
        "connector.test",
    )
    assert told["error"] == VCenterFault("no").id
    assert told["message"].startswith(FORGED)
    assert told["time"].endswith("Z") and len(told["time"]) == 24


def test_a_traceback_in_json_is_in_the_same_line() -> None:
    kept = Kept(log_formats.JsonLine())
    try:
        raise BadInput("bad", on=FORGED)
    except BadInput:
        logger(kept).exception("it stumbled")
    told = json.loads(kept.lines[0])
    assert told["error"] == "BadInput" and "Traceback" in told["traceback"]


def test_text_ends_with_the_ids() -> None:
    kept = Kept(logs.OneLine(logs.FORMAT))
    with about(job=FORGED, pass_id="p-1"):
        logger(kept).info("begins")
    (line,) = kept.lines
    assert line.endswith("pass=p-1]") and "\n" not in line and "\x1b" not in line


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "journal"))
        listener.settimeout(PATIENCE)
        yield listener


def fields(datagram: bytes) -> dict[str, str]:
    found = {}
    while datagram:
        name, _, rest = datagram.partition(b"\n")
        (length,) = struct.unpack("<Q", rest[:8])
        found[name.decode()] = rest[8 : 8 + length].decode()
        datagram = rest[9 + length :]
    return found


def to_journal(place: Path) -> logging.Handler:
    handler = log_formats.JournalHandler(Kept(log_formats.JournalText()), str(place))
    handler.addFilter(log_formats.note_ids)
    return handler


def test_the_journal_gets_fields_that_no_message_can_forge(journal: socket.socket, tmp_path: Path) -> None:
    with about(job="j-1", machine=FORGED):
        logger(to_journal(tmp_path / "journal")).error("%s is gone", FORGED)
    told = fields(journal.recv(1 << 20))
    assert told["CONNECTOR_JOB"] == "j-1" and told["CONNECTOR_MACHINE"] == FORGED
    assert told["PRIORITY"] == "3" and told["LOGGER"] == "connector.test"
    assert told["MESSAGE"].startswith("web-01\\nMESSAGE=all") and "\x1b" not in told["MESSAGE"]


def test_a_message_that_fits_into_no_datagram_goes_as_memory(journal: socket.socket, tmp_path: Path) -> None:
    logger(to_journal(tmp_path / "journal")).error("x" * 700_000)
    content, (memory,), _, _ = socket.recv_fds(journal, 1, 1)
    assert content == b""
    with open(memory, "rb") as sealed:
        sealed.seek(0)
        assert len(fields(sealed.read())["MESSAGE"]) == 700_000


def test_without_a_journal_standard_error_gets_the_priority(tmp_path: Path) -> None:
    other = Kept(log_formats.JournalText())
    handler = log_formats.JournalHandler(other, str(tmp_path / "nobody"))
    logger(handler).warning("%s is gone", FORGED)
    (line,) = other.lines
    assert line.startswith("<4>connector.test: web-01\\n")


def test_a_syslog_server_gets_rfc_5424() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(PATIENCE)
        handler = Forwarding(f"udp://127.0.0.1:{server.getsockname()[1]}", "appliance")
        handler.addFilter(log_formats.note_ids)
        with about(job='j"]1'):
            logger(handler).error("%s is gone", FORGED)
        line = server.recv(4096).decode()
        handler.close()
    assert line.startswith("<27>1 2") and " connector-appliance " in line
    assert '[connector@32473 job="j\\"\\]1"]' in line and "\n" not in line


def test_a_message_that_cannot_be_made_ends_no_work(journal: socket.socket, tmp_path: Path) -> None:
    log = logger(to_journal(tmp_path / "journal"))
    log.error("%d is no number", "x")
    log.error("the next one")
    assert fields(journal.recv(1 << 20))["MESSAGE"] == "the next one"


def test_a_message_that_cannot_be_made_does_not_end_the_forwarding() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(PATIENCE)
        handler = Forwarding(f"udp://127.0.0.1:{server.getsockname()[1]}", "appliance")
        logger(handler).error("%d is no number", "x")
        logger(handler).error("the next one")
        assert server.recv(4096).decode().endswith("the next one")
        handler.close()


def test_what_waits_for_a_syslog_server_is_sent_at_the_end() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        server.settimeout(PATIENCE)
        handler = Forwarding(f"udp://127.0.0.1:{server.getsockname()[1]}", "appliance", waiting=2)
        while not handler.dropped:
            logger(handler).error("first ones")
        handler.close()
        assert not handler._thread.is_alive()


def test_a_control_plane_that_ends_sends_its_last_messages(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        file = tmp_path / "control-plane.yaml"
        address = f"udp://127.0.0.1:{server.getsockname()[1]}"
        file.write_text(
            f"state: {tmp_path / 'state'}\nhost: 0.0.0.0\nprovider: local\nlog: {{syslog: '{address}'}}\n"
            f"notifications: {{recipients: [{{name: a, kind: webhook, url: 'https://x', secret_file: {tmp_path / 'no'}}}]}}\n"
        )
        words = ("--images", str(tmp_path), "--config", str(file))
        done = subprocess.run(
            [sys.executable, "-m", "connector.control", *words], capture_output=True, text=True, check=False
        )
        assert done.returncode and "cannot read the secret" in done.stderr
        server.settimeout(0.1)
        assert "--instance-ports" in server.recv(4096).decode()


def test_a_slow_syslog_server_keeps_nobody_waiting_and_what_is_dropped_is_said() -> None:
    holds, held, sent = threading.Event(), threading.Event(), []

    class Slow(logging.Formatter):
        def format(self, record: logging.LogRecord) -> str:
            held.set()
            holds.wait(PATIENCE)
            sent.append(record.getMessage())
            return "x"

    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind(("127.0.0.1", 0))
    handler = Forwarding(f"udp://127.0.0.1:{server.getsockname()[1]}", "appliance", waiting=2)
    handler.setFormatter(Slow())
    logger(handler).warning("line 0")
    assert held.wait(PATIENCE)
    for n in range(1, 50):
        logger(handler).warning("line %d", n)
    dropped = handler.dropped
    assert dropped >= 47
    holds.set()
    eventually(lambda: len(sent) >= 2, "what waited is sent")

    def said() -> bool:
        logger(handler).warning("later")
        return any("messages were not sent" in text for text in sent)

    eventually(said, "what was dropped is said")
    handler.close()
    server.close()


@pytest.mark.parametrize(
    "wrong", [{"syslog": "tcp://x"}, {"syslog": "udp://"}, {"format": "xml"}, {"level": "loud"}, {"more": 1}]
)
def test_settings_that_are_wrong_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        LogSection.model_validate(wrong)


_SAYS = """
import logging, os, sys
from connector.log_settings import LogSection
facts = os.fstat(2)
if sys.argv[2] == "stream":
    os.environ["JOURNAL_STREAM"] = f"{facts.st_dev}:{facts.st_ino}"
from connector import log_formats
log_formats.JOURNAL = "/nowhere"
log_formats.JournalHandler.__init__.__defaults__ = ("/nowhere",)
LogSection().apply("appliance", sys.argv[1] or None)
logging.getLogger("connector.any").info("said")
logging.getLogger("urllib3").warning("not ours")
"""


@pytest.mark.parametrize(
    ("how", "stream", "begins"),
    [("", "none", "20"), ("json", "none", '{"time"'), ("", "stream", "<6>connector.any")],
)
def test_what_a_service_writes(how: str, stream: str, begins: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _SAYS, how, stream], capture_output=True, text=True, check=True,
        env={name: value for name, value in os.environ.items() if name != "JOURNAL_STREAM"},
    )  # fmt: skip
    (line,) = done.stderr.splitlines()
    assert line.startswith(begins)
