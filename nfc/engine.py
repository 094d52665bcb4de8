"""The thread that serves one connection: it alone touches the socket, TLS and the conversation.

Others hand it orders and take what has ended from queues. When the session fails, each order ends with that error, the ones that
come later too. No memory of a reader is written to after its read has ended.
"""

import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import Final, NamedTuple

from nfc import classic
from nfc.aio import Question
from nfc.connection import Connection
from nfc.conversation import Answer, Conversation, Ended
from nfc.errors import NfcError, SessionCut, TimedOut, UnexpectedAnswer

_LAST: Final = 5.0
"""Seconds that the last message may take to leave."""


class _Order(NamedTuple):
    key: int
    frame: Callable[[Conversation], bytes]


class Engine:
    """See `nfc.flight.Engine`; keys of reads are positive."""

    def __init__(self, connection: Connection, conversation: Conversation, silence: float) -> None:
        self._connection, self._conversation, self._silence = connection, conversation, silence
        self._lock = threading.Lock()
        self._orders: deque[_Order] = deque()
        self._failure: NfcError | None = None
        self._stopping: NfcError | None = None
        self._reads: SimpleQueue[Ended] = SimpleQueue()
        self._answers: dict[int, SimpleQueue[Ended]] = {}
        self._questions = 0
        self._woken, self._waker = socket.socketpair()
        self._woken.setblocking(False)
        self._waker.setblocking(False)
        self._thread = threading.Thread(target=self._run, name=f"nfc {connection.host}", daemon=True)
        self._thread.start()

    def start(self, key: int, handle: int, offset: int, memory: memoryview) -> None:
        """Queues a read, and returns at once."""
        self._order(_Order(key, lambda conversation: conversation.read(key, handle, offset, memory)))

    def ended(self, timeout: float | None) -> list[Ended]:
        """Reads that ended since the last call. Waits for the first."""
        ended: list[Ended] = []
        with suppress(Empty):
            ended.append(self._reads.get(timeout=timeout) if timeout != 0.0 else self._reads.get_nowait())
            while True:
                ended.append(self._reads.get_nowait())
        return ended

    def ask(self, question: Question) -> Answer:
        """Waits for the answer. Raises what the host or the session has to say."""
        answers: SimpleQueue[Ended] = SimpleQueue()
        with self._lock:
            self._questions -= 1
            key = self._questions
            self._answers[key] = answers
        self._order(_Order(key, lambda conversation: conversation.ask(key, question)))
        ended = answers.get()
        if ended.error is not None:
            raise ended.error
        if ended.answer is None:
            raise UnexpectedAnswer(f"{question.kind.name} ended without an answer")
        return ended.answer

    def cancel(self, reason: str) -> None:
        """Ends the session now, from any thread."""
        with self._lock:
            self._stopping = self._stopping or SessionCut(self._connection.host, reason)
        self._wake()

    def stop(self, *, politely: bool) -> None:
        """Ends the session, with the protocol's last message when `politely`, and waits for the thread."""
        if politely:
            self._order(_Order(0, lambda _: classic.end()))
        self.cancel("the disk was closed")
        self._thread.join()

    def _order(self, order: _Order) -> None:
        with self._lock:
            failure = self._failure
            if failure is None:
                self._orders.append(order)
        if failure is None:
            self._wake()
        else:
            self._deliver(Ended(order.key, failure))

    def _wake(self) -> None:
        with suppress(OSError):  # it is awake already, or gone
            self._waker.send(b"\0")

    def _deliver(self, ended: Ended) -> None:
        if ended.key > 0:
            self._reads.put(ended)
        elif ended.key < 0:
            self._answers.pop(ended.key).put(ended)

    def _run(self) -> None:
        failure: NfcError = SessionCut(self._connection.host, "the thread that reads has failed")
        try:
            self._serve()
        except NfcError as error:
            failure = error
        finally:
            self._end(failure)

    def _end(self, failure: NfcError) -> None:
        self._connection.close()
        for ended in self._conversation.give_up(failure):
            self._deliver(ended)
        with self._lock:
            self._failure = failure
            left = list(self._orders)
            self._orders.clear()
        for order in left:
            self._deliver(Ended(order.key, failure))
        self._woken.close()
        self._waker.close()

    def _serve(self) -> None:
        last_heard = time.monotonic()
        with selectors.DefaultSelector() as selector:
            selector.register(self._woken, selectors.EVENT_READ)
            selector.register(self._connection.socket, selectors.EVENT_READ)
            while True:
                if not self._conversation.waiting:
                    last_heard = time.monotonic()
                self._send_orders()
                self._interest(selector)
                ready = {key.fileobj for key, _ in selector.select(self._left(last_heard))}
                if not ready:
                    self._overdue(last_heard)
                if self._woken in ready:
                    self._drain_wakes()
                if self._connection.socket in ready and self._connection.receive(self._conversation.decoder):
                    last_heard = time.monotonic()
                for ended in self._conversation.take():
                    self._deliver(ended)

    def _send_orders(self) -> None:
        """An order leaves the queue when the conversation knows it, so whoever waits for it hears of a failure at any time."""
        while self._orders:
            frame = self._orders[0].frame(self._conversation)
            self._orders.popleft()
            self._connection.send(frame)
        if self._stopping is not None:
            self._send_last()
            raise self._stopping

    def _send_last(self) -> None:
        """A host that takes nothing any more is left without a farewell."""
        self._connection.socket.settimeout(_LAST)
        with suppress(NfcError):
            self._connection.flush()

    def _interest(self, selector: selectors.BaseSelector) -> None:
        if self._connection.sending:
            self._connection.flush()
        wanted = selectors.EVENT_READ | (selectors.EVENT_WRITE if self._connection.sending else 0)
        if selector.get_key(self._connection.socket).events != wanted:
            selector.modify(self._connection.socket, wanted)

    def _left(self, heard: float) -> float | None:
        if not self._conversation.waiting:
            return None
        return max(heard + self._silence - time.monotonic(), 0.0)

    def _overdue(self, heard: float) -> None:
        if self._conversation.waiting and time.monotonic() >= heard + self._silence:
            raise TimedOut(
                self._connection.host, f"nothing came for {self._silence:g} s, {self._conversation.state()}"
            )

    def _drain_wakes(self) -> None:
        with suppress(BlockingIOError):
            while self._woken.recv(4096):
                pass
