"""A browser without a screen, next to the application: cookies, forms, no scripts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import cached_property
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import unquote, urlencode, urlsplit

from starlette.types import ASGIApp, Message, Scope

from tests.console.reading import Element, read

HOST = "console.example:8443"


@dataclass
class Answer:
    status: int
    headers: list[tuple[str, str]]
    text: str

    def header(self, name: str) -> str:
        return ", ".join(value for found, value in self.headers if found == name)

    @property
    def moved(self) -> str:
        assert self.status == 303, f"{self.status}: {self.text[:2000]}"
        return self.header("location")

    @cached_property
    def page(self) -> Element:
        assert self.header("content-type").startswith("text/html"), self.text[:200]
        return read(self.text)

    @property
    def banner(self) -> str:
        return " | ".join(found.text for found in self.page.all("p", class_="banner"))

    @property
    def states(self) -> list[str]:
        return [found.text for found in self.page.all("span", class_="state")]

    def buttons(self) -> dict[str, str]:
        """Where each button of an action leads, by what it says; without those that cannot be pressed."""
        return {
            found.text: found["formaction"]
            for found in self.page.all("button", form="act")
            if "disabled" not in found
        }


class Visitor:
    """One person, at one address."""

    def __init__(self, app: ASGIApp, address: str = "192.0.2.1") -> None:
        self._app = app
        self._address = address
        self.cookies: dict[str, str] = {}
        self.set_cookies: list[str] = []
        self.csrf = ""

    def get(self, path: str, **headers: str) -> Answer:
        answer = self.request("GET", path, None, **headers)
        if answer.status == 200 and answer.header("content-type").startswith("text/html"):
            found = next(answer.page.all("input", name="csrf"), None)
            self.csrf = found["value"] if found else ""
        return answer

    def post(self, path: str, form: dict[str, str] | None = None, **headers: str) -> Answer:
        """With the proof that every form of ours carries, unless the form brings another."""
        return self.request("POST", path, {"csrf": self.csrf} | (form or {}), **headers)

    def press(self, answer: Answer, says: str) -> Answer:
        """A button, and the page that it leads to."""
        done = self.post(answer.buttons()[says])
        return self.get(done.moved) if done.status == 303 else done

    def log_in(self, key: str, secret: str, back: str = "") -> Answer:
        self.get("/console/login")
        return self.post("/console/login", {"key": key, "secret": secret, "back": back})

    def request(self, method: str, path: str, form: Any, **headers: str) -> Answer:
        body = form if isinstance(form, bytes) else urlencode(form or {}).encode()
        return asyncio.run(self._exchange(method, path, body, headers))

    async def stream(
        self, path: str, listen: Callable[[Message], Awaitable[None]], done: asyncio.Event
    ) -> None:
        """Hear a stream, message by message, until somebody is done."""

        asked = iter([{"type": "http.request", "body": b"", "more_body": False}])

        async def receive() -> Message:
            if (message := next(asked, None)) is not None:
                return message
            await done.wait()
            return {"type": "http.disconnect"}

        await self._app(self._scope("GET", path, {}), receive, listen)

    async def _exchange(self, method: str, path: str, body: bytes, headers: dict[str, str]) -> Answer:
        sent: list[Message] = []
        asked = iter([{"type": "http.request", "body": body, "more_body": False}])
        enough = asyncio.Event()  # a stream would go on for ever: one piece of it will do

        async def receive() -> Message:
            if (message := next(asked, None)) is not None:
                return message
            await enough.wait()
            return {"type": "http.disconnect"}

        async def send(message: Message) -> None:
            sent.append(message)
            if message.get("body"):
                enough.set()

        await self._app(self._scope(method, path, headers), receive, send)
        return self._answer(sent)

    def _scope(self, method: str, path: str, headers: dict[str, str]) -> Scope:
        parts = urlsplit(path)
        given = {"host": HOST} | {name.replace("_", "-"): value for name, value in headers.items()}
        if self.cookies:
            given["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if method == "POST":
            given.setdefault("content-type", "application/x-www-form-urlencoded")
        return {
            "type": "http",
            "http_version": "1.1",
            "method": method,
            "scheme": "https",
            "path": unquote(parts.path),
            "raw_path": parts.path.encode(),
            "root_path": "",
            "query_string": parts.query.encode(),
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in given.items()],
            "client": (self._address, 40000),
            "server": ("console.example", 8443),
        }

    def _answer(self, sent: list[Message]) -> Answer:
        headers = [(name.decode(), value.decode("latin-1")) for name, value in sent[0]["headers"]]
        for name, value in headers:
            if name == "set-cookie":
                self.set_cookies.append(value)
                for found, morsel in SimpleCookie(value).items():
                    self.cookies[found] = morsel.value
                    if morsel["max-age"] == "0":
                        del self.cookies[found]
        text = b"".join(message.get("body", b"") for message in sent[1:]).decode(
            "utf-8", "surrogateescape"
        )  # a picture is no text
        return Answer(sent[0]["status"], headers, text)
