"""How long a wave of many machines takes to validate, plan, apply and show: `python -m benchmarks.wave [MACHINES]`.

A control plane process on SQLite, the command line in this process, over TLS with signed requests. No appliance works: jobs stay
Ready, so that only the commands are measured.
"""

from __future__ import annotations

import os
import resource
import sys
import tempfile
import threading
import time
from dataclasses import replace
from pathlib import Path

from connector import child
from connector.cli.main import main
from connector.clients.agents import ControlClient, enrol
from connector.control.domain.access import Role
from connector.control.state.access_keys import AccessKeys
from connector.control.state.vault import Vault
from connector.control.store import Store
from tests.control.conftest import machine

HEAD = """apiVersion: connector/v1
kind: MigrationWave
metadata: {name: big}
defaults:
  target: {region: cn-hangzhou}
  incremental: {every: 6h, keep: 3}
groups: [{name: a}, {name: b, after: [a]}]
machines:
"""


def entry(number: int) -> str:
    return f"""  - name: vm-{number:04}
    group: {"ab"[number % 2]}
    target: {{instanceType: ecs.g6.large, imageName: "{{wave}}-{{machine}}"}}
    disks: {{sizes: [{{disk: "Hard disk 2", size: 100GiB}}]}}
    bandwidth: 200Mbit/s
"""


def measured(what: str, *words: str) -> None:
    began, used = time.perf_counter(), time.process_time()
    code = main(["batch", *words])
    print(
        f"{what:<28} {time.perf_counter() - began:6.2f} s   {time.process_time() - used:6.2f} s of our CPU   exit {code}",
        file=sys.stderr,
    )


def beat(client: ControlClient, end: threading.Event) -> None:
    """Machines are only available while somebody could read them."""
    while not end.wait(1.0):
        client.heartbeat([])


def run(count: int, root: Path) -> None:
    database = f"sqlite:///{root / 'control.sqlite'}"
    arguments = [str(root / "state"), str(root / "cloud"), database]
    with child.start("tests.control.fake_replica", arguments, name="plane", log=root / "log") as plane:
        ready = {key: str(value) for key, value in plane.ready.items()}
        store = Store(database)
        key, secret = AccessKeys(store.keys, Vault(root / "state" / "vault-key")).create(
            "wave", Role.OPERATOR
        )
        store.close()
        os.environ |= {
            "CONNECTOR_CONTROL_URL": ready["url"],
            "CONNECTOR_CONTROL_THUMBPRINT": ready["thumbprint"],
            "CONNECTOR_ACCESS_KEY_ID": key.id,
            "CONNECTOR_ACCESS_KEY_SECRET": secret,
        }
        code = Path(ready["activation_code_file"]).read_text().strip()
        member = enrol(ready["url"], ready["thumbprint"], code, name="a", vcenter="https://vc", version="1")
        machines = [
            replace(machine(f"vm-{n}", f"vm-{n:04}"), path=f"/DC0/vm/vm-{n:04}") for n in range(count)
        ]
        client = ControlClient(ready["url"], ready["thumbprint"], member)
        client.put_sources(machines, {})
        end = threading.Event()
        threading.Thread(target=beat, args=(client, end), daemon=True).start()
        file = root / "wave.yaml"
        text = HEAD + "".join(entry(number) for number in range(count))
        file.write_text(text)
        measured("validate", "validate", str(file), "--json")
        measured("plan, all new", "plan", str(file), "--json")
        measured("apply, all new", "apply", str(file), "--json")
        measured("plan, no change", "plan", str(file), "--json")
        measured("apply, no change", "apply", str(file), "--json")
        file.write_text(text.replace("keep: 3", "keep: 4"))
        measured("apply, every job changed", "apply", str(file), "--json")
        measured("status", "status", str(file), "--json")
        measured("report", "report", str(file), "--json")
        end.set()
    print(f"memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10} MiB", file=sys.stderr)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="wave-") as folder:
        run(int(sys.argv[1]) if len(sys.argv) > 1 else 500, Path(folder))
