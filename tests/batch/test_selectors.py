from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.batch.plane import SourceView
from connector.batch.selectors import SelectableSource, selector
from connector.errors import BadInput

WEB = SourceView(
    "s-1", "web-01", "web-01", "Available", moref="vm-1", power="poweredOn", folder="/DC0/vm/prod/shop",
    cluster="C1", guest="Debian 12", networks=("VM Network", "vlan-10"), tags={"tier": "web", "gold": ""},
)  # fmt: skip


@pytest.mark.parametrize(
    "text",
    [
        "web-01", "WEB-*", "name:web-??", "folder:/DC0/vm/prod*", "cluster:c1 power:on", "tag:tier", "tag:tier=w*",
        "tag:gold", "network:vlan-*", 'network:"VM Network"', "guest:debian*", "!name:db-*", "name:* !power:off",
        "!tag:tier=db", "db-01 web-*", "vm-1", "moref:vm-1", "folder:/DC0/vm/prod", "folder:shop", "folder:/DC0/vm/*/shop/",
    ],
)  # fmt: skip
def test_matches(text: str) -> None:
    assert selector(text).matches(SelectableSource(WEB))


@pytest.mark.parametrize(
    "text",
    [
        "web-02",
        "power:off",
        "tag:tier=db",
        "tag:none",
        "network:web",
        "web",
        "db-* power:on",
        "folder:/DC0/vm/pro",
        "folder:vm2",
        "!name:web-01",
    ],
)
def test_does_not_match(text: str) -> None:
    assert not selector(text).matches(SelectableSource(WEB))


@pytest.mark.parametrize("text", ["", "  ", "colour:red", "power:up", 'name:"open', "!", "!web-01"])
def test_what_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(BadInput):
        selector(text)


@given(st.text(max_size=60))
def test_any_text_is_a_selector_or_refused(text: str) -> None:
    try:
        parsed = selector(text)
    except BadInput:
        return
    assert parsed.conditions or parsed.names
    parsed.matches(SelectableSource(WEB))
