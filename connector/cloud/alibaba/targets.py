"""Target instances on ECS: machines of the account that are not ours."""

from __future__ import annotations

import threading
from collections.abc import Sequence

from connector.cloud.alibaba.api import Api, Json
from connector.cloud.alibaba.former_system import boot_of
from connector.cloud.alibaba.market import GIB
from connector.cloud.alibaba.target_calls import TargetCalls, TargetLists
from connector.cloud.alibaba.target_disks import TargetDisks
from connector.cloud.provider import ProviderLedger
from connector.cloud.target_instance import LINUX, WINDOWS, DiskReplacement, TargetInstance


class CloudTargets:
    """Thread-safe; only one process at a time acts for a token."""

    def __init__(self, api: Api, ledger: ProviderLedger) -> None:
        self._api = api
        self._ledger = ledger
        self._lists = TargetLists(api)
        self._lock = threading.Lock()  # one machine is changed at a time

    @property
    def stops(self) -> bool:
        return True

    def find(self, instance: str) -> TargetInstance | None:
        row = self._lists.instance(instance)
        if row is None:
            return None
        image = next(self._lists.images(ImageId=str(row.get("ImageId"))), {})
        return TargetInstance(
            id=instance,
            name=str(row.get("InstanceName") or ""),
            running=row.get("Status") != "Stopped",
            family=_family(row),
            disks=tuple(int(disk["Size"]) * GIB for disk in self._lists.attached(instance)),
            architecture=str(image.get("Architecture") or boot_of(row).partition("|")[0]),
        )

    def replace_disks(self, replacement: DiskReplacement) -> Sequence[str]:
        with self._lock:
            return self._disks(replacement.token, replacement.instance).replace(replacement)

    def put_back(self, token: str, instance: str) -> None:
        with self._lock:
            self._disks(token, instance).put_back()

    def release_former(self, token: str, instance: str) -> None:
        with self._lock:
            self._disks(token, instance).release()

    def _disks(self, token: str, instance: str) -> TargetDisks:
        return TargetDisks(TargetCalls(self._api, self._lists, self._ledger, token, instance))


def _family(row: Json) -> str:
    word = str(row.get("OSType") or "").lower()
    return word if word in (WINDOWS, LINUX) else ""
