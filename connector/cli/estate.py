"""Looking at vCenter from the command line without touching it: nothing is created, so nothing needs a ledger."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from connector.cli.secret import vcenter_password
from connector.errors import BadInput

if TYPE_CHECKING:  # vCenter's library is loaded by who looks, not by who asks for help
    from connector.settings import VCenterSettings
    from connector.vcenter.client import VCenter


class NoLedger:
    """Refuses to remember, and so forbids to create."""

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
    """Everything that is needed to log in. Raises BadInput when nothing says whom to trust."""
    if bool(thumbprint) == bool(authority):
        raise BadInput(
            "say whom to trust with exactly one of --thumbprint and --ca",
            on=url,
            remedy="vCenter's administrator knows both",
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


def look(access: VCenterSettings) -> VCenter:
    """A vCenter to look at."""
    from connector.vcenter.client import VCenter

    return VCenter(access, owner="viewer", ledger=NoLedger())


def named(words: Sequence[str]) -> list[str]:
    """Machine names without repetition, in the order given."""
    return list(dict.fromkeys(words))
