"""Passwords, secrets, activation codes and thumbprints as people bring them, at the places where they come in."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from connector.appliance.configuration import VCenterSection
from connector.appliance.membership import Kept, owner_of
from connector.cli.secret import SECRET_VARIABLE, VARIABLE, access_key_secret, vcenter_password
from connector.clients.agents import Membership
from connector.clients.trust import thumbprint_of
from connector.cloud.alibaba.credentials import Credentials
from connector.errors import BadInput
from connector.pasted import thumbprint
from connector.vcenter.trust import VCenterTrust

SHA1 = hashlib.sha1(b"x").hexdigest()
SHA256 = hashlib.sha256(b"x").hexdigest()


def _pairs(digits: str, between: str = ":") -> str:
    return between.join(digits[at : at + 2] for at in range(0, len(digits), 2)).upper()


SPELLINGS = {
    "{digits}": "bare",
    "SHA{n}:{pairs}": "as tools print it",
    "SHA{n} Fingerprint={pairs}\n": "openssl",
    "sha{n} Fingerprint={pairs}": "openssl 3",
    "SHA-{n} thumbprint: {pairs}": "a page",
    "SHA{n}: {pairs} ": "blanks",
    "Thumbprint={digits}": "without the digest's name",
    "Fingerprint (SHA-{n}): {pairs}": "a browser",
    "{blanks}": "a certificate dialog",
    "\u200e{blanks}": "with the mark of that dialog",
    "{dashes}": "dashes",
    "{longer}": "dashes that a word processor made longer",
    '"{pairs}"': "quoted",
    "\ufeff{pairs}\r\n": "a file",
    "{pairs}\xa0": "a blank of a web page",
}


@pytest.mark.parametrize("spelling", SPELLINGS)
@pytest.mark.parametrize("digits", [SHA1, SHA256], ids=["sha1", "sha256"])
def test_a_thumbprint_may_be_written_as_every_tool_shows_it(spelling: str, digits: str) -> None:
    text = spelling.format(
        n=1 if len(digits) == 40 else 256,
        digits=digits,
        pairs=_pairs(digits),
        blanks=_pairs(digits, " "),
        dashes=_pairs(digits, "-"),
        longer=_pairs(digits, "\u2013"),
    )
    assert thumbprint(text) == digits
    assert VCenterTrust.of(text, None).pin == digits
    assert thumbprint_of(text) == (digits if len(digits) == 64 else "")


@pytest.mark.parametrize(
    "text",
    ["", "SHA256:", f"SHA256:{_pairs(SHA1)}", f"SHA1:{SHA256}", SHA1[:-1], f"{SHA256}0", f"MD5:{SHA1[:32]}",
     "SHA256:47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU", f"x{SHA1[1:]}"],
)  # fmt: skip
def test_what_is_no_thumbprint_is_none(text: str) -> None:
    assert thumbprint(text) == ""
    with pytest.raises(BadInput):
        VCenterTrust.of(text, None)


def test_an_appliance_knows_its_control_plane_however_the_thumbprint_is_written() -> None:
    kept = Kept(_pairs(SHA256), "vc", Membership("a", "s"))
    assert kept.is_of(f"SHA256 Fingerprint={_pairs(SHA256)}")
    assert not kept.is_of(_pairs(hashlib.sha256(b"y").hexdigest()))
    assert owner_of(f"SHA256:{SHA256}") == owner_of(_pairs(SHA256)) == f"c{SHA256[:16]}"


MEANT = {
    b"pw-1\r\n": "a file of Windows",
    b"\xef\xbb\xbfpw-1\r\n": "an editor's byte order mark",
    "pw-1\r\n".encode("utf-16"): "a redirection in PowerShell",
    b"\xfe\xff" + "pw-1".encode("utf-16-be"): "the other byte order",
    b"pw-1\n\n": "an empty line",
}
REFUSED = {
    b"pw\xe2\x80\x8b-1": "character 3 of the password is U\\+200B",
    b"pw-1\xc2\xa0\n": "character 5 of the password is U\\+00A0",
    b"pw-1\t\n": "U\\+0009",
    b"pw-1\x1b[D": "U\\+001B",
    b"\xe2\x80\xaapw-1": "U\\+202A",
    b"one\ntwo\n": "the end of a line",
    b"one\rtwo": "the end of a line",
    b"": "empty",
    b"\r\n": "empty",
    b"\xef\xbb\xbf": "empty",
    "pw-1".encode("utf-16-le"): "U\\+0000",
    b"pw\xe4": "not UTF-8",
}


def _file(folder: Path, content: bytes) -> Path:
    file = folder / "secret"
    file.write_bytes(content)
    file.chmod(0o600)
    return file


@pytest.mark.parametrize("content", MEANT, ids=MEANT.values())
def test_what_is_certainly_not_part_of_a_password_is_taken_away(content: bytes, tmp_path: Path) -> None:
    file = _file(tmp_path, content)
    assert vcenter_password(file, "me") == "pw-1"
    section = VCenterSection(url="https://vc.example", user="me", password_file=file, thumbprint=SHA1)
    assert section.settings().password.get_secret_value() == "pw-1"
    assert access_key_secret("id", file, "", None) == "pw-1"


@pytest.mark.parametrize("content", REFUSED, ids=range(len(REFUSED)))
def test_what_nobody_sees_is_refused_before_it_is_sent(content: bytes, tmp_path: Path) -> None:
    file = _file(tmp_path, content)
    with pytest.raises(BadInput, match=REFUSED[content]) as refused:
        vcenter_password(file, "me")
    assert "pw" not in str(refused.value).replace(str(file), "")
    section = VCenterSection(url="https://vc.example", user="me", password_file=file, thumbprint=SHA1)
    with pytest.raises(BadInput, match=REFUSED[content]):
        section.settings()


def test_visible_characters_and_blanks_are_a_password_s_own(tmp_path: Path) -> None:
    for text in (" a b ", "pässwörd", "密码", "\U0001f511", "p\u0061\u0308ss"):
        assert vcenter_password(_file(tmp_path, text.encode()), "me") == text


def test_the_environment_is_looked_at_in_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "\ufeffpw-1\r\n")
    monkeypatch.setenv(SECRET_VARIABLE, "\u200bpw-1 \r\n")
    assert vcenter_password(None, "me") == "pw-1"
    assert access_key_secret("id", None, "", None) == "pw-1"
    monkeypatch.setenv(VARIABLE, "pw\u200b-1")
    with pytest.raises(BadInput, match=rf"\${VARIABLE}.*U\+200B|U\+200B"):
        vcenter_password(None, "me")


def test_a_cloud_s_access_key_comes_without_what_was_copied_along() -> None:
    names = "ALIBABA_CLOUD_ACCESS_KEY_ID", "ALIBABA_CLOUD_ACCESS_KEY_SECRET"
    key = Credentials(None, dict(zip(names, ("LTAI5 \r\n", "\ufeffs3cret\u200b\r\n"), strict=True))).current()
    assert (key.id, key.secret) == ("LTAI5", "s3cret")
