"""Who comes in, for how long, and what another site can do: nothing."""

from __future__ import annotations

import sqlite3

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from connector.backoff import LOGIN
from connector.control.console import sessions as attempts
from connector.control.console import sessions as authenticator
from connector.control.console.middleware import guarded
from connector.control.console.pages import ours
from connector.control.console.sessions import LoginThrottle
from connector.control.domain.access import Role
from connector.control.state import directory_key
from connector.control.state.access_keys import AccessKeys
from connector.control.state.vault import Vault
from connector.control.store import sessions
from connector.errors import AuthenticationFailed
from tests.console.conftest import Console
from tests.console.visitor import HOST, Visitor

JOBS = "/console/jobs"


def test_the_right_secret_opens_the_console_and_says_who_is_there(console: Console) -> None:
    page = console.visitor(Role.OPERATOR).get(JOBS)
    assert page.status == 200
    assert "a operator" in page.page.one("div", class_="who").text


def test_the_cookie_is_for_this_host_and_no_script(console: Console) -> None:
    visitor = console.visitor()
    mine = [cookie for cookie in visitor.set_cookies if cookie.startswith(f"{authenticator.COOKIE}=")]
    words = {word.strip().lower() for word in mine[0].split(";")[1:]}
    assert {"secure", "httponly", "samesite=strict", "path=/"} == words
    assert authenticator.COOKIE.startswith("__Host-")


def test_the_database_alone_opens_nothing(console: Console) -> None:
    visitor = console.visitor()
    kept = (console.house.folder / "console-0.sqlite").read_bytes()
    kept += (console.house.folder / "console-0.sqlite-wal").read_bytes()
    assert visitor.cookies[authenticator.COOKIE].encode() not in kept
    for _key, secret in console.people.values():
        assert secret.encode() not in kept


@pytest.mark.parametrize("path", [JOBS, "/console/sources", "/console/audit", "/console/new-job?source=s-1"])
def test_without_a_session_every_page_leads_to_the_entrance_and_back(console: Console, path: str) -> None:
    visitor = console.visitor(None)
    entry = visitor.get(path).moved
    assert entry.startswith("/console/login?back=")
    back = visitor.get(entry).page.one("input", name="back")["value"]
    key, secret = console.people[Role.READER]
    assert visitor.post("/console/login", {"key": key.id, "secret": secret, "back": back}).moved == path


@pytest.mark.parametrize(
    "address",
    [
        "https://evil.example",
        "//evil.example",
        "/",
        "/console\\@evil",
        "/consoles",
        "/console/\n",
        "javascript:x",
    ],
)
def test_nobody_is_sent_elsewhere_after_logging_in(console: Console, address: str) -> None:
    assert not ours(address)
    key, secret = console.people[Role.READER]
    assert console.visitor(None).log_in(key.id, secret, address).moved == JOBS


def test_a_link_on_another_site_leads_to_the_page_and_not_to_the_entrance(console: Console) -> None:
    """The first request brings no cookie, because the cookie is strict; the page asks again by itself."""
    visitor = console.visitor()
    cookies, visitor.cookies = visitor.cookies, {}
    answer = visitor.get(JOBS, sec_fetch_site="cross-site")
    assert answer.page.one("meta", http_equiv="refresh")["content"] == "0"
    visitor.cookies = cookies
    assert visitor.get(JOBS, sec_fetch_site="same-origin").page.one("h1").text == "Migration jobs"


def test_a_wrong_secret_and_a_wrong_key_read_the_same(console: Console) -> None:
    key, secret = console.people[Role.ADMIN]
    answers = [
        console.visitor(None, f"192.0.2.{number}").log_in(*pair)
        for number, pair in enumerate(
            [(key.id, "x" + secret), ("AKnobody", secret), ("", ""), ("\x00", "é")], 2
        )
    ]
    assert {answer.status for answer in answers[:3]} == {401}
    assert len({answer.banner for answer in answers[:3]}) == 1
    assert "control key create" in answers[0].banner
    assert answers[3].status == 400
    refused = console.store.audit.page(who=key.id).rows
    assert [(entry.action, entry.origin) for entry in refused] == [("ConsoleLogInRefused", "192.0.2.2")]


def refused(console: Console) -> list[tuple[str, str, str]]:
    """Who was refused, from where and why: oldest first."""
    rows = reversed(console.store.audit.page(size=100).rows)
    return [(r.who, r.origin, r.details["Reason"]) for r in rows if r.action == "ConsoleLogInRefused"]


