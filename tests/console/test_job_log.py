"""A job's log as a file: whole, with a safe name, in pieces, and for whoever may see the job's page."""

from __future__ import annotations

import asyncio
import sqlite3

from starlette.types import Message

from connector.control.console.job_page import PIECE
from connector.control.domain.access import Role
from connector.names import visible
from tests.console.conftest import Console
from tests.console.test_pages import HOSTILE, UNSEEN


def download(console: Console, path: str, role: Role = Role.READER, at: str = "") -> list[Message]:
    """What the server sends, message by message. `at`: a statement for the database after the first piece."""
    sent: list[Message] = []

    async def listen(message: Message) -> None:
        sent.append(message)
        if at and len(sent) == 2:
            change(console, at)

    visitor = console.visitor(role)

    async def run() -> None:
        await visitor.stream(path, listen, asyncio.Event())

    asyncio.run(run())
    return sent


def change(console: Console, statement: str, *values: object) -> None:
    with sqlite3.connect(console.house.folder / "console-0.sqlite") as database:
        database.execute(statement, values)


def written(sent: list[Message]) -> str:
    return b"".join(message.get("body", b"") for message in sent[1:]).decode()


def test_a_log_is_downloaded_whole_in_pieces_with_nothing_unseen_in_it(console: Console) -> None:
    job = console.house.job()
    before = console.store.log.count(job)
    for number in range(2 * PIECE):
        console.store.jobs.note(job, "note", f"entry {number}\nnot {number + 1} lines")
    console.store.jobs.note(job, "note", HOSTILE)
    sent = download(console, f"/console/jobs/{job}/log")
    headers = dict(sent[0]["headers"])
    assert sent[0]["status"] == 200
    assert headers[b"content-type"] == b"text/plain; charset=utf-8"
    assert headers[b"content-disposition"] == f'attachment; filename="job-j-{job}.log"'.encode()
    assert headers[b"cache-control"] == b"no-store"
    assert headers[b"x-content-type-options"] == b"nosniff"
    pieces = [message.get("body", b"").decode() for message in sent[1:]]
    assert max(piece.count("\n") for piece in pieces) <= PIECE
    first, *lines = written(sent).splitlines()
    assert first == f"# Log of the job job-j ({job}), source j ({console.house.sources['j']})"
    assert len(lines) == before + 2 * PIECE + 1
    assert [line for line in lines if "entry 7 not 8 lines" in line]
    assert lines[-1].endswith(f"  note        {visible(HOSTILE)}")
    assert not set(written(sent)) & set(UNSEEN)


def test_a_log_that_cannot_be_read_to_its_end_says_so(console: Console) -> None:
    job = console.house.job()
    console.store.jobs.note(job, "note", "is not reached")
    text = written(download(console, f"/console/jobs/{job}/log", at="ALTER TABLE events RENAME TO gone"))
    assert "is not reached" not in text
    assert text.splitlines()[-1].startswith("# The log is incomplete")


def test_the_page_leads_to_its_log_and_a_file_name_is_fit_for_every_system(console: Console) -> None:
    job = console.house.job()
    page = console.job_page(job, Role.READER).page
    (link,) = [found["href"] for found in page.all("a") if "Download" in found.text]
    change(console, "UPDATE jobs SET name = ? WHERE id = ?", '../a:b\r\n"\u202e' + "x" * 200, job)
    headers = dict(download(console, link)[0]["headers"])
    assert headers[b"content-disposition"] == f'attachment; filename="a_b_{"x" * 56}-{job}.log"'.encode()


def test_no_log_of_nothing_and_none_for_nobody(console: Console) -> None:
    job = console.house.job()
    assert console.visitor().get("/console/jobs/j-none/log").status == 404
    assert console.visitor(None).get(f"/console/jobs/{job}/log").moved.startswith("/console/login")
