"""A stack is a control plane and an appliance as child processes of one command; they end with the command.

Its state is in `DIR/.connector`. The same command in the same directory continues from there.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from connector import child, private
from connector.child import Child
from connector.cli.access import of_directory
from connector.clients.heartbeat import HEARTBEAT
from connector.clients.smc import SmcClient
from connector.errors import Conflict, ControlFailed, StateRestored, TargetFull
from connector.settings import VCenterSettings

T = TypeVar("T")

GRACE = (
    5.0 * HEARTBEAT
)  # seconds after which a silent appliance loses its passes; both processes are on this machine
CONFIRMED = 10  # how many restores one command confirms before it gives up
LEAST_ROOM = 1 << 20  # bytes; with less, databases and journals fail


@dataclass(frozen=True, slots=True)
class StackLocation:
    """The directory of a stack and what it works with."""

    vcenter: VCenterSettings
    vddk: Path | None  # None: disks are read without VMware's library
    target: Path  # images appear below it
    transports: str = "nbdssl"
    passes: int = 2

    @property
    def state(self) -> Path:
        return self.target / ".connector"


class Stack:
    """Control plane and appliance, started on entry and stopped, appliance first, on exit.

    `began`: seconds since the epoch; runs that were under way before have been resumed by this start.
    """

    def __init__(
        self,
        place: StackLocation,
        say: Callable[[str], None] = lambda _: None,
        before_appliance: Callable[[SmcClient], None] = lambda _: None,
    ) -> None:
        """`say` prints that the state here was restored. `before_appliance` may raise before any run is resumed."""
        self._say, self._before_appliance = say, before_appliance
        self._place = place
        self._unwind = ExitStack()
        self._children: list[Child] = []
        self.client: SmcClient
        self.thumbprint = ""  # of the control plane's certificate
        self.began = time.time()
        self._confirmed = 0  # the number of restores that this command has confirmed

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._unwind.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._unwind.close()

    def check(self) -> None:
        """Raise ControlFailed if one of the children has died, TargetFull if they cannot write any more.

        A restored state is confirmed, because this command is its own administrator.
        """
        self._check_room()
        for process in self._children:
            if (code := process.exit_code()) is not None:
                how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
                raise ControlFailed(
                    f"it {how}",
                    on=process.name,
                    remedy=f"run the same command again to resume; its log is in {self._logs}",
                )
        self.confirm()

    def confirm(self) -> bool:
        """Confirm a restored state and say so; False if it was not restored. Raises StateRestored if it is held too often."""
        if not (why := self.client.call("DescribeControlPlane")["Restored"]):
            return False
        self._say(
            f"WARNING: the state in {self._place.state} was restored: {why}; what the targets hold counts,"
            " and the next pass of each job compares every disk"
        )
        if self._confirmed == CONFIRMED:
            raise StateRestored(
                f"the state was confirmed {CONFIRMED} times and is held again: {why}",
                on=str(self._place.state),
                remedy="a peer knows a later state than this one: stop other connectors that use it, run the"
                " command again, and report it with the logs there if it comes back",
            )
        self._confirmed += 1
        # refused: the state was held again meanwhile, or another process has confirmed it
        with suppress(StateRestored, Conflict):
            self.client.call("ConfirmRestore", KeepCredentials=True)
        return True

    def patiently(self, work: Callable[[], T]) -> T:
        """Do `work`. If the state turns out to be restored, nothing of it was done, so confirm and do it again."""
        while True:
            try:
                return work()
            except StateRestored:
                if not self.confirm():
                    raise

    def images(self) -> set[str]:
        """Names of all images in the target."""
        folder = self._place.target / "images"
        return {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()

    def _check_room(self) -> None:
        """Raise TargetFull if the disk is full: the control plane could not even record that a pass failed."""
        target = self._place.target
        free = shutil.disk_usage(target).free
        if free < LEAST_ROOM:
            raise TargetFull(
                f"no space left ({free} bytes free)",
                on=str(target),
                remedy="make room, then run the same command again to resume",
            )

    @property
    def _logs(self) -> Path:
        return self._place.state

    def _start(self) -> None:
        place = self._place
        private.directory(place.state)
        self._check_room()
        control = self._child(
            "connector.control",
            [
                "--state",
                str(place.state / "control"),
                "--images",
                str(place.target),
                "--grace",
                str(GRACE),
                "--exit-with-stdin",
            ],
            name="control plane",
        )
        ready = {key: str(value) for key, value in control.ready.items()}
        self.thumbprint = ready["thumbprint"]
        access = of_directory(ready["url"], ready["thumbprint"], Path(ready["access_key_file"]))
        self.client = SmcClient(access)
        self._unwind.callback(self.client.close)
        self.confirm()
        self._before_appliance(self.client)
        self.patiently(
            lambda: self._child(
                "connector.appliance",
                ["--exit-with-stdin"],
                name="appliance",
                configuration=self._appliance(ready),
            )
        )
        self.confirm()

    def _child(
        self, module: str, arguments: list[str], *, name: str, configuration: dict[str, object] | None = None
    ) -> Child:
        log = self._logs / f"{name.replace(' ', '-')}.log"
        started = child.start(
            module, arguments, name=name, configuration=configuration, log=log, timeout=90.0
        )
        self._unwind.enter_context(started)
        self._children.append(started)
        return started

    def _appliance(self, control: dict[str, str]) -> dict[str, object]:
        place, vcenter = self._place, self._place.vcenter
        return {
            "name": "embedded",
            "vcenter": {
                "url": vcenter.url,
                "user": vcenter.user,
                "password": vcenter.password.get_secret_value(),
                "thumbprint": vcenter.thumbprint,
                "authority": None if vcenter.authority is None else str(vcenter.authority.resolve()),
            },
            "control": {
                "url": control["url"],
                "thumbprint": control["thumbprint"],
                "activation_code_file": control["activation_code_file"],
            },
            "vddk": None if place.vddk is None else str(place.vddk.resolve()),
            "state": str(place.state.resolve() / "appliance"),
            "watch": False,  # one sweep at the start is enough for one command
            "passes": place.passes,
            "transports": place.transports,
        }
