"""The page about the API says what the API does; `UPDATE_DOCS=1` writes it."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from connector.control.domain.refusals import RefusalCode
from connector.control.smc import api
from connector.control.smc.catalogue import CODES, code_of
from tests.smc.test_fields import OPERATIONS
from tools.docs.smc_api import document

PAGE = Path(__file__).parent.parent.parent / "docs" / "smc-api.md"
SOURCES = Path(api.__file__).parent


@pytest.mark.generated
def test_the_page_is_current() -> None:
    text = document(list(OPERATIONS.values()))
    if os.environ.get("UPDATE_DOCS"):
        PAGE.write_text(text)
    assert PAGE.read_text() == text


def test_every_code_that_is_raised_is_in_the_catalogue_and_each_is_there_once() -> None:
    raised = {
        code
        for file in SOURCES.glob("*.py")
        for code in re.findall(r'Denied\(\s*f?"([A-Za-z.]+)', file.read_text())
    }
    for code in (raised - {"MissingParameter.", "InvalidParameter."}) | {str(code) for code in RefusalCode}:
        assert code_of(code.rstrip(".")).status >= 400
    names = [code.name for code in CODES]
    assert len(names) == len(set(names))
