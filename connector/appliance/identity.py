"""An appliance proves its identity by its membership at the control plane and its evidence key; both can be renewed.

evidence-key.pem       the key that evidence is signed with; evidence-key.pub beside it
evidence-key.next.pem  the next key during a rotation, until the control plane's answer is stored
membership.json        see `membership`
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Final

from connector import __version__, pasted, readable
from connector.appliance.configuration import ApplianceConfiguration
from connector.appliance.membership import keep_membership, kept_membership
from connector.clients.agents import ControlClient, Membership, enrol
from connector.epoch import EpochMemory
from connector.errors import AuthenticationFailed, BadInput, Conflict, ControlFailed, StateRestored
from connector.files import move, replace
from connector.patience import Patience
from connector.transfer.evidence import Signer

log = logging.getLogger(__name__)

START_PATIENCE = 30.0  # seconds that a control plane may need when both start at the same time
KEY: Final = "evidence-key.pem"
NEXT: Final = "evidence-key.next.pem"
PUBLIC: Final = "evidence-key.pub"


class ApplianceIdentity:
    """The identity of one appliance at one control plane. Thread-safe: the renewing thread replaces each part at once."""

    def __init__(
        self, configuration: ApplianceConfiguration, vcenter: str, memory: EpochMemory | None = None
    ) -> None:
        """Use the stored membership if the control plane still accepts it; otherwise enrol with the activation code.

        `vcenter`: the instance UUID. Raises BadInput without a code, NotPermitted when this appliance was revoked.
        """
        self._state, self._control, self._vcenter = configuration.state, configuration.control, vcenter
        self._memory = memory
        kept = kept_membership(self._state)
        matches = kept is not None and kept.is_of(self._control.thumbprint) and kept.vcenter == vcenter
        self.signer = Signer.load(self._state / KEY)
        if kept is not None and matches and self._accepted(kept.membership):
            self.membership = kept.membership
        else:
            self.membership = self._enrol(configuration.name)
        self._publish()

    def renew(self, client: Callable[[], ControlClient], signs: Callable[[Signer], None]) -> None:
        """Get a new secret and a new key. After a failure at any point both ends still know each other, and it is repeated."""
        fresh = Signer.load(self._state / NEXT)
        with closing(client()) as control:
            secret = control.rotate(fresh.public_pem)
        member = Membership(self.membership.appliance_id, secret)
        keep_membership(self._state, self._control.thumbprint, self._vcenter, member)
        self._adopt(fresh)
        signs(fresh)
        self.membership = member

    def _accepted(self, member: Membership) -> bool:
        """Whether the control plane knows this appliance by one of its keys. With a code it can enrol again.

        A revoked appliance never enrols by itself.
        """
        try:
            if (self._state / NEXT).exists() and self._knows(
                member, fresh := Signer.load(self._state / NEXT)
            ):
                self._adopt(fresh)  # an earlier rotation ended after the control plane got the new key
                return True
            self._register(member, self.signer)
        except StateRestored:  # no appliance enrols until the restore is confirmed
            raise
        except (AuthenticationFailed, Conflict) as unknown:
            code = self._control.activation_code_file
            if code is None or not code.exists():
                raise
            log.warning("the membership is not accepted any more, enrolling again: %s", unknown)
            return False
        return True

    def _knows(self, member: Membership, signer: Signer) -> bool:
        try:
            self._register(member, signer)
        except StateRestored:
            raise
        except Conflict:
            return False
        return True

    def _register(self, member: Membership, signer: Signer) -> None:
        with closing(
            ControlClient(self._control.url, self._control.thumbprint, member, self._memory)
        ) as client:
            Patience(START_PATIENCE, (ControlFailed,)).outlast(lambda: client.register_key(signer.public_pem))

    def _adopt(self, fresh: Signer) -> None:
        move(self._state / NEXT, self._state / KEY)
        self.signer = fresh
        self._publish()

    def _publish(self) -> None:
        """Write the public half beside the key."""
        replace(self._state / PUBLIC, self.signer.public_pem.encode())

    def _enrol(self, name: str) -> Membership:
        control = self._control
        if control.activation_code_file is None:
            raise BadInput(
                "this appliance is not enrolled",
                on=control.url,
                remedy="name an activation_code_file for the first start",
            )
        member = enrol(
            control.url,
            control.thumbprint,
            _code(control.activation_code_file),
            name=name,
            vcenter=self._vcenter,
            version=__version__,
            memory=self._memory,
            evidence_key=self.signer.public_pem,
        )
        keep_membership(self._state, control.thumbprint, self._vcenter, member)
        return member


def _code(file: Path) -> str:
    try:
        return pasted.token(readable.content(file), "activation code", str(file))
    except OSError as broken:
        raise BadInput(
            f"cannot read the activation code: {broken!r}",
            on=str(file),
            remedy="copy it from the control plane's state directory",
        ) from None
