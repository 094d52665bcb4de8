"""Commands that only look at vCenter create nothing, so they need no ledger."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from connector.cli.secret import vcenter_password
from connector.errors import BadInput

if TYPE_CHECKING:  # vCenter's library is loaded only by commands that use it, not by --help
    from connector.settings import VCenterSettings
    from connector.vcenter.client import VCenter


class NoLedger:
    """A ledger that refuses every entry, so nothing can be created."""

    def planned(self, machine: str, token: str, kind: str = "snapshot") -> None:
        raise BadInput(f"this command only looks, it cannot make the {kind} {token}", on=machine)

    def created(self, machine: str, token: str, snapshot: str) -> None:
        raise BadInput(f"this command only looks, it cannot make {token} {snapshot}", on=machine)

    def removed(self, machine: str, token: str, kind: str = "snapshot") -> None:
        raise BadInput(f"this command only looks, it cannot remove the {kind} {token}", on=machine)

    def left(self, machine: str, token: str, why: str) -> None:
        raise BadInput(f"this command only looks, it cannot remove {token} ({why})", on=machine)


def settings(
    url: str, user: str, password_file: Path | None, thumbprint: str, authority: Path | None
) -> VCenterSettings:
    """The settings for a login. Raises BadInput if they do not say whom to trust."""
    if bool(thumbprint) == bool(authority):
        raise BadInput(
            "exactly one of --thumbprint and --ca must be given",
            on=url,
            remedy="ask vCenter's administrator for the thumbprint or the authority",
        )
    from pydantic import SecretStr

    from connector.settings import VCenterSettings

    return VCenterSettings(
        url=url,
        user=user,
        password=SecretStr(vcenter_password(password_file, user, url)),
        thumbprint=thumbprint,
        authority=authority,
    )


def session(access: VCenterSettings) -> VCenter:
    """A vCenter session that only looks."""
    from connector.vcenter.client import VCenter

    return VCenter(access, owner="viewer", ledger=NoLedger())


def named(words: Sequence[str]) -> list[str]:
    """The machine names in their order, without repetition."""
    return list(dict.fromkeys(words))
