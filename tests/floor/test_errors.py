"""Errors are data: codes, the catalogue, and what crosses HTTP agree with each other and with the documents."""

from __future__ import annotations

from pathlib import Path

import pytest

from connector.errors import (
    EXIT_CODES,
    BadInput,
    ConnectorError,
    ControlFailed,
    NotFound,
    TargetFull,
    catalogue,
    from_json,
)

OPERATING = Path(__file__).parents[2] / "docs" / "operating.md"


def test_every_error_has_an_exit_code_that_is_explained() -> None:
    assert {kind.exit_code for kind in catalogue().values()} == set(EXIT_CODES) - {0}


@pytest.mark.parametrize("code", EXIT_CODES)
def test_the_operators_guide_lists_each_code_in_the_same_words(code: int) -> None:
    assert f"| {code} | {EXIT_CODES[code]} |" in OPERATING.read_text()


@pytest.mark.parametrize("kind", catalogue().values(), ids=lambda kind: kind.__name__)
def test_every_error_survives_http(kind: type[ConnectorError]) -> None:
    sent = kind("broke\n twice", on="disk 1", remedy="mend it", retryable=True)
    got = from_json(sent.to_json())
    assert type(got) is kind
    assert str(got) == str(sent) == "disk 1: broke twice; mend it"
    assert got.retryable


@pytest.mark.parametrize("body", [None, [], {}, {"error": "Nonsense"}, {"error": 7, "what": None}])
def test_an_answer_without_a_known_error_becomes_the_fallback(body: object) -> None:
    assert type(from_json(body)) is ControlFailed


def test_an_error_is_one_line_whatever_it_is_made_of() -> None:
    assert "\n" not in str(BadInput("a\nb", on="c", remedy="d\ne"))
    assert not TargetFull("full").retryable


def test_whatever_an_object_is_called_the_message_is_one_line_of_text() -> None:
    """Names come from vCenter and from manifests; none forges a line or commands a terminal. Programs get them as they are."""
    name = "web\n\x1b[31mconnector: all is well\x9b2J\u2028"
    told = NotFound(f"no {name}", on=name, remedy=name)
    assert str(told).isprintable() and "all is well" in str(told)
    assert told.to_json()["on"] == name
