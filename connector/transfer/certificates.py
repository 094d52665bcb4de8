"""Each job has one authority, which issues certificates for 30 days at most; a SAN URI in a certificate names its role."""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from enum import StrEnum

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from connector.model import Credential

ROLE_PREFIX = "urn:agentless-connector:role:"
APPLIANCE_PREFIX = "urn:agentless-connector:appliance:"
BACKDATED = datetime.timedelta(minutes=10)  # clocks of an appliance and an instance differ


class CertificateRole(StrEnum):
    APPLIANCE = "appliance"
    CONTROL = "control"
    INSTANCE = "instance"


class Authority:
    """A certificate authority for one job. Its key lives in this object and, on request, in `key_pem`."""

    def __init__(self, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        self._certificate, self._key = certificate, key

    @classmethod
    def create(cls, job: str, lifetime: datetime.timedelta = datetime.timedelta(days=30)) -> Authority:
        """A new authority; `job` only names it."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = _name(f"job {job}"[:64])
        builder = _builder(name, name, key.public_key(), lifetime)
        usage = _usage(signs_certificates=True)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(usage, critical=True)
        builder = builder.add_extension(
            x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False
        )
        return cls(builder.sign(key, hashes.SHA256()), key)

    @classmethod
    def load(cls, certificate_pem: str, key_pem: str) -> Authority:
        """The authority whose `certificate_pem` and `key_pem` these are."""
        key = serialization.load_pem_private_key(key_pem.encode(), password=None)
        if not isinstance(key, ec.EllipticCurvePrivateKey):
            raise ValueError("the authority's key is not an elliptic curve key")
        return cls(x509.load_pem_x509_certificate(certificate_pem.encode()), key)

    @property
    def certificate_pem(self) -> str:
        return _certificate_pem(self._certificate)

    @property
    def key_pem(self) -> str:
        """Secret: it allows to issue certificates for this job."""
        return _key_pem(self._key)

    def issue(
        self,
        role: CertificateRole,
        *,
        lifetime: datetime.timedelta = datetime.timedelta(days=7),
        addresses: Sequence[str] = (),
        appliance: str = "",
    ) -> Credential:
        """A credential for one side. `addresses` (IP or DNS) are only for foreign tools that insist on names.

        `appliance`: the id of the appliance that gets it; the credential can be revoked by this id.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        builder = _builder(_name(role.value), self._certificate.subject, key.public_key(), lifetime)
        names: list[x509.GeneralName] = [x509.UniformResourceIdentifier(ROLE_PREFIX + role.value)]
        names += [x509.UniformResourceIdentifier(APPLIANCE_PREFIX + appliance)] if appliance else []
        names += [_general_name(address) for address in addresses]
        both = [ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH]
        purpose = both if role is CertificateRole.INSTANCE else both[1:]
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._key.public_key())
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(signs_certificates=False), critical=True)
        builder = builder.add_extension(x509.ExtendedKeyUsage(purpose), critical=False)
        builder = builder.add_extension(issuer, critical=False)
        signed = builder.sign(self._key, hashes.SHA256())
        return Credential(self.certificate_pem, _certificate_pem(signed), _key_pem(key))


def ends(certificate: str) -> float:
    """When this certificate (PEM) ends, in seconds since the epoch."""
    return x509.load_pem_x509_certificate(certificate.encode()).not_valid_after_utc.timestamp()


def _name(common: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common)])


def _general_name(address: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(address))
    except ValueError:
        return x509.DNSName(address)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, lifetime: datetime.timedelta
) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key)
    builder = builder.serial_number(x509.random_serial_number())
    return builder.not_valid_before(now - BACKDATED).not_valid_after(now + lifetime)


def _usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not signs_certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _certificate_pem(certificate: x509.Certificate) -> str:
    return certificate.public_bytes(serialization.Encoding.PEM).decode()


def _key_pem(key: ec.EllipticCurvePrivateKey) -> str:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()
