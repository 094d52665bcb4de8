"""Find libvixDiskLib, open it, bind the table, start it once. Every call into it goes through `Library`.

Rules of the library: InitEx once per process and on the main thread; opens and closes never overlap; no fork
afterwards.
"""

import atexit
import contextlib
import ctypes
import logging
import re
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from vddk import abi
from vddk.errors import (
    AlreadyInitialised,
    LibraryNotFound,
    LibraryUnloadable,
    SymbolMissing,
    WrongThread,
    from_value,
)
from vddk.logs import LOGGER, Callbacks, Redactor
from vddk.spec import Installation

NAMES: Final = tuple(f"libvixDiskLib.so.{major}" for major in (9, 8, 7, 6))
"""Newest first."""

_VERSION: Final = re.compile(r"libvixDiskLib\.so\.([0-9][0-9.]*)$")


def candidates(directory: Path) -> list[Path]:
    """Where the library may be, in the order of preference."""
    return [place / name for name in NAMES for place in (directory / "lib64", directory)]


def find(directory: Path) -> Path:
    """The library of an installation, or `LibraryNotFound`."""
    for path in candidates(directory):
        if path.is_file():
            return path
    raise LibraryNotFound(str(directory), f"{NAMES[0]}, .8, .7 or .6")


def version_of(path: Path) -> str:
    """The version in the name of the file that a library path leads to, as exact as that name is."""
    named = _VERSION.search(path.resolve().name) or _VERSION.search(path.name)
    return named.group(1) if named else ""


@dataclass(frozen=True)
class Probe:
    """What an installation offers. ``warnings`` are log lines that tell of trouble while starting."""

    path: str
    version: str
    found: tuple[str, ...]
    missing: tuple[str, ...]
    transports: tuple[str, ...]
    warnings: tuple[str, ...]


class Closable(Protocol):
    """What a library closes before it stops."""

    def shut(self) -> None: ...


class Library:
    """An opened libvixDiskLib, with its functions bound by the table. Not yet started: see `start`."""

    def __init__(self, installation: Installation) -> None:
        """Raises `LibraryNotFound`, `LibraryUnloadable` or `SymbolMissing`; all name the file."""
        self.installation = installation
        self.path = find(installation.directory)
        self.version = version_of(self.path)
        self.lifecycle = threading.Lock()
        """Held around connect+open and close+disconnect: interleaved from two threads they fail."""
        self.redact = Redactor()
        self.callbacks = Callbacks(self.redact)
        self.open_disks: list[Closable] = []
        """Held here, so that no open handle is ever collected with its callback."""
        self.abandoned: list[Any] = []
        """Memory that the library may still write to."""
        self._functions = _bind(self.path)
        self._spent: dict[str, list[float]] = {name: [0, 0.0] for name in self._functions}
        self._tmp: Path | None = None

    @property
    def major(self) -> int:
        """The major version; it decides the size of the information block."""
        digits = self.version.split(".")[0]
        return int(digits) if digits else abi.API_MAJOR

    @property
    def found(self) -> tuple[str, ...]:
        return tuple(function.symbol for function in abi.FUNCTIONS if function.name in self._functions)

    @property
    def missing(self) -> tuple[str, ...]:
        return tuple(function.symbol for function in abi.FUNCTIONS if function.name not in self._functions)

    def has(self, name: str) -> bool:
        """Whether an optional function is there."""
        return name in self._functions

    @property
    def guards(self) -> bool:
        """Whether it can forbid that a machine moves while it is read: one of the two calls alone would leave a lock."""
        return self.has("PrepareForAccess") and self.has("EndAccess")

    def invoke(self, name: str, *arguments: Any) -> Any:
        """Calls a function and counts it; the answer is as the library gave it."""
        spent = self._spent[name]
        began = time.monotonic()
        try:
            return self._functions[name](*arguments)
        finally:
            spent[0] += 1
            spent[1] += time.monotonic() - began

    def call(self, name: str, *arguments: Any, target: str = "") -> None:
        """Calls a function that answers a VixError and raises that, enriched with what the log said
        meanwhile.
        """
        mark = self.callbacks.written
        value = self.invoke(name, *arguments)
        if value != abi.VIX_OK:
            raise from_value(value, name, target, self.error_text(value), self.callbacks.since(mark))

    def error_text(self, value: int) -> str:
        """The library's own words for an error, redacted; empty when it has none."""
        pointer = self.invoke("GetErrorText", value, None)
        if not pointer:
            return ""
        try:
            return self.redact(ctypes.string_at(pointer).decode("utf-8", "replace"))
        finally:
            self.invoke("FreeErrorText", pointer)

    def statistics(self) -> dict[str, tuple[int, float]]:
        """Calls and seconds per function, of those called at all."""
        return {name: (int(count), seconds) for name, (count, seconds) in self._spent.items() if count}

    @staticmethod
    def on_main_thread() -> None:
        """Raises `WrongThread` elsewhere: only there may the library be started."""
        if threading.current_thread() is not threading.main_thread():
            raise WrongThread("VixDiskLib_InitEx", "the main thread")

    def start(self, tmp: Path | None = None) -> None:
        """InitEx, with a configuration file made from the installation. Main thread only, once per process.

        ``tmp`` is a private directory, made when not given, and removed at the end in any case.
        """
        self.on_main_thread()
        self._tmp = tmp or Path(tempfile.mkdtemp(prefix="vddk-"))
        configuration = self._tmp / "vddk.conf"
        configuration.write_text(self.installation.configuration(self._tmp))
        root = self.path.parent.parent if self.path.parent.name == "lib64" else self.path.parent
        with contextlib.ExitStack() as unless_started:
            unless_started.callback(self._remove_tmp)
            self.call(
                "InitEx", abi.API_MAJOR, abi.API_MINOR, *self.callbacks.pointers,
                bytes(root.resolve()), bytes(configuration), target=str(self.path),
            )  # fmt: skip
            unless_started.pop_all()
        if not self.guards:
            LOGGER.warning(
                "%s lacks PrepareForAccess or EndAccess: a machine may move while it is read",
                self.path,
            )
        if self.major < 7:
            LOGGER.warning(
                "VDDK %s is slow and unreliable with many disks; 7.0 or newer is advised", self.version
            )

    def transports(self) -> tuple[str, ...]:
        """The transports that this installation can use; needs `start`."""
        text = self.invoke("ListTransportModes")
        return tuple(text.decode("utf-8", "replace").split(":")) if text else ()

    def stop(self) -> None:
        """Exit. Takes about a second with the real library. Nothing of it may be used afterwards."""
        if self._tmp is not None:
            for disk in tuple(self.open_disks):
                disk.shut()
            self.invoke("Exit")
            LOGGER.debug("calls and seconds: %s", self.statistics())
            self._remove_tmp()

    def _remove_tmp(self) -> None:
        if self._tmp is not None:
            shutil.rmtree(self._tmp, ignore_errors=True)
            self._tmp = None


