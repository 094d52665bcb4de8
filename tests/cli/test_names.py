"""Names that look alike are told apart wherever they are shown."""

from __future__ import annotations

import pytest

from connector.cli.tables import plain
from connector.errors import NotFound, one_line

SHOWN = {
    "web\xa001": "web<U+00A0>01",
    "web\u200b01": "web<U+200B>01",
    "web\u202e10": "web<U+202E>10",
    "wa\u0308b": "wa<U+0308>b",
    "wäb": "wäb",
    "web 01": "web 01",
    "हिन्दी": "हिन्दी",
    "a\x1b[2Jb\nc": "a [2Jb c",
}


@pytest.mark.parametrize("name", SHOWN)
def test_what_cannot_be_seen_in_a_name_is_written_out(name: str) -> None:
    assert plain(name) == one_line(name) == SHOWN[name]
    assert SHOWN[name] in str(NotFound("no such machine", on=name))
