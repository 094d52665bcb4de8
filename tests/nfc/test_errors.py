"""Every error is one line with an id, a remedy where there is one, and a place in the tree's picture."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator

import pytest

from nfc import errors
from nfc.errors import HostError, NfcError, UsageError, readable


def tree(root: type[NfcError]) -> Iterator[type[NfcError]]:
    yield root
    for child in root.__subclasses__():
        yield from tree(child)


def made(kind: type[NfcError]) -> NfcError:
    return kind(*(7 if field.type is int else "something" for field in dataclasses.fields(kind)))


@pytest.mark.parametrize("kind", list(tree(NfcError)), ids=lambda kind: kind.__name__)
def test_each_is_one_clear_line(kind: type[NfcError]) -> None:
    error = made(kind)
    text = str(error)
    assert error.id == kind.__name__ and kind.__name__ in (errors.__doc__ or "")
    assert "\n" not in text and "{" not in text
    assert error.cause in text and error.remedy in text
    groups = (NfcError, UsageError)
    assert kind in groups or issubclass(kind, UsageError) or error.remedy
    assert not kind.retryable or error.remedy
    assert str(copy.copy(error)) == text


def test_what_a_host_wrote_is_one_short_line() -> None:
    assert readable(b"a\r\nb\x1b\xff") == "a  b \\xff"
    assert len(readable("x" * 10_000)) < 200


def test_codes_that_are_not_known_keep_their_number() -> None:
    error = errors.from_code(0xFFFFFFFF, "IO", "[ds] a.vmdk")
    assert type(error) is HostError and "0xffffffff" in str(error) and "[ds] a.vmdk" in str(error)
