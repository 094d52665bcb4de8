"""Turns the library's messages into `logging`: formatted, redacted, known noise at a lower level, hidden trouble higher.

Callbacks arrive on threads of the library; they only format and log, and never call the library.
"""

import ctypes
import logging
import os
import re
import threading
from collections import deque
from collections.abc import Callable
from itertools import islice
from typing import Final
from urllib.parse import quote

from vddk import abi

LOGGER: Final = logging.getLogger("vddk.library")
PANIC_EXIT: Final = 86
"""Exit status of a process whose library panicked."""

LONGEST: Final = 8192
"""A va_list can be read once, so the buffer is large and longer lines are cut."""

DEMOTED: Final = ("Get CEIP status failed", "VDDK_PhoneHome:")
PROMOTED: Final = ("cannot open shared object file",)
"""With a wrong library directory transports vanish and this text in a log line is the only trace."""

_SPOKEN_SECRETS: Final = re.compile(
    r"(?i)((?:pass(?:word|wd|phrase)?|vmware_soap_session|session[ _-]?(?:cookie|id|key)|cookie|secret)"
    r"""["']?\s*(?:[=:]|\bis\b)\s*)("[^"]*"|'[^']*'|[^\s,;)\]}]+)"""
)


class Redactor:
    """Removes secrets from text: known secrets anywhere, others by the word in front of them."""

    def __init__(self) -> None:
        self._known: tuple[str, ...] = ()

    def add(self, *secrets: str) -> None:
        """Remembers secrets, also in their URL-quoted spelling. Those under 3 characters would blot out
        everything.
        """
        spelled = {form for text in secrets for form in (text, quote(text, safe="")) if len(text) > 2}
        self._known = tuple(sorted({*self._known, *spelled}, key=len, reverse=True))

    def __call__(self, text: str) -> str:
        for secret in self._known:
            text = text.replace(secret, "***")
        return _SPOKEN_SECRETS.sub(r"\1***", text)


def level_of(line: str, level: int) -> int:
    """The level for a line, from its text and its own level."""
    if any(noise in line for noise in DEMOTED):
        return logging.DEBUG
    if any(trouble in line for trouble in PROMOTED):
        return max(level, logging.WARNING)
    return level


class Callbacks:
    """The three log callbacks of InitEx, alive as long as this object, which must outlive the library.

    ``panic`` reports and ends this process, because the callback must not return to the library.
    """

    def __init__(self, redact: Redactor, logger: logging.Logger = LOGGER) -> None:
        self.redact = redact
        self._logger = logger
        self._counting = threading.Lock()
        """Guards the next two: lines come from any number of threads."""
        self._recent: deque[str] = deque(maxlen=64)
        self._written = 0
        self._vsnprintf = ctypes.CDLL(None).vsnprintf
        self._vsnprintf.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_void_p)
        self._vsnprintf.restype = ctypes.c_int
        self._functions = (
            abi.LogFunction(self._guarded(logging.INFO)),
            abi.LogFunction(self._guarded(logging.WARNING)),
            abi.LogFunction(self._panicked),
        )

    @property
    def pointers(self) -> tuple[ctypes.c_void_p, ctypes.c_void_p, ctypes.c_void_p]:
        """log, warn, panic as InitEx takes them."""
        log, warn, panic = (ctypes.cast(function, ctypes.c_void_p) for function in self._functions)
        return log, warn, panic

    @property
    def written(self) -> int:
        """How many lines have come so far; a mark for `since`."""
        return self._written

    def since(self, mark: int) -> tuple[str, ...]:
        """The lines after ``mark``, redacted, as far as they are still remembered."""
        with self._counting:
            new = min(self._written - mark, len(self._recent))
            return tuple(islice(self._recent, len(self._recent) - new, None)) if new > 0 else ()

    def _format(self, template: bytes | None, arguments: int | None) -> str:
        if not template:
            return ""
        buffer = ctypes.create_string_buffer(LONGEST)
        self._vsnprintf(buffer, LONGEST, template, arguments)
        text = self.redact(buffer.value.decode("utf-8", "replace").rstrip())
        return "".join(sign if sign.isprintable() else " " for sign in text)

    def _guarded(self, level: int) -> Callable[[bytes | None, int | None], None]:
        def receive(template: bytes | None, arguments: int | None) -> None:
            try:
                self._take(self._format(template, arguments), level)
            except Exception:  # noqa: BLE001  an outermost handler: an exception here would vanish inside the library
                self._logger.warning("a log line of VDDK could not be formatted")

        return receive

    def _take(self, line: str, level: int) -> None:
        if line:
            with self._counting:
                self._recent.append(line)
                self._written += 1
            self._logger.log(level_of(line, level), "%s", line)

    def _panicked(self, template: bytes | None, arguments: int | None) -> None:
        try:
            self._logger.critical("panic: %s", self._format(template, arguments))
        finally:
            os._exit(PANIC_EXIT)