def test_every_refused_login_is_in_the_audit_log(console: Console) -> None:
    """Also of a right secret whose key is for commands only, and of a key that does not exist."""
    group = console.store.workgroups.create("shop", "").id
    limited, secret = console.keys.create("a program", Role.OPERATOR, [group])
    known, _ = console.people[Role.ADMIN]
    own = directory_key.load(console.house.folder)
    gone = "AK" + "g" * 22
    assert console.visitor(None, "192.0.2.1").log_in(limited.id, secret).status == 401
    assert console.visitor(None, "192.0.2.2").log_in(gone, secret).status == 401
    assert console.visitor(None, "192.0.2.3").log_in(known.id, "wrong").status == 401
    directory = AccessKeys(console.store.keys, Vault(console.house.folder / "key"), own)
    people = authenticator.SessionAuthenticator(console.store, directory, LoginThrottle())
    with pytest.raises(AuthenticationFailed, match="belongs to the state directory"):
        people.enter(own.id, own.secret, "192.0.2.4")
    found = refused(console)
    assert [(who, origin) for who, origin, _ in found] == [
        (limited.id, "192.0.2.1"),
        (gone, "192.0.2.2"),
        (known.id, "192.0.2.3"),
        (own.id, "192.0.2.4"),
    ]
    assert ["limited to workgroups" in found[0][2], found[1][2] == found[2][2]] == [True, True]


@pytest.mark.parametrize("typed", ["x" * 40, "", "AK\u00e9", "AK" + "g" * 21, "two words"])
def test_a_secret_in_the_place_of_a_key_is_not_in_the_audit_log(console: Console, typed: str) -> None:
    assert console.visitor(None).log_in(typed, "whatever").status == 401
    ((who, _, _),) = refused(console)
    assert who == "unknown"


def test_an_attempt_before_its_time_is_in_the_audit_log_once_in_each_wait(console: Console) -> None:
    """Whoever does not wait must not be able to fill the database."""
    key, secret = console.people[Role.ADMIN]
    guesser = console.visitor(None, "203.0.113.9")
    for number in range(attempts.FREE + 1):
        guesser.log_in(key.id, f"guess {number}")
    assert [guesser.log_in(key.id, secret).status for _ in range(5)] == [429] * 5
    assert len(refused(console)) == attempts.FREE + 2
    assert refused(console)[-1] == (key.id, "203.0.113.9", "too many failed attempts from this address")


def test_a_disabled_key_is_out_at_once(console: Console) -> None:
    visitor = console.visitor(Role.OPERATOR)
    key, secret = console.people[Role.OPERATOR]
    console.store.keys.disable(key.id)
    assert visitor.get(JOBS).moved.startswith("/console/login")
    assert console.visitor(None).log_in(key.id, secret).status == 401


def test_coming_and_going_are_in_the_audit_log(console: Console) -> None:
    visitor = console.visitor(Role.READER, "198.51.100.7")
    assert visitor.post("/console/logout").moved == "/console/login?said=left"
    assert visitor.get(JOBS).moved.startswith("/console/login")
    entries = console.store.audit.page(who=console.people[Role.READER][0].id).rows
    assert [(e.action, e.origin) for e in entries] == [
        ("ConsoleLogOut", "198.51.100.7"),
        ("ConsoleLogIn", "198.51.100.7"),
    ]


def test_a_copied_cookie_ends_with_its_session(console: Console) -> None:
    visitor = console.visitor()
    thief = console.visitor(None)
    thief.cookies = dict(visitor.cookies)
    assert thief.get(JOBS).status == 200
    visitor.post("/console/logout")
    assert thief.get(JOBS).status == 303


def test_logging_in_ends_the_session_that_the_browser_had(console: Console) -> None:
    visitor = console.visitor()
    before = visitor.cookies[authenticator.COOKIE]
    key, secret = console.people[Role.READER]
    visitor.log_in(key.id, secret)
    assert visitor.cookies[authenticator.COOKIE] != before
    visitor.cookies[authenticator.COOKIE] = before
    assert visitor.get(JOBS).status == 303


