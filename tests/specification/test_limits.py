"""What limits a pass has a name that needs no manual."""

from __future__ import annotations

import inspect
import re

from connector.specification import limited_by
from connector.transfer import sender


def test_every_limit_that_a_sender_can_report_has_a_name() -> None:
    lines = re.findall(r"bottleneck = (.+)", inspect.getsource(sender))
    words = set(re.findall(r'"(\w+)"', " ".join(lines)))
    assert words == set(limited_by.LIMITS)


def test_no_name_repeats_the_word_limit_alone() -> None:
    assert limited_by.named("limit") == "the bandwidth limit"
    assert limited_by.named("something new") == "something new"
    assert limited_by.named("") == ""
