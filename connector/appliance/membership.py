"""The membership of an appliance at its control plane, stored in its state directory, and its owner name in vCenter."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from connector import pasted
from connector.clients.agents import Membership
from connector.errors import BadInput
from connector.files import replace

MEMBERSHIP: Final = "membership.json"


@dataclass(frozen=True, slots=True)
class Kept:
    """`control` is the thumbprint of the control plane, `vcenter` the instance UUID of the vCenter."""

    control: str
    vcenter: str
    membership: Membership = field(repr=False)

    def is_of(self, control: str) -> bool:
        """Whether it is of this control plane; the spelling of thumbprints does not matter."""
        return self.control == control or _digits(self.control) == _digits(control)


def keep_membership(state: Path, control: str, vcenter: str, membership: Membership) -> None:
    """Store the membership before it is used; a crash leaves the old one or the new one."""
    document = {
        "control": control,
        "vcenter": vcenter,
        "appliance_id": membership.appliance_id,
        "secret": membership.secret,
    }
    replace(state / MEMBERSHIP, json.dumps(document).encode())


def owner_of(control: str) -> str:
    """The owner of our snapshots: all appliances of the control plane with this thumbprint share it."""
    return "c" + _digits(control)[:16]


def kept_membership(state: Path) -> Kept | None:
    """The stored membership; None when there is none. Raises BadInput when it cannot be read."""
    file = state / MEMBERSHIP
    try:
        document = json.loads(file.read_text())
        return Kept(
            str(document["control"]),
            str(document["vcenter"]),
            Membership(document["appliance_id"], document["secret"]),
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        raise BadInput(
            "is damaged", on=str(file), remedy="remove it and give a new activation code"
        ) from None


def _digits(thumbprint: str) -> str:
    return pasted.thumbprint(thumbprint) or thumbprint.replace(":", "").lower()
