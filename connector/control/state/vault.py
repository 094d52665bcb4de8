"""Secrets that survive a restart are sealed; the key is a file of its own, never in the database."""

from __future__ import annotations

import datetime
import hmac
import json
from pathlib import Path
from typing import Final

from cryptography.fernet import Fernet, InvalidToken

from connector import files
from connector.errors import BadInput, ControlFailed
from connector.transfer.certificates import Authority

#: Longer than any job may live; what it issues is short-lived.
LIFETIME: Final = datetime.timedelta(days=400)


class Vault:
    """Seals authorities of jobs and secrets of access keys. Every replica on one database needs the same file."""

    def __init__(self, key_file: Path) -> None:
        self._file = key_file
        key = secret_file(key_file, Fernet.generate_key().decode()).encode()
        try:
            self._fernet = Fernet(key)
        except ValueError:
            raise damaged(key_file) from None
        self._proving = hmac.digest(key, b"connector epoch", "sha256")

    def new_authority(self, job_id: str) -> str:
        """A fresh authority for one job, sealed."""
        authority = Authority.create(job_id, LIFETIME)
        return self.seal(json.dumps([authority.certificate_pem, authority.key_pem]))

    def authority(self, sealed: str) -> Authority:
        """The authority that `new_authority` sealed."""
        certificate, key = json.loads(self.unseal(sealed))
        return Authority.load(certificate, key)

    def proof(self, text: str) -> str:
        """That whoever holds this key has said `text`."""
        return hmac.digest(self._proving, text.encode(), "sha256").hex()

    def proves(self, text: str, proof: str) -> bool:
        """Whether `proof` was made of `text` with this key."""
        return hmac.compare_digest(self.proof(text), proof)

    def seal(self, secret: str) -> str:
        """The secret as it may be stored."""
        return self._fernet.encrypt(secret.encode()).decode()

    def unseal(self, sealed: str) -> str:
        """What `seal` sealed."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken as error:
            raise ControlFailed(
                "this key does not open what is stored",
                on=str(self._file),
                remedy="restore the key file that belongs to this database",
                retryable=False,
            ) from error


def secret_file(path: Path, fresh: str) -> str:
    """The content of a file that only its owner may read; `fresh` when missing."""
    if not path.exists():
        files.make_once(path, f"{fresh}\n".encode())
    return _whole(path)


def damaged(path: Path) -> BadInput:
    """The refusal of a file of ours: nothing is guessed, and nothing made in its place."""
    return BadInput(
        "is damaged", on=str(path), remedy="restore it from the backup of this control plane's files"
    )


def _whole(path: Path) -> str:
    """Printable lines. Raises BadInput."""
    try:
        content = path.read_text().strip()
    except UnicodeDecodeError:
        raise damaged(path) from None
    if not content or not all(line.isprintable() for line in content.splitlines()):
        raise damaged(path)
    return content
