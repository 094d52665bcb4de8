"""A region in this process, quick and without delays unless a test wants them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from simulator.cloud import Boot, Region, Server, Stock, Timing, serve
from tests.ecs.account import KEY, Account

QUICK = Timing(pending=0.02, starting=0.02, disk=0.01, snapshot=0.05, image=0.05, network=0.01, lag=0.01)
Open = Callable[..., Server]


class Clock:
    """The real time, and as much later as a test wants."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def open_region(tmp_path: Path, certificates: Path) -> Iterator[Open]:
    with ExitStack() as stack:

        def begin(boot: str = "", keys: tuple[Any, ...] = (KEY,), **more: Any) -> Server:
            home = tmp_path / f"region-{len(list(tmp_path.iterdir()))}"
            region = Region(
                home, more.pop("stock", None) or Stock(), Boot(home, boot), **{"timing": QUICK} | more
            )
            region.add_public_image("m-sim-x86", "x86_64")
            region.add_public_image("m-sim-arm", "arm64")
            return stack.enter_context(serve(region, keys, certificates=certificates))

        yield begin


@pytest.fixture
def account(open_region: Open) -> Account:
    return Account(open_region())
