"""Talks to the C driver, one process per conversation."""

import os
import subprocess
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from tests.vixdisklib.estate import PATH, THUMBPRINT
from tests.waiting import PATIENCE


class Client:
    """A driver process that has loaded the library of `install`."""

    def __init__(self, driver: Path, install: Path, scratch: Path, **environment: str) -> None:
        library = next((install / "lib64").glob("libvixDiskLib.so.?"))
        self.install = install
        self._errors = scratch / "stderr"
        with self._errors.open("w") as errors:
            self._process = subprocess.Popen(
                [driver, library],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
                bufsize=1,
                env={**os.environ, **environment},
            )

    def do(self, *words: object) -> str:
        """The answer to one command, empty when the process ended instead."""
        stdin, stdout = self._pipes()
        try:
            stdin.write("|".join(map(str, words)) + "\n")
            stdin.flush()
        except BrokenPipeError:
            return ""
        return stdout.readline().strip()

    def init(self, config: Path | str = "-", *, libdir: Path | str | None = None) -> str:
        return self.do("init", libdir or self.install, config)

    def connect(self, *, snapshot: str = "snapshot-7", modes: str = "-", thumb: str = THUMBPRINT) -> str:
        """InitEx is done; allocates params 0 with a good login and connects 0."""
        self.do("params", 0, "allocate", "vc", "moref=vm-16", thumb, 1, "svc", "secret")
        return self.do("connect", 0, 0, snapshot, modes)

    def open(self, slot: int = 0, *, path: str = PATH, flags: int = 4) -> str:
        return self.do("open", slot, 0, flags, path)

    def opened(self) -> Self:
        """The whole way to an open handle 0."""
        assert [self.init(), self.connect(), self.open()] == ["0", "0", "0"], self.log()
        return self

    def finish(self) -> int:
        """Ends the input and waits; negative is the signal."""
        stdin, stdout = self._pipes()
        with suppress(BrokenPipeError):
            stdin.close()
        stdout.read()
        stdout.close()
        return self._process.wait(timeout=PATIENCE)

    def log(self) -> str:
        return self._errors.read_text()

    @property
    def pid(self) -> int:
        return self._process.pid

    def kill(self) -> None:
        """Ends it as the kernel would when memory runs out."""
        self._process.kill()
        self._process.wait()

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        return self._process.stdin, self._process.stdout

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()
        for pipe in self._pipes():
            with suppress(BrokenPipeError):
                pipe.close()
