"""Whatever is typed or sent: an answer, never a stumble."""

from __future__ import annotations

import random

import pytest

from connector.control.console.middleware import MAX_BODY
from tests.console.conftest import Console
from tests.console.everything import Everything
from tests.console.visitor import Answer, Visitor


@pytest.fixture
def everything(console: Console) -> Everything:
    return Everything(console)


WORDS = [
    "",
    "x",
    "<b>",
    "\x00",
    "\ud800",
    "é" * 200,
    "A" * 5000,
    "-1",
    "1e9",
    "%s",
    "../..",
    "true",
    "None",
    "😀",
    "\r\n",
]
NAMES = [
    "Name",
    "SourceId",
    "JobId",
    "RunOnce",
    "Frequency",
    "ValidTime",
    "DataDisk.1.Size",
    "source-x",
    "Force",
    "csrf",
]


def _mess(chance: random.Random) -> dict[str, str]:
    return {
        chance.choice([*NAMES, chance.choice(WORDS)]): chance.choice(WORDS)
        for _ in range(chance.randrange(6))
    }


def _sent(visitor: Visitor, path: str, mess: dict[str, str]) -> Answer:
    form = "&".join(
        f"{_quoted(name)}={_quoted(value)}" for name, value in ({"csrf": visitor.csrf} | mess).items()
    )
    return visitor.request("POST", path, form.encode())


def _quoted(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("seed", range(4))
def test_hostile_forms_and_addresses_never_make_it_stumble(everything: Everything, seed: int) -> None:
    chance, visitor = random.Random(seed), everything.console.visitor()
    for path in everything.changes * 2:
        answer = _sent(visitor, path, _mess(chance))
        assert answer.status < 500, (path, answer.text[:300])
    for page in everything.pages:
        path = page.split("?")[0]
        query = "&".join(f"{_quoted(k)}={_quoted(v)}" for k, v in _mess(chance).items())
        picked = (
            f"item={chance.choice(['name', 'id', 'state', 'job', 'x'])}&value={_quoted(chance.choice(WORDS))}"
        )
        answer = visitor.get(f"{path}?{picked}&page={_quoted(chance.choice(WORDS))}&{query}")
        assert answer.status < 500, (path, answer.text[:300])
        assert visitor.get(f"{path}{_quoted(chance.choice(WORDS))}").status < 500
    for word in WORDS:
        assert visitor.get(f"/console/live?lines={_quoted(word)},x&sheet={_quoted(word)}").status < 500


@pytest.mark.parametrize("body", [b"\xff\xfe", b"a=1&a=2", b"=" * 1000, b"csrf=%ZZ", b"x=" + b"a" * MAX_BODY])
def test_unreadable_bodies_are_refused(everything: Everything, body: bytes) -> None:
    visitor = everything.console.visitor()
    for path in everything.changes:
        assert visitor.request("POST", path, body).status in (400, 403)


def test_a_wrong_method_is_no_page(everything: Everything) -> None:
    visitor = everything.console.visitor()
    assert visitor.get("/console/logout").status == 404
    assert visitor.post("/console/jobs").status == 404
    assert visitor.request("DELETE", f"/console/jobs/{everything.job}", b"").status == 404


@pytest.mark.parametrize("host", ["[", "a b", "", "[::1", "é", "x" * 5000, "evil.example"])
def test_a_nonsensical_host_changes_nothing(everything: Everything, host: str) -> None:
    visitor = everything.console.visitor()
    answer = visitor.get("/console/jobs?page=1", host=host)
    assert answer.status == 200
    assert (
        answer.page.one("form", class_="colours").one("input", name="back")["value"] == "/console/jobs?page=1"
    )
    assert everything.console.visitor(None).get("/console/jobs", host=host).moved.startswith("/console/login")
