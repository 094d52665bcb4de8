"""Pages that move by themselves: one watcher for all of them, however many there are."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Collection, Mapping, Set
from typing import Any

import pytest
from markupsafe import Markup

from connector.control.console.live import Feed, Topic
from connector.control.console.streams import sheet_address
from connector.control.console.templating import Fragment
from connector.control.domain.access import Role
from tests.console.conftest import Console
from tests.console.visitor import Visitor

HERE = Topic("line", "j-1", True)
THERE = Topic("line", "j-2", True)


class Stage:
    """What a watcher looks at; counts how often."""

    def __init__(self) -> None:
        self.templates = 0
        self.checks = 0
        self.asked: Set[Topic] = set()
        self.version = 1
        self.ended: set[str] = set()
        self.broken = False

    def look(self, topics: Set[Topic]) -> Mapping[Topic, Mapping[str, Fragment]]:
        self.templates += 1
        self.asked = topics
        if self.broken:
            raise RuntimeError("broken")
        return {
            topic: {
                f"line-{topic.id}": Fragment(Markup(f"<td>{topic.id} {self.version}</td>"), str(self.version))
            }
            for topic in topics
        }

    def alive(self, sessions: Collection[str]) -> Collection[str]:
        self.checks += 1
        return set(sessions) - self.ended


async def parts(events: AsyncIterator[bytes], count: int) -> list[Any]:
    """The next so many parts of a stream."""
    found: list[Any] = []
    while len(found) < count:
        message = (await asyncio.wait_for(anext(events), 20)).decode()
        if message.startswith("event: part"):
            found.append(json.loads(message.split("data: ", 1)[1]))
        if message.startswith("event: end"):
            found.append(None)
    return found


def test_one_look_serves_every_page() -> None:
    async def play() -> None:
        stage = Stage()
        feed = Feed(stage.look, stage.alive, pace=0.05)
        streams = [
            feed.follow(f"session-{n}", f"k{n}", frozenset([HERE if n % 2 else THERE])) for n in range(50)
        ]
        firsts = await asyncio.gather(*(parts(stream, 1) for stream in streams))
        assert {first[0]["html"] for first in firsts} == {"<td>j-1 1</td>", "<td>j-2 1</td>"}
        assert stage.asked == {HERE, THERE}
        before = stage.templates
        stage.version = 2
        seconds = await asyncio.gather(*(parts(stream, 1) for stream in streams))
        assert all(second[0]["version"] == "2" for second in seconds)
        assert stage.templates - before <= 5  # not fifty
        (watcher,) = [task for task in asyncio.all_tasks() if task.get_name() == "console watcher"]
        for stream in streams:
            await stream.aclose()  # type: ignore[attr-defined]
        await asyncio.wait_for(watcher, 20)  # nobody looks for nobody

    asyncio.run(play())


def test_a_page_is_told_only_what_changed_and_only_the_newest() -> None:
    async def play() -> None:
        stage = Stage()
        feed = Feed(stage.look, stage.alive, pace=0.02)
        stream = feed.follow("s", "k", frozenset([HERE]))
        await parts(stream, 1)
        templates = stage.templates
        while stage.templates < templates + 5:  # nothing changes
            await asyncio.sleep(0.01)
        for version in (2, 3, 4):  # a page that reads slowly misses what was overtaken
            stage.version, templates = version, stage.templates
            while stage.templates < templates + 2:
                await asyncio.sleep(0.01)
        assert [part["version"] for part in await parts(stream, 1)] == ["4"]
        await stream.aclose()  # type: ignore[attr-defined]

    asyncio.run(play())


def test_the_number_of_streams_is_bounded() -> None:
    async def play() -> None:
        stage = Stage()
        feed = Feed(stage.look, stage.alive, pace=0.02, most=3, most_of_one=2)
        streams = [feed.follow(name, name, frozenset([HERE])) for name in ("a", "a", "b")]
        for stream in streams:
            await parts(stream, 1)
        assert not feed.has_room("c", "c")
        assert feed.has_room("a", "a")  # it takes the place of one of its own
        await streams[2].aclose()  # type: ignore[attr-defined]
        assert feed.has_room("c", "c")
        for stream in streams[:2]:
            await stream.aclose()  # type: ignore[attr-defined]

    asyncio.run(play())


@pytest.mark.parametrize("sessions", ["one", "many"])
def test_who_opens_too_many_takes_only_places_of_the_same_key(sessions: str) -> None:
    async def play() -> None:
        stage = Stage()
        feed = Feed(stage.look, stage.alive, pace=0.02, most=10, most_of_one=3, most_of_key=3)
        other = feed.follow("quiet", "other", frozenset([HERE]))
        await parts(other, 1)
        greedy = [
            feed.follow("g" if sessions == "one" else f"g{n}", "greedy", frozenset([HERE])) for n in range(25)
        ]
        for stream in greedy:
            assert feed.has_room("g", "greedy")
            await parts(stream, 1)
        for stream in greedy[:22]:
            assert b"event: replaced" in [message async for message in stream][-1]
        assert feed.has_room("new", "third")
        stage.version = 2
        assert (await parts(other, 1))[0]["version"] == "2"
        assert (await parts(greedy[-1], 1))[0]["version"] == "2"
        for stream in (other, *greedy[22:]):
            await stream.aclose()  # type: ignore[attr-defined]

    asyncio.run(play())


def test_a_stream_ends_with_its_session() -> None:
    async def play() -> None:
        stage = Stage()
        feed = Feed(stage.look, stage.alive, pace=5.0)  # three looks between two checks
        mine, yours = (
            feed.follow("mine", "k", frozenset([HERE])),
            feed.follow("yours", "k", frozenset([HERE])),
        )
        await asyncio.gather(parts(mine, 1), parts(yours, 1))
        stage.ended = {"mine"}
        await feed._once(check=True)
        assert await parts(mine, 1) == [None]
        with pytest.raises(StopAsyncIteration):
            await anext(mine)
        await yours.aclose()  # type: ignore[attr-defined]

    asyncio.run(play())


def test_a_look_that_fails_is_not_the_last_one() -> None:
    async def play() -> None:
        stage = Stage()
        stage.broken = True
        feed = Feed(stage.look, stage.alive, pace=0.02)
        stream = feed.follow("s", "k", frozenset([HERE]))
        assert (await anext(stream)).startswith(b"retry")
        waiting = asyncio.ensure_future(parts(stream, 1))
        while stage.templates < 3:
            await asyncio.sleep(0.01)
        stage.broken = False
        assert (await waiting)[0]["id"] == "line-j-1"
        await stream.aclose()  # type: ignore[attr-defined]

    asyncio.run(play())


class Ear:
    """Listens to the address of a page, over HTTP."""

    def __init__(self, visitor: Visitor, path: str) -> None:
        self._visitor = visitor
        self._path = path
        self.parts: dict[str, str] = {}

    def hear(self, name: str, says: str, then: Any = None) -> None:
        """Until the part `name` says `says`; `then` happens once something was heard."""
        asyncio.run(self._hear(name, says, then))

    async def _hear(self, name: str, says: str, then: Any) -> None:
        heard = asyncio.Event()
        done = asyncio.Event()

        async def listen(message: Any) -> None:
            for event in message.get("body", b"").decode().split("\n\n"):
                if event.startswith("event: part"):
                    part = json.loads(event.split("data: ", 1)[1])
                    self.parts[part["id"]] = part["html"]
                    heard.set()
                    if part["id"] == name and says in part["html"]:
                        done.set()

        stream = asyncio.ensure_future(self._visitor.stream(self._path, listen, done))
        if then is not None:
            await asyncio.wait_for(heard.wait(), 20)
            await asyncio.to_thread(then)
        await asyncio.wait_for(done.wait(), 20)
        await stream


def test_a_job_goes_on_before_the_eyes_of_whoever_watches(console: Console) -> None:
    job = console.house.job()
    visitor = console.visitor(Role.OPERATOR)
    ear = Ear(visitor, sheet_address(job))
    ear.hear("state", "Preparing", then=lambda: console.house.service.start(job))
    assert "Ready -&gt; Running/Preparing" in ear.parts["log"]
    ear.hear("actions", f"/console/jobs/{job}/stop", then=console.house.turn)
    page = visitor.get(f"/console/jobs/{job}")
    shown = page.page.one(id="actions")["data-version"]
    assert shown
    assert ">Stop</button>" in ear.parts["actions"].replace("\n", "")


def test_what_the_page_shows_and_what_is_sent_have_one_version(console: Console) -> None:
    job = console.house.job()
    visitor = console.visitor(Role.OPERATOR)
    shown = visitor.get(f"/console/jobs/{job}").page.one(id="log")["data-version"]
    answer = visitor.get(sheet_address(job))
    assert answer.header("content-type").startswith("text/event-stream")
    assert answer.header("cache-control") == "no-store"
    heard: dict[str, str] = {}

    async def listen(message: Any) -> None:
        for event in message.get("body", b"").decode().split("\n\n"):
            if event.startswith("event: part"):
                part = json.loads(event.split("data: ", 1)[1])
                heard[part["id"]] = part["version"]
                if part["id"] == "log":
                    done.set()

    done = asyncio.Event()
    asyncio.run(visitor.stream(sheet_address(job), listen, done))
    assert heard["log"] == shown


def test_a_reader_hears_no_buttons(console: Console) -> None:
    job = console.house.job()
    ear = Ear(console.visitor(Role.READER), sheet_address(job))
    ear.hear("actions", "read-only")
    assert "<button" not in "".join(ear.parts.values())


def test_a_deleted_job_is_told_to_be_gone(console: Console) -> None:
    job = console.house.job()
    ear = Ear(console.visitor(Role.OPERATOR), f"/console/live?lines={job}&counts=")
    console.house.service.delete(job)
    ear.hear(f"line-{job}", "This job is deleted", then=console.house.turn)
    assert "All <strong>0" in ear.parts["counts"]


def test_nobody_listens_without_a_session(console: Console) -> None:
    assert console.visitor(None).get("/console/live?sheet=j-1").status == 401
    visitor = console.visitor()
    for nothing in ("", "?lines=", f"?sheet={'x' * 81}", "?lines=%00"):
        assert visitor.get(f"/console/live{nothing}").status == 400
