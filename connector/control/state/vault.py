"""The database holds secrets only in sealed form. The vault's key is a file, never in the database."""

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

#: Longer than any job is valid. The certificates that it issues are short-lived.
LIFETIME: Final = datetime.timedelta(days=400)


class Vault:
    """Seals authorities of jobs and secrets of access keys. All replicas on one database need the same file."""

    def __init__(self, key_file: Path) -> None:
        self._file = key_file
        key = secret_file(key_file, Fernet.generate_key().decode()).encode()
        try:
            self._fernet = Fernet(key)
        except ValueError:
            raise damaged(key_file) from None
        self._proving = hmac.digest(key, b"connector epoch", "sha256")

    def new_authority(self, job_id: str) -> str:
        """A new authority for one job, sealed."""
        authority = Authority.create(job_id, LIFETIME)
        return self.seal(json.dumps([authority.certificate_pem, authority.key_pem]))

    def authority(self, sealed: str) -> Authority:
        """The authority that `new_authority` sealed."""
        certificate, key = json.loads(self.unseal(sealed))
        return Authority.load(certificate, key)

    def proof(self, text: str) -> str:
        """A proof that `text` was written by an owner of this key."""
        return hmac.digest(self._proving, text.encode(), "sha256").hex()

    def proves(self, text: str, proof: str) -> bool:
        """Whether `proof` was made for `text` with this key."""
        return hmac.compare_digest(self.proof(text), proof)

    def seal(self, secret: str) -> str:
        """The secret in sealed form."""
        return self._fernet.encrypt(secret.encode()).decode()

    def unseal(self, sealed: str) -> str:
        """The secret that `seal` sealed."""
        try:
            return self._fernet.decrypt(sealed.encode()).decode()
        except InvalidToken as error:
            raise ControlFailed(
                "this key does not open the stored secrets",
                on=str(self._file),
                remedy="restore the key file that belongs to this database",
                retryable=False,
            ) from error


def secret_file(path: Path, fresh: str) -> str:
    """The content of a file that only its owner may read. If the file is missing, it is made with `fresh`."""
    if not path.exists():
        files.make_once(path, f"{fresh}\n".encode())
    return _whole(path)


def damaged(path: Path) -> BadInput:
    """The refusal of a damaged file of ours. Nothing is guessed, and no new file replaces it."""
    return BadInput(
        "is damaged", on=str(path), remedy="restore it from the backup of this control plane's files"
    )


def _whole(path: Path) -> str:
    """The printable lines of a file. Raises BadInput."""
    try:
        content = path.read_text().strip()
    except UnicodeDecodeError:
        raise damaged(path) from None
    if not content or not all(line.isprintable() for line in content.splitlines()):
        raise damaged(path)
    return content
