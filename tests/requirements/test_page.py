"""Every requirement is shown by a test or told in the guide, and the page says which."""

from __future__ import annotations

import os

import pytest

from tests.requirements.page import GUIDE, PAGE, anchors, document, numbered, rows

ROWS = rows()
SHOWN = {number for test in numbered() for number in test.numbers}


@pytest.mark.generated
def test_the_page_is_current() -> None:
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(document())
    assert PAGE.read_text() == document(), "run: make documents"


def test_every_row_of_control_plane_and_console_has_a_test() -> None:
    missing = [n for n, row in ROWS.items() if row.needs_test and n not in SHOWN and not row.pending]
    assert missing == []


def test_nothing_is_pending_that_is_there() -> None:
    assert [n for n, row in ROWS.items() if row.pending and n in SHOWN] == []


def test_no_test_names_a_number_that_is_not_required() -> None:
    assert sorted(SHOWN - set(ROWS)) == []


def test_rows_are_numbered_without_a_gap() -> None:
    assert list(ROWS) == [f"R{n}" for n in range(1, 111)] + [f"X{n}" for n in range(1, 25)]


def test_what_is_told_is_told_where_the_page_says() -> None:
    known = {page.name: anchors(page) for page in GUIDE.glob("*.md")}
    wrong = []
    for number, row in ROWS.items():
        page, _, anchor = row.guide.partition("#")
        if (row.guide or row.needs_guide) and anchor not in known.get(page, set()):
            wrong.append((number, row.guide))
    assert wrong == []
