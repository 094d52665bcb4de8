"""Who may do what: activation codes, access keys and sessions of the console.

The only secrets in these values are sealed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class TokenStatus(StrEnum):
    ACTIVE = "activated"
    DISABLED = "unactivated"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An activation code; only its digest is kept. It may bring in `count` sources and has brought in `registered`.

    It is valid for one `vcenter` and one tenant. An appliance waits for approval if its code names no vCenter. The first
    appliance of a vCenter waits for approval too, unless the code `joins`.
    """

    id: str
    name: str
    description: str
    count: int
    registered: int
    days: int
    created: float
    status: TokenStatus
    approved: bool = True
    vcenter: str = ""
    workgroup_id: str | None = None
    joins: bool = False


class Role(StrEnum):
    """What the holder of an access key may do: only look; also run jobs; also manage activation codes and appliances."""

    READER = "read-only"
    OPERATOR = "operator"
    ADMIN = "admin"


@dataclass(frozen=True, slots=True)
class AccessKey:
    """An access key. `sealed` is the secret, sealed by the vault: a digest could not check signatures.

    `workgroups`: ids of the only workgroups that its holder sees; None: everything. It is refused from `until` on.
    `of_directory`: it is the owner's key of the state directory, and has no row.
    """

    id: str
    sealed: str = field(repr=False)
    role: Role
    name: str
    created: float
    disabled: bool
    approved: bool = True  # False after a restore brought it back, until somebody approves it
    workgroups: tuple[str, ...] | None = None
    until: float | None = None
    of_directory: bool = False


@dataclass(frozen=True, slots=True)
class ConsoleSession:
    """A person's login in the console. `id` is the digest of the cookie; `origin` is the address at login."""

    id: str
    key_id: str
    origin: str
    created: float
    seen: float