def _bind(path: Path) -> dict[str, Callable[..., Any]]:
    try:
        opened = ctypes.CDLL(str(path))
    except OSError as error:
        raise LibraryUnloadable(str(path), str(error)) from error
    functions: dict[str, Callable[..., Any]] = {}
    for entry in abi.FUNCTIONS:
        try:
            function = opened[entry.symbol]
        except AttributeError:
            if entry.required:
                raise SymbolMissing(str(path), entry.symbol, entry.since, abi.OLDEST_SUPPORTED) from None
            continue
        function.restype, function.argtypes = entry.result, entry.arguments
        functions[entry.name] = function
    return functions


class _Process:
    """The one library that this process may start. State of the process itself, hence the only global here.

    Never let go of once the start was tried: threads of the library may log until the process ends.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._library: Library | None = None
        self._running = False

    def library(self, installation: Installation, tmp: Path | None) -> Library:
        with self._lock:
            if self._library is None:
                return self._start(Library(installation), tmp)
            if not self._running or self._library.installation != installation:
                raise AlreadyInitialised(str(self._library.installation.directory))
            return self._library

    def _start(self, library: Library, tmp: Path | None) -> Library:
        library.on_main_thread()
        self._library = library  # spent, even if the start fails
        library.start(tmp)
        self._running = True
        atexit.register(self.stop)
        return library

    def stop(self) -> None:
        with self._lock:
            if self._library is not None and self._running:
                self._running = False
                self._library.stop()


_PROCESS: Final = _Process()


def library(installation: Installation, tmp: Path | None = None) -> Library:
    """This process's started library. Starts it at the first call, which must come from the main thread.

    Raises `AlreadyInitialised` for another installation than the first, or after `stop_library`.
    """
    return _PROCESS.library(installation, tmp)


def stop_library() -> None:
    """Exit of this process's library, if it was started; for good."""
    _PROCESS.stop()


@contextlib.contextmanager
def _collected_warnings() -> Iterator[list[str]]:
    class Collector(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    lines: list[str] = []
    handler = Collector(logging.WARNING)
    LOGGER.addHandler(handler)
    try:
        yield lines
    finally:
        LOGGER.removeHandler(handler)


def probe(directory: Path) -> Probe:
    """Opens, starts and asks an installation. Spends this process's one start: see `vddk.worker.probe` for
    another way.
    """
    with _collected_warnings() as warnings:
        started = library(Installation(directory))
        transports = started.transports()
    return Probe(
        str(started.path), started.version, started.found, started.missing, transports, tuple(warnings)
    )
