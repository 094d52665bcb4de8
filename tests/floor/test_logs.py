"""What somebody else wrote begins no line of a log and none of a command's output."""

from __future__ import annotations

import io
import json
import logging
import os
import subprocess
import sys
from typing import Any

import pytest

from connector import logs
from connector.cli.display import LineDisplay

FORGED = "web-01\n2026-11-28 22:00:00 CRITICAL root: all is well\x1b[2J\r\u2028next"


@pytest.fixture
def written() -> tuple[logging.Logger, io.StringIO]:
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logs.OneLine(logs.FORMAT))
    logger = logging.Logger("test")
    logger.addHandler(handler)
    return logger, stream


def test_a_message_is_one_line_whatever_it_holds(written: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = written
    logger.warning("the machine %s is gone", FORGED)
    (line,) = stream.getvalue().splitlines()
    assert "\\n2026-11-28" in line and "\\x1b[2J" in line and "\\u2028" in line
    logger.warning("Große Disks\tare shown")
    assert "Große Disks\tare shown" in stream.getvalue()


def test_a_traceback_begins_no_line_like_a_message(written: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = written
    try:
        raise ValueError(FORGED)
    except ValueError:
        logger.exception("it stumbled")
    first, *rest = stream.getvalue().splitlines()
    assert first.endswith("it stumbled")
    assert rest and all(line.startswith("    ") for line in rest)


def test_what_is_printed_for_each_machine_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    shown = LineDisplay()
    disk: dict[str, Any] = {
        "key": 2000,
        "label": FORGED,
        "wanted": 10,
        "done": 5,
        "rate": 1.0,
        "bottleneck": "",
    }
    for say in (lambda: shown.say(FORGED), lambda: shown.phase(FORGED, FORGED)):
        say()
        assert len(capsys.readouterr().err.splitlines()) == 1
    shown._next = {(FORGED, 2000): 0.0}
    shown.disk(FORGED, disk | {"eta": 1.0})
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and "\x1b" not in said


@pytest.mark.parametrize(
    ("name", "level", "shown"),
    [
        ("connector.appliance.agent", logging.WARNING, True),
        ("vddk.worker", logging.WARNING, True),
        ("stamina", logging.WARNING, False),
        ("urllib3.connectionpool", logging.WARNING, False),
        ("dbos", logging.WARNING, False),
        ("uvicorn.error", logging.INFO, False),
        ("dbos", logging.ERROR, True),
    ],
)
def test_of_libraries_a_service_passes_on_errors_only(name: str, level: int, shown: bool) -> None:
    assert logs.ours(logging.LogRecord(name, level, "", 1, "text", (), None)) is shown


_TERMINAL = """
import logging
import os
from connector import child, logs
logs.to_stderr(logging.INFO)
logging.getLogger("vddk.library").info("NBD_ClientOpen: attempting to create connection")
logging.getLogger("connector.appliance.agent").info("web-01: pass begins")
child.report_ready({"url": "https://a"}, "ready\\n  url  https://a")
"""


def test_a_terminal_gets_a_readable_block_and_nothing_of_what_the_library_says() -> None:
    reading, terminal = os.openpty()
    subprocess.run([sys.executable, "-c", _TERMINAL], stdout=terminal, stderr=terminal, check=True)
    os.close(terminal)
    shown = os.read(reading, 65536).decode().splitlines()
    os.close(reading)
    assert shown[0].endswith("web-01: pass begins")
    assert shown[1:] == ["ready", "  url  https://a"]


def test_a_pipe_gets_json_and_everything() -> None:
    done = subprocess.run([sys.executable, "-c", _TERMINAL], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == {"url": "https://a"}
    assert len(done.stderr.splitlines()) == 2


_SAYS = """
import logging, sys
from connector import logs
logs.to_stderr(logging.WARNING) if sys.argv[1] == "service" else logs.for_a_person()
from connector.control.engine import workflow
import dbos._logger, stamina
dbos._logger.init_logger()
dbos._logger.dbos_logger.warning("a warning of the engine")
for attempt in stamina.retry_context(on=ValueError, attempts=2, wait_initial=0, wait_max=0, wait_jitter=0):
    with attempt:
        if attempt.num == 1:
            raise ValueError("passes")
logging.getLogger("urllib3").warning("retrying")
logging.getLogger("connector.any").warning("ours")
"""


@pytest.mark.parametrize("kind", ["service", "command"])
def test_libraries_say_nothing_on_standard_error(kind: str) -> None:
    done = subprocess.run([sys.executable, "-c", _SAYS, kind], capture_output=True, text=True, check=True)
    (line,) = done.stderr.splitlines()
    assert line.endswith("ours")
