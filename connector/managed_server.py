"""uvicorn's server, which tells the service manager how it is: uvicorn's own callback goes by a clock that may be set back."""

from __future__ import annotations

import socket
from types import FrameType

import uvicorn

from connector.service_manager import ServiceManager


class ManagedServer(uvicorn.Server):
    """It is ready when it listens, alive with each turn of its loop, and stopping when a signal ends it."""

    def __init__(self, config: uvicorn.Config, manager: ServiceManager | None = None) -> None:
        super().__init__(config)
        self._manager = manager or ServiceManager()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            self._manager.ready("serves")

    async def on_tick(self, counter: int) -> bool:
        self._manager.alive()
        return await super().on_tick(counter)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        self._manager.stopping()
        super().handle_exit(sig, frame)
