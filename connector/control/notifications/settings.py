"""The section `notifications` of the control plane's configuration. It is the administrator's: no workgroup sees it.

No secret is in it: secrets are in files of their own, or are credentials of the service manager.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Annotated, Final, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from connector import pasted, private, readable
from connector.clients import posting
from connector.clients.posting import PostAddress
from connector.clients.trust import Authorities, Pinned, Trust, thumbprint_of
from connector.control.domain.notified_events import BY_ID, EventSeverity
from connector.control.domain.notifying import RecipientFilter
from connector.errors import BadInput

#: Characters of the key of a signature, at least.
SHORTEST_KEY: Final = 16
#: Bytes of a file with a secret, at most.
_LARGEST: Final = 4096
_MAILBOX: Final = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.-]{1,255}")

RecipientName = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,39}$")]


class RecipientSection(BaseModel):
    """What every recipient has. Empty `events` and `workgroups`: all."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: RecipientName
    severity: EventSeverity = EventSeverity.INFO
    events: tuple[str, ...] = ()
    workgroups: tuple[str, ...] = ()
    thumbprint: str = ""
    authority: Path | None = None

    @field_validator("events")
    @classmethod
    def _known(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not set(value) <= BY_ID.keys():
            raise ValueError(f"an event is one of {', '.join(BY_ID)}")
        return value

    @field_validator("thumbprint")
    @classmethod
    def _sha256(cls, value: str) -> str:
        bare = thumbprint_of(value)
        if value and not bare:
            raise ValueError("is no SHA-256 thumbprint: 64 hex digits")
        return bare

    @model_validator(mode="after")
    def _one_trust(self) -> Self:
        if self.thumbprint and self.authority is not None:
            raise ValueError("name a thumbprint or an authority, not both")
        return self

    @property
    def trust(self) -> Trust:
        """By default the public authorities."""
        return Pinned(self.thumbprint) if self.thumbprint else Authorities(self.authority)

    @property
    def filter(self) -> RecipientFilter:
        return RecipientFilter(self.name, self.severity, frozenset(self.events), frozenset(self.workgroups))


class WebhookSection(RecipientSection):
    """A program that is told by POST. `secret_file` or `credential`: the key of the signature."""

    kind: Literal["webhook"]
    url: Annotated[str, Field(repr=False)]
    secret_file: Path | None = None
    credential: str = ""
    plain_http: bool = False

    @model_validator(mode="after")
    def _usable(self) -> Self:
        _one_secret(self.secret_file, self.credential, required=True)
        try:
            to = posting.address(self.url)
        except BadInput as refused:
            raise ValueError(f"url: {refused}") from None
        if to.scheme == "http" and not (to.is_loopback or self.plain_http):
            raise ValueError("url: it is not encrypted; use https://, or set plain_http: true")
        return self

    @property
    def address(self) -> PostAddress:
        return posting.address(self.url)

    def key(self) -> bytes:
        """The key of the signature, read anew. Raises BadInput."""
        secret = _secret(self.secret_file, self.credential)
        if len(secret) < SHORTEST_KEY:
            raise BadInput(
                f"the secret has less than {SHORTEST_KEY} characters",
                on=str(self.secret_file or self.credential),
                remedy="make one with: openssl rand -hex 32",
            )
        return secret.encode()


class MailSection(RecipientSection):
    """People who are told by mail. Without `user` nobody logs in."""

    kind: Literal["mail"]
    host: Annotated[str, Field(pattern=r"^[A-Za-z0-9.:\-]{1,255}$")]
    port: Annotated[int, Field(ge=1, le=65535)] | None = None
    tls: Literal["starttls", "tls", "none"] = "starttls"
    user: Annotated[str, Field(max_length=255)] = ""
    secret_file: Path | None = None
    credential: str = ""
    sender: Annotated[str, Field(alias="from")]
    to: Annotated[tuple[str, ...], Field(min_length=1, max_length=50)]

    @field_validator("sender", "to")
    @classmethod
    def _mailbox(cls, value: str | tuple[str, ...]) -> str | tuple[str, ...]:
        for mailbox in (value,) if isinstance(value, str) else value:
            if not _MAILBOX.fullmatch(mailbox):
                raise ValueError("is no mail address: NAME@DOMAIN, without a display name")
        return value

    @model_validator(mode="after")
    def _usable(self) -> Self:
        _one_secret(self.secret_file, self.credential, required=bool(self.user))
        if self.user and self.tls == "none":
            raise ValueError(
                "a password is sent over TLS only: set tls to starttls or tls, or leave out user"
            )
        return self

    @property
    def shown(self) -> str:
        """The server, as it may be shown."""
        return f"{self.host}:{self.port_number}"

    @property
    def port_number(self) -> int:
        return self.port or {"starttls": 587, "tls": 465, "none": 25}[self.tls]

    def password(self) -> str:
        """The password of `user`, read anew; empty without a user. Raises BadInput."""
        return _secret(self.secret_file, self.credential) if self.user else ""


AnyRecipient = Annotated[WebhookSection | MailSection, Field(discriminator="kind")]


class NotificationsSection(BaseModel):
    """Who is told of what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    recipients: Annotated[tuple[AnyRecipient, ...], Field(max_length=20)] = ()

    @field_validator("recipients")
    @classmethod
    def _distinct(cls, value: tuple[AnyRecipient, ...]) -> tuple[AnyRecipient, ...]:
        names = [one.name for one in value]
        if len(set(names)) != len(names):
            raise ValueError("two recipients have the same name")
        return value


def check_secrets(recipients: tuple[AnyRecipient, ...]) -> None:
    """Read every secret and authority once, so that a wrong file ends the start with one line. Raises BadInput."""
    for one in recipients:
        _ = one.key() if isinstance(one, WebhookSection) else one.password()
        one.trust.context()


def _one_secret(file: Path | None, credential: str, *, required: bool) -> None:
    """Raises ValueError, without a value."""
    if file is not None and credential:
        raise ValueError("name secret_file or credential, not both")
    if required and file is None and not credential:
        raise ValueError("name secret_file, or the credential of the service manager")
    if not required and (file is not None or credential):
        raise ValueError("a secret without a user: set user too")
    if not re.fullmatch(r"[A-Za-z0-9._-]*", credential) or credential.startswith("."):
        raise ValueError("credential: is no name of a credential")


def _secret(file: Path | None, credential: str) -> str:
    """Raises BadInput, which has no part of the secret."""
    if file is None:
        directory = os.environ.get("CREDENTIALS_DIRECTORY", "")
        if not directory:
            raise BadInput(
                "there is no such credential", on=credential, remedy="add LoadCredential= to the unit"
            )
        file = Path(directory, credential)
    try:
        content = readable.content(file, _LARGEST)
    except OSError as failed:
        raise BadInput(f"cannot read the secret: {failed.strerror}", on=str(file)) from None
    if not credential:
        private.refuse_open(file, "secret")
    return pasted.password(content, "secret", str(file))
