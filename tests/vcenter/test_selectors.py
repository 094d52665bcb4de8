"""What a person writes, and which machines are meant by it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.errors import Ambiguous, BadInput, ConnectorError, NotFound
from connector.model import Machine, PowerState, Traits
from connector.selectors import CONDITIONS, Selector, described
from connector.vcenter.selectors import choose
from tests.vcenter.test_eligibility import SOUND


def _machine(number: int, name: str, folder: str, power: PowerState, **traits: object) -> Machine:
    return replace(
        SOUND,
        moref=f"vm-{number}",
        name=name,
        instance_uuid=f"5000-{number}",
        path=f"{folder}/{name}",
        power=power,
        networks=("VM Network",),
        traits=Traits(**traits),  # type: ignore[arg-type]
    )


ESTATE = (
    _machine(
        1, "web-01", "/DC0/vm/prod/shop", PowerState.ON, cluster="C1", host="esx-1", datastores=("ds1",)
    ),
    _machine(2, "web-02", "/DC0/vm/prod", PowerState.OFF, attributes=(("Owner", "Shop team"),)),
    _machine(3, "db-01", "/DC0/vm/prod", PowerState.ON, cluster="C1", tags=("urn:gold", "keep")),
    _machine(4, "web-01", "/DC0/vm/test", PowerState.SUSPENDED, cluster="C2", attributes=(("Owner", ""),)),
    _machine(5, "a:b", "/DC0/vm/production", PowerState.ON),
)
MEANT: dict[str, list[int]] = {
    "": [1, 2, 3, 4, 5],
    "db-01": [3],
    "DB-*": [3],
    "vm-4": [4],
    "/DC0/vm/test/web-01/": [4],
    "5000-2": [2],
    "db-01 web-02": [2, 3],
    "web-*": [1, 2, 4],
    "name:web-01": [1, 4],
    "web-* power:on": [1],
    "power:off": [2],
    "power:SUSPENDED": [4],
    "!power:on": [2, 4],
    "folder:/DC0/vm/prod": [1, 2, 3],
    "folder:/DC0/vm/prod*": [1, 2, 3, 5],
    "folder:prod": [1, 2, 3],
    "folder:shop": [1],
    "folder:/dc0": [1, 2, 3, 4, 5],
    "cluster:c1 !name:db*": [1],
    "host:esx-?": [1],
    "datastore:ds1": [1],
    "network:*network": [1, 2, 3, 4, 5],
    "guest:debian*": [1, 2, 3, 4, 5],
    "tag:keep": [3],
    "!tag:* !cluster:*1": [2, 4, 5],
    "attr:owner": [2],
    "attr:owner=shop*": [2],
    "moref:vm-[12]": [1, 2],
    "name:a:b": [5],
}


@pytest.mark.parametrize("words", MEANT)
def test_who_is_meant(words: str) -> None:
    assert [int(one.moref[3:]) for one in choose(Selector.of(words.split()), ESTATE)] == MEANT[words]


def test_every_condition_has_a_case_and_a_line_in_help() -> None:
    used = {
        word.removeprefix("!").partition(":")[0] for words in MEANT for word in words.split() if ":" in word
    }
    assert CONDITIONS.keys() <= used
    assert all(f"  {key}:" in described() for key in CONDITIONS)


REFUSED = {
    "colour:red": (BadInput, "colour is no condition, there are name, .*write name:colour:red"),
    "power:maybe": (BadInput, "power:maybe: there is no such power state; one of on, off, suspended"),
    "name:": (BadInput, "has no pattern"),
    "!web-01": (BadInput, "write !name:web-01"),
    "nobody": (NotFound, "nobody: no machine has that name"),
    "nob*": (NotFound, "no machine has that name"),
    "web-01": (Ambiguous, r"/DC0/vm/prod/shop/web-01 \(vm-1\), /DC0/vm/test/web-01 \(vm-4\)"),
    "db-01 nobody": (NotFound, "^nobody: "),
    "db-01 power:off": (NotFound, "^db-01 power:off: no machine matches"),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_is_refused_and_how(words: str) -> None:
    kind, said = REFUSED[words]
    with pytest.raises(kind, match=said):
        choose(Selector.of(words.split()), ESTATE)


WORDS = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=12)


@given(st.lists(WORDS, max_size=4))
def test_any_words_select_or_are_refused_in_one_line(words: list[str]) -> None:
    try:
        chosen = choose(Selector.of(words), ESTATE)
    except ConnectorError as refused:
        assert len(str(refused).splitlines()) == 1
    else:
        assert set(chosen) <= set(ESTATE)


@given(st.sampled_from([words for words in MEANT if words]), st.sampled_from(["power:on", "cluster:C1"]))
def test_one_more_condition_never_means_more(words: str, more: str) -> None:
    before = set(choose(Selector.of(words.split()), ESTATE))
    try:
        after = set(choose(Selector.of([*words.split(), more]), ESTATE))
    except NotFound:
        after = set()
    assert after <= before