def test_a_session_ends_when_nobody_uses_it_and_at_the_end_of_a_shift(console: Console) -> None:
    visitor, clock = console.visitor(), console.house.clock
    for _ in range(int(sessions.LIFETIME // (sessions.IDLE - 1))):
        clock.advance(sessions.IDLE - 1)
        assert visitor.get(JOBS).status == 200
    clock.advance(60)
    assert visitor.get(JOBS).moved.endswith("said=ended")
    idle = console.visitor()
    clock.advance(sessions.IDLE + 1)
    assert idle.get(JOBS).status == 303
    console.visitor()
    with sqlite3.connect(console.house.folder / "console-0.sqlite") as database:
        assert database.execute("SELECT count(*) FROM sessions").fetchone() == (1,)


def test_replicas_know_each_others_sessions(console: Console) -> None:
    visitor = console.visitor()
    other = Visitor(console.process())
    other.cookies = visitor.cookies
    assert other.get(JOBS).status == 200


@pytest.mark.parametrize(
    "headers, form",
    [
        ({}, {"csrf": ""}),
        ({}, {"csrf": "0" * 64}),
        ({"origin": "https://evil.example"}, {}),
        ({"origin": "null"}, {}),
        ({"content_type": "text/plain"}, {}),
    ],
)
def test_a_form_from_elsewhere_changes_nothing(
    console: Console, headers: dict[str, str], form: dict[str, str]
) -> None:
    job, visitor = console.house.job(), console.visitor()
    for path in (f"{JOBS}/{job}/start", f"{JOBS}/{job}/delete", "/console/groups", "/console/codes"):
        answer = visitor.post(path, {"Name": "new-thing"} | form, **headers)
        assert answer.status in (400, 403), path
    assert console.house.status(job) == "Ready"
    assert console.store.workgroups.page().total == 0
    assert console.store.tokens.all() == []


def test_a_form_of_ours_from_our_own_page_is_taken(console: Console) -> None:
    job, visitor = console.house.job(), console.visitor()
    assert visitor.post(f"{JOBS}/{job}/start", origin=f"https://{HOST}").status == 303


def test_a_proof_belongs_to_one_session(console: Console) -> None:
    job, mine, yours = console.house.job(), console.visitor(), console.visitor()
    assert mine.csrf != yours.csrf
    assert mine.post(f"{JOBS}/{job}/start", {"csrf": yours.csrf}).status == 403


def test_nobody_can_be_logged_in_from_another_site(console: Console) -> None:
    key, secret = console.people[Role.ADMIN]
    visitor = console.visitor(None)
    assert visitor.post("/console/login", {"key": key.id, "secret": secret}).status == 403
    assert authenticator.COOKIE not in visitor.cookies


def test_guessing_is_slow_and_does_not_lock_the_owner_out(console: Console) -> None:
    key, secret = console.people[Role.ADMIN]
    guesser = console.visitor(None, "203.0.113.9")
    statuses = [guesser.log_in(key.id, f"guess {number}").status for number in range(attempts.FREE + 2)]
    assert statuses == [401] * (attempts.FREE + 1) + [429]
    refused = guesser.log_in(key.id, secret)  # even when the guess is right
    assert refused.status == 429
    assert int(refused.header("retry-after")) > 0
    assert console.visitor(Role.ADMIN, "192.0.2.77")


class Ticks:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_each_failure_costs_more_until_the_address_is_forgotten() -> None:
    ticks = Ticks()
    counted = LoginThrottle(ticks)
    waits = []
    for _ in range(attempts.FREE + 9):
        counted.failed("192.0.2.1")
        waits.append(counted.wait("192.0.2.1"))
    assert waits[: attempts.FREE] == [0.0] * attempts.FREE
    assert waits[attempts.FREE : attempts.FREE + 4] == [2.0, 4.0, 8.0, 16.0]
    assert waits[-1] == LOGIN.longest
    assert counted.wait("192.0.2.2") == 0.0
    assert [counted.too_soon("192.0.2.1") for _ in range(3)] == [True, False, False]
    counted.failed("192.0.2.1")
    assert counted.too_soon("192.0.2.1") and not counted.too_soon("192.0.2.2")
    ticks.now += attempts.MEMORY
    counted.failed("192.0.2.1")
    assert counted.wait("192.0.2.1") == 0.0
    counted.succeeded("192.0.2.1")
    assert counted.wait("192.0.2.1") == 0.0


def test_one_person_with_many_addresses_is_one_person() -> None:
    counted = LoginThrottle(Ticks())
    for number in range(attempts.FREE + 1):
        counted.failed(f"2001:db8:1:2::{number:x}")
    assert counted.wait("2001:db8:1:2:ffff::1") > 0
    assert counted.wait("2001:db8:1:3::1") == 0.0


def test_a_flood_of_addresses_takes_no_memory() -> None:
    counted = LoginThrottle(Ticks())
    for number in range(attempts.MOST + 50):
        counted.failed(f"10.{number >> 16}.{(number >> 8) & 255}.{number & 255}")
    assert len(counted._failures) == attempts.MOST


def test_the_entrance_names_a_command_that_makes_a_key(console: Console) -> None:
    hint = console.visitor(None).get("/console/login").page.one("p", class_="hint").text
    assert "connector control key create --state DIR --name NAME" in hint


def test_a_page_that_fails_by_a_defect_leads_back() -> None:
    def broken(_http: Request, _body: bytes) -> Response:
        raise ZeroDivisionError

    failed = Visitor(Starlette(routes=[Route("/broken", guarded(broken))])).get("/broken")
    assert failed.status == 500
    assert failed.page.one("a")["href"] == JOBS
