"""vcsim as a child process: the vCenter that we did not write."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import re
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from pydantic import SecretStr

from connector.settings import VCenterSettings

USER, PASSWORD = "svc", "correct-horse"


@dataclass(frozen=True)
class Identity:
    """A self-signed certificate for 127.0.0.1 and its key, as files."""

    certificate: Path
    key: Path

    @property
    def der(self) -> bytes:
        return ssl.PEM_cert_to_DER_cert(self.certificate.read_text())

    def thumbprint(self, digest: str) -> str:
        return hashlib.new(digest, self.der).hexdigest()


def identity(directory: Path) -> Identity:
    """A new identity in `directory`."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "vcenter.test")])
    now = datetime.datetime.now(datetime.UTC)
    names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    made = Identity(directory / "certificate.pem", directory / "key.pem")
    made.certificate.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    made.key.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return made


@dataclass(frozen=True)
class Witness:
    """A running vcsim."""

    url: str
    identity: Identity

    def settings(self, **changes: object) -> VCenterSettings:
        values: dict[str, object] = {
            "url": self.url,
            "user": USER,
            "password": SecretStr(PASSWORD),
            "thumbprint": self.identity.thumbprint("sha256"),
        }
        return VCenterSettings(**(values | changes))  # type: ignore[arg-type]


@contextmanager
def vcsim(directory: Path, *flags: str) -> Iterator[Witness]:
    """Run vcsim until the block ends; skips where it is not installed."""
    home = Path.home() / "go" / "bin" / "vcsim"
    program = shutil.which("vcsim") or (str(home) if home.exists() else None)
    if program is None:
        pytest.skip("vcsim (go install github.com/vmware/govmomi/vcsim@v0.46.3)")
    shown = identity(directory)
    command = [program, "-l", "127.0.0.1:0", "-username", USER, "-password", PASSWORD]
    command += ["-tlscert", str(shown.certificate), "-tlskey", str(shown.key), *flags]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(r"GOVC_URL=https://(?:[^@]*@)?([^/ ]+)", line)
        assert found, f"vcsim said {line!r}"
        try:
            yield Witness(f"https://{found[1]}", shown)
        finally:
            process.terminate()
            process.wait()
