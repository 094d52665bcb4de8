"""The thread that serves a connection ends every order, whenever the connection breaks."""

from __future__ import annotations

import socket
import threading
from typing import Any, cast

import pytest

from nfc import aio
from nfc.codec import Compression
from nfc.conversation import Conversation
from nfc.engine import Engine
from nfc.errors import SessionCut
from tests.waiting import PATIENCE, eventually


class Breaking:
    """A connection that takes its first frame when it is allowed to, and breaks at the second one."""

    host = "esx-1:902"
    sending = False

    def __init__(self) -> None:
        self.socket, self._peer = socket.socketpair()
        self.entered, self.allowed = threading.Event(), threading.Event()
        self._sent = 0

    def send(self, _: bytes) -> None:
        self._sent += 1
        if self._sent > 1:
            raise SessionCut(self.host, "broken pipe")
        self.entered.set()
        assert self.allowed.wait(PATIENCE)

    def flush(self) -> None:
        """Nothing is ever kept back."""

    def close(self) -> None:
        self.socket.close()
        self._peer.close()


def test_orders_that_wait_together_all_end_when_the_first_of_them_cannot_be_sent() -> None:
    connection = Breaking()
    engine = Engine(cast(Any, connection), Conversation("[ds] vm/vm.vmdk", Compression.NONE), PATIENCE)
    memory = memoryview(bytearray(512))
    engine.start(1, 7, 0, memory)
    assert connection.entered.wait(PATIENCE)
    for key in (2, 3, 4):
        engine.start(key, 7, 0, memory)
    asked: list[BaseException] = []

    def ask() -> None:
        try:
            engine.ask(aio.close_session())
        except SessionCut as cut:
            asked.append(cut)

    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    eventually(lambda: len(engine._orders) == 4, "four orders that wait")
    connection.allowed.set()
    ended: dict[int, Any] = {}
    while len(ended) < 4:
        news = engine.ended(PATIENCE)
        assert news, f"only {sorted(ended)} have ended"
        ended |= {end.key: end.error for end in news}
    assert {type(error) for error in ended.values()} == {SessionCut}
    asking.join(PATIENCE)
    assert len(asked) == 1
    engine.stop(politely=False)


def test_an_order_after_the_end_ends_at_once() -> None:
    connection = Breaking()
    connection.allowed.set()
    engine = Engine(cast(Any, connection), Conversation("[ds] vm/vm.vmdk", Compression.NONE), PATIENCE)
    engine.cancel("enough")
    engine.stop(politely=False)
    engine.start(9, 7, 0, memoryview(bytearray(512)))
    (end,) = engine.ended(PATIENCE)
    assert (end.key, type(end.error)) == (9, SessionCut)
    with pytest.raises(SessionCut):
        engine.ask(aio.close_session())
