"""What somebody else wrote begins no line of a log and none of a command's output."""

from __future__ import annotations

import io
import logging
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
