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


def version_1(signer: Signer) -> bytes:
    """A manifest as release 0.1.0 wrote it."""
    parts = {name: SECTIONS[name] for name in ("pass", "machine", "versions")}
    parts |= {f"disks/{key}": disk for key, disk in SECTIONS["disks"].items()}
    digests = {name: evidence.digest(canonical(part)) for name, part in parts.items()}
    key = base64.b64encode(signer.public).decode()
    value = signer.sign(canonical([evidence.FORMAT, 1, digests, key]))
    signature = {"algorithm": "Ed25519", "key": key, "value": base64.b64encode(value).decode()}
    body = {"format": evidence.FORMAT, "version": 1, "digests": digests, "sections": SECTIONS}
    return canonical(body | {"signature": signature}) + b"\n"


def test_version_1_is_read_and_no_flipped_bit_of_it_is_missed(signer: Signer) -> None:
    old = version_1(signer)
    manifest = read(old)
    assert (manifest.version, manifest.sections, manifest.key) == (1, SECTIONS, signer.public)
    assert evidence.heads(manifest)["2000"] == evidence.LineageHead(reading="p-1", change_id="")
    for at in range(len(old)):
        with pytest.raises((EvidenceDamaged, BadInput)):
            read(old[:at] + bytes([old[at] ^ 1]) + old[at + 1 :])
    with pytest.raises(BadInput, match="takes no further stages"):
        evidence.extend(old, "delivered", {}, signer)


def test_a_head_says_where_the_lineage_of_a_disk_ends(signer: Signer) -> None:
    lineage = {"target": "t1", "generation": 4, "root": "aa", "previous_root": "bb", "reading": "p-0"}
    disks = {"2000": {"change_id": "52 1/3", "lineage": lineage}}
    head = evidence.heads(read(seal(SECTIONS | {"disks": disks}, signer)))["2000"]
    assert head == evidence.LineageHead("p-0", "52 1/3", "t1", 4, "aa")
    disks["2000"]["lineage"] = ["no", "object"]
    with pytest.raises(EvidenceDamaged, match="disk 2000 has no readable lineage"):
        evidence.heads(read(seal(SECTIONS | {"disks": disks}, signer)))


def test_stages_of_unknown_names_are_kept_and_form_a_chain(
    sealed: bytes, signer: Signer, tmp_path: Path
) -> None:
    other = Signer.load(tmp_path / "other.pem")
    converted = evidence.extend(sealed, "converted", {"steps": {"fstab": 1}}, other)
    delivered = evidence.extend(converted, "delivered", {"disks": {"2000": {"file": "2000.qcow2"}}}, signer)
    manifest = read(delivered)
    assert [stage.name for stage in manifest.stages] == ["copied", "converted", "delivered"]
    assert [stage.key for stage in manifest.stages] == [signer.public, other.public, signer.public]
    assert (manifest.sections, manifest.key) == (SECTIONS, signer.public)
    body = json.loads(delivered)
    for stages in ([0, 2], [0, 2, 1], [0, 1, 1], [1], [1, 0]):
        rearranged = body | {"stages": [body["stages"][number] for number in stages]}
        with pytest.raises(EvidenceDamaged):
            read(canonical(rearranged) + b"\n")
    for at in range(0, len(delivered), 3):
        with pytest.raises((EvidenceDamaged, BadInput)):
            read(delivered[:at] + bytes([delivered[at] ^ 1]) + delivered[at + 1 :])


def test_a_stage_of_another_manifest_does_not_fit(sealed: bytes, signer: Signer) -> None:
    other = evidence.extend(seal(SECTIONS | {"machine": {"name": "db-01"}}, signer), "converted", {}, signer)
    body = json.loads(sealed)
    body["stages"].append(json.loads(other)["stages"][1])
    with pytest.raises(EvidenceDamaged, match="stage 1 does not follow"):
        read(canonical(body) + b"\n")


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
    body["stages"][0]["signature"]["key"] = base64.b64encode(forger.public).decode()
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
    body = json.loads(sealed) | {"version": 3}
    with pytest.raises(BadInput, match="newer than 2"):
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
    at: Any = body["stages"][0] if data.draw(st.booleans()) else body
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
    whole = path.read_bytes()
    for damaged in (b"not a key", whole[: len(whole) // 2], bytes(len(whole)), b""):
        path.write_bytes(damaged)
        with pytest.raises(BadInput) as refused:
            Signer.load(path)
        assert str(refused.value) == f"{path}: is no Ed25519 key; remove it: another one is made"
    path.unlink()
    path.mkdir()
    with pytest.raises(BadInput, match=r"cannot be read \(Is a directory\)"):
        Signer.load(path)
