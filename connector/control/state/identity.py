"""The control plane's identity is in its state directory: certificate, owner's key, activation code.

The certificate is self-signed. Clients pin its SHA-256 thumbprint, which is printed at every start.
"""

from __future__ import annotations

import contextlib
import datetime
import hashlib
import ipaddress
import secrets
import ssl
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from connector.control.state import directory_key
from connector.control.state.directory_key import DirectoryKey
from connector.control.state.vault import damaged, secret_file
from connector.transfer import certificates

_LIFETIME: Final = datetime.timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class ControlIdentity:
    """The certificate and secrets of this process, and the files that clients need. `ends`: the certificate's end."""

    certificate_file: Path
    thumbprint: str
    activation_code_file: Path
    access_key: DirectoryKey
    ends: float
    activation_code: str = field(repr=False)


def load(state: Path, host: str) -> ControlIdentity:
    """The identity in `state`; it is created if it is missing. `host` is only the name in the certificate."""
    pem = state / "control.pem"
    content = secret_file(pem, _self_signed(host))
    public = _certificate(content, pem)
    certificate = state / "control.crt"  # without the key: for clients that want a file to trust
    if not certificate.exists() or certificate.read_bytes().strip() != public.encode():
        certificate.unlink(missing_ok=True)
        secret_file(certificate, public)
    with contextlib.suppress(OSError):  # left by 0.1.0: it gives access to nothing any more
        (state / "operator-token").unlink(missing_ok=True)
    code_file = state / "activation-code"
    return ControlIdentity(
        certificate_file=pem,
        thumbprint=thumbprint(public),
        activation_code_file=code_file,
        access_key=directory_key.load(state),
        ends=certificates.ends(public),
        activation_code=secret_file(code_file, secrets.token_urlsafe(24)),
    )


def _certificate(content: str, file: Path) -> str:
    """The certificate in `content`, without the key. Raises BadInput if it is not a key with its certificate."""
    secret, begin, remainder = content.partition("-----BEGIN CERTIFICATE")
    public = begin + remainder
    try:
        serialization.load_pem_private_key(secret.encode(), password=None)
        x509.load_pem_x509_certificate(public.encode())
    except ValueError:
        raise damaged(file) from None
    return public


def thumbprint(certificate: str) -> str:
    """The SHA-256 thumbprint of a PEM certificate."""
    return hashlib.sha256(ssl.PEM_cert_to_DER_cert(certificate.strip())).digest().hex(":").upper()


def _self_signed(host: str) -> str:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "connector control plane")])
    now = datetime.datetime.now(datetime.UTC)
    names = [_general(n) for n in dict.fromkeys(["localhost", "127.0.0.1", host])]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + _LIFETIME)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return (secret + certificate.public_bytes(serialization.Encoding.PEM)).decode().strip()


def _general(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
