"""Manifests: signed, canonical, and no bit of them can change unnoticed."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connector.errors import BadInput, ConnectorError, EvidenceDamaged
from connector.transfer import evidence
from connector.transfer.evidence import Signer, canonical, fingerprint, read, seal

SECTIONS: dict[str, Any] = {
    "pass": {"id": "p-1", "reading": "p-1", "began": "2026-11-25T03:00:00.000Z", "note": "größer \u2028"},
    "machine": {"name": "web-01"},
    "versions": {"connector": "0.1.0"},
    "disks": {"2000": {"label": "Hard disk 1", "numbers": [1, 2, 3]}, "2001": {"label": "Hard disk 2"}},
}


@pytest.fixture(scope="module")
def signer(tmp_path_factory: pytest.TempPathFactory) -> Signer:
    return Signer.load(tmp_path_factory.mktemp("key") / "key.pem")


@pytest.fixture(scope="module")
def sealed(signer: Signer) -> bytes:
    return seal(SECTIONS, signer)


def test_what_was_sealed_is_read(sealed: bytes, signer: Signer) -> None:
    found = read(sealed)
    assert (found.sections, found.key) == (SECTIONS, signer.public)
    assert sealed.endswith(b"\n") and sealed.count(b"\n") == 1 and sealed.isascii()


def test_every_flipped_bit_is_found(sealed: bytes) -> None:
    """All of them, one after the other."""
    for at in range(len(sealed)):
        for bit in range(8):
            flipped = bytearray(sealed)
            flipped[at] ^= 1 << bit
            with pytest.raises((EvidenceDamaged, BadInput)):
                read(bytes(flipped))


def test_a_damaged_section_is_located(sealed: bytes) -> None:
    at = sealed.index(b'"web-01"') + 1
    flipped = sealed[:at] + b"W" + sealed[at + 1 :]
    start = sealed.index(b'{"name"')
    with pytest.raises(EvidenceDamaged, match=rf"section machine, bytes \[{start}, {start + 17}\)"):
        read(flipped)


def test_a_damaged_disk_is_located(sealed: bytes) -> None:
    with pytest.raises(EvidenceDamaged, match="section disks/2001, bytes"):
        read(sealed.replace(b"Hard disk 2", b"Hard disk 3"))


def test_a_change_of_form_alone_is_located(sealed: bytes) -> None:
    at = sealed.index(b"\\u00f6")
    with pytest.raises(EvidenceDamaged, match=f"canonical form at byte {at + 4}"):
        read(sealed.replace(b"\\u00f6", b"\\u00F6"))
    pretty = json.dumps(json.loads(sealed), indent=1).encode()
    with pytest.raises(EvidenceDamaged, match="canonical form"):
        read(pretty)


def test_what_is_signed_anew_shows_another_key(sealed: bytes, tmp_path: Path, signer: Signer) -> None:
    forger = Signer.load(tmp_path / "forger.pem")
    forged = read(seal(SECTIONS | {"machine": {"name": "other"}}, forger))
    assert fingerprint(forged.key) != fingerprint(signer.public)
    body = json.loads(sealed)
    body["signature"]["key"] = base64.b64encode(forger.public).decode()
    with pytest.raises(EvidenceDamaged, match="the signature"):
        read(canonical(body) + b"\n")


@pytest.mark.parametrize(
    "data",
    [b"", b"{}", b"[]\n", b"{}\n", b"null\n", b"\xff\xfe", b"[" * 100000, b'{"format":"x"}\n', b"9" * 5000],
)
def test_what_is_no_manifest_is_refused(data: bytes) -> None:
    with pytest.raises(EvidenceDamaged):
        read(data)


def test_a_newer_version_and_a_monster_are_bad_input(sealed: bytes) -> None:
    body = json.loads(sealed) | {"version": 2}
    with pytest.raises(BadInput, match="newer than 1"):
        read(canonical(body) + b"\n")
    with pytest.raises(BadInput, match="at most"):
        read(bytes(evidence.LIMIT + 1))


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
)


@settings(max_examples=200)
@given(st.data())
def test_fields_of_other_shapes_never_break_the_reader(sealed: bytes, data: st.DataObject) -> None:
    body = json.loads(sealed)
    at: Any = body
    while isinstance(at, dict) and at:
        name = data.draw(st.sampled_from(sorted(at)))
        if not isinstance(at[name], dict) or not at[name] or data.draw(st.booleans()):
            at[name] = data.draw(VALUES)
            break
        at = at[name]
    try:
        read(canonical(body) + b"\n")
    except ConnectorError as error:
        assert "\n" not in str(error)


@given(st.binary(max_size=300))
def test_noise_is_refused(noise: bytes) -> None:
    with pytest.raises(EvidenceDamaged):
        read(noise)


def test_the_key_is_made_once_kept_secret_and_read_again(tmp_path: Path) -> None:
    path = tmp_path / "evidence-key.pem"
    made = Signer.load(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert Signer.load(path).public == made.public
    assert evidence.from_pem(made.public_pem.encode()) == made.public
    path.write_text("not a key")
    with pytest.raises(BadInput, match="cannot be read"):
        Signer.load(path)
