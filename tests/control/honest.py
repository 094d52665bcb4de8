"""What an honest appliance leaves of a pass: disks at the instance that show it, and signed evidence that says so."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from connector.control.store.provider_ledger import instance_token
from connector.transfer import evidence
from connector.transfer.evidence import Signer


def new_signer() -> Signer:
    """A key of its own."""
    return Signer(Ed25519PrivateKey.generate())


def change_id(reading: str, key: object) -> str:
    return f"{reading}/{key}"


def manifest(
    signer: Signer,
    order: dict[str, Any],
    vcenter: str,
    keys: Iterable[int],
    *,
    reading: str = "",
    change_ids: Mapping[int, str] | None = None,
    machine: Mapping[str, str] | None = None,
    lineage: Mapping[str, Any] | None = None,
    **changes: Any,
) -> bytes:
    """The evidence of a pass. `order`: pass_id, job_id, moref, instance_uuid; `changes` go into its section "pass",
    `machine` into that of the machine.
    """
    known = change_ids or {}
    reading = reading or order["pass_id"]
    more = {"lineage": dict(lineage)} if lineage else {}
    sections = {
        "pass": {"id": order["pass_id"], "job": order["job_id"], "reading": reading, "dropped": []} | changes,
        "machine": {
            "moref": order["moref"],
            "instance_uuid": order["instance_uuid"],
            "vcenter": vcenter,
        }
        | dict(machine or {}),
        "versions": {},
        "disks": {str(key): {"change_id": known.get(key, change_id(reading, key))} | more for key in keys},
    }
    return evidence.seal(sections, signer)


def shown(reading: str, keys: Iterable[int]) -> list[dict[str, Any]]:
    """Disks of an instance that were read in full by this reading, as it describes them."""
    return [
        {
            "key": str(key),
            "base": {"pass_id": reading, "change_id": change_id(reading, key)},
            "attempts": [],
            "settled": True,
            "spoiled": [],
        }
        for key in keys
    ]


def put_shown(order: dict[str, Any], keys: Iterable[int], reading: str = "") -> None:
    """All bytes of this reading are at the stand-in for the order's instance."""
    address = order["instance"]
    url = f"http://{address['host']}:{address['control_port']}/disks"
    body = json.dumps(shown(reading or order["pass_id"], keys)).encode()
    with urllib.request.urlopen(urllib.request.Request(url, body, method="PUT")):
        pass


def keep_shown(cloud: Path, order: dict[str, Any], keys: Iterable[int]) -> None:
    """The same for the instances of `fake_replica`, which are files."""
    file = cloud / f"shown-{instance_token(order['job_id'])}"
    draft = file.with_suffix(f".{order['pass_id']}")
    draft.write_text(json.dumps(shown(order["pass_id"], keys)))
    draft.replace(file)
