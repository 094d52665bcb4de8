"""An appliance as a process that can be killed: takes passes, a few at a time, and reports them as done after a moment."""

import json
import os
import sys
import threading
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

from connector.cli.access import of_directory
from connector.clients.agents import ControlClient, Membership
from connector.errors import ConnectorError
from connector.transfer.evidence import Signer
from tests.control.honest import keep_shown, manifest
from tests.people import People

DISK = {"key": 2000, "label": "Hard disk 1", "capacity": 8 << 20, "wanted": 8 << 20, "done": 8 << 20}
RESULT = {
    "disks": [
        {"label": "Hard disk 1", "kind": "full", "capacity": 8 << 20, "planned": 6 << 20, "read": 6 << 20,
         "zero": 0, "wire": 3 << 20, "seconds": 0.1, "digest": "blake3:00"},
    ],
}  # fmt: skip


def work(settings: dict[str, str], held: set[str], pause: float) -> None:
    membership = Membership(settings["appliance_id"], settings["secret"])
    client = ControlClient(settings["url"], settings["thumbprint"], membership)
    while True:
        try:
            if (order := client.take(0.5)) is None:
                continue
            held.add(order["pass_id"])
            client.progress(order["pass_id"], "reading", [DISK])
            threading.Event().wait(pause)
            deliver(settings, client, order)
            client.finish(order["pass_id"], "done", None, RESULT)
            held.discard(order["pass_id"])
            with open(settings["log"], "a") as log:  # one write, so that lines of several threads do not mix
                log.write(json.dumps({"done": order["name"], "final": order["final"]}) + "\n")
        except ConnectorError:
            threading.Event().wait(0.1)


def deliver(settings: dict[str, str], client: ControlClient, order: dict[str, Any]) -> None:
    """The bytes are at the instance, and the evidence says so."""
    if order["credential"] is None:
        return
    access = of_directory(settings["url"], settings["thumbprint"], Path(settings["access_key_file"]))
    with closing(People(access)) as jobs:
        keys = [disk["key"] for disk in jobs.source(order["source_id"])["disks"]]
    keys = [key for key in keys if key not in order["left_out"]]
    keep_shown(Path(settings["cloud"]), order, keys)
    signer = Signer.load(Path(settings["key"]))
    client.evidence(order["pass_id"], manifest(signer, order, settings["vcenter"], keys))


def main() -> None:
    settings = json.loads(sys.stdin.readline())
    held: set[str] = set()
    for _ in range(4):
        threading.Thread(target=work, args=(settings, held, float(settings["pause"])), daemon=True).start()
    print(json.dumps({"ready": True}), flush=True)
    threading.Thread(target=beat, args=(settings, held), daemon=True).start()
    while sys.stdin.buffer.read(4096):
        pass
    os._exit(0)


def beat(settings: dict[str, str], held: set[str]) -> None:
    membership = Membership(settings["appliance_id"], settings["secret"])
    client = ControlClient(settings["url"], settings["thumbprint"], membership)
    while True:
        with suppress(ConnectorError):
            client.heartbeat(sorted(held))
        threading.Event().wait(0.3)


if __name__ == "__main__":
    main()
