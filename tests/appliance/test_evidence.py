"""Each finished pass leaves a signed account of every byte, and the image that is made of it can be checked with it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from connector.cli.main import main
from connector.transfer import evidence
from connector.transfer.account import Account, from_json
from connector.transfer.reasons import Reason
from tests.appliance.context import CELL, MIB, Bench, context
from tests.transfer.conftest import make_job

KEY = 2000


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    with context(tmp_path_factory.mktemp("evidence"), make_job("evidence")) as made:
        yield made


def manifest(web: Bench) -> evidence.Manifest:
    """Of the last pass."""
    return evidence.read(web.evidence[f"p-{web.number}"])


def told(web: Bench, key: int = KEY) -> Account:
    """Its account of a disk; tiles the disk, both ends are equal, and the target is what they say."""
    account = from_json(manifest(web).disks[str(key)])
    assert account.source == account.target
    assert account.whole[0] == account.whole[1]
    assert sum(piece.length for piece in account.pieces) == account.capacity == web.target(key).stat().st_size
    return account


def holes(web: Bench) -> set[int]:
    """Cells that the source has never written."""
    content = web.house.content()[KEY]
    return {at // CELL for at in range(0, len(content), CELL) if not any(content[at : at + CELL])}


def cells(account: Account, reason: Reason) -> set[int]:
    return {
        n
        for piece in account.pieces
        if piece.reason is reason
        for n in range(piece.start // CELL, -(-piece.end // CELL))
    }


def test_a_first_pass_says_what_was_read_and_what_was_not_there(web: Bench) -> None:
    for disk in web.house.machine().disks:
        web.instance.endpoint.remove_disk(str(disk.key))
    web.run()
    account = told(web)
    assert {piece.reason for piece in account.pieces} == {Reason.DATA, Reason.UNALLOCATED}
    assert cells(account, Reason.UNALLOCATED) == holes(web)


def test_the_manifest_says_of_whom_when_and_with_what(web: Bench) -> None:
    web.run()
    web.house.write(count=1)
    rows = web.run()
    sections, vm = manifest(web).sections, web.house.machine()
    assert sections["machine"] == {
        "name": "web-01",
        "moref": vm.moref,
        "instance_uuid": vm.instance_uuid,
        "bios_uuid": vm.uuid,
        "vcenter": web.work.vcenter.about.instance_uuid,
    }
    made, disk = sections["pass"], sections["disks"][str(KEY)]
    assert made["id"] == made["reading"] == f"p-{web.number}"
    assert made["snapshot"]["moref"].startswith("snapshot-")
    assert made["began"] <= made["snapshot"]["created"] <= made["ended"]
    assert disk["proved"] >= made["snapshot"]["created"]
    assert (disk["change_id"], disk["base_change_id"]) == (
        rows[KEY]["change_id"],
        rows[KEY]["base_change_id"],
    )
    assert disk["change_id"] != disk["base_change_id"] != ""
    assert (disk["label"], disk["uuid"]) == ("Hard disk 1", vm.disks[0].uuid)
    assert disk["audit"]["share"] == "0.001"
    assert disk["bytes"]["read"] == rows[KEY]["read"]
    assert sections["versions"]["vcenter"].startswith("8.0.3 ")
    assert sections["versions"]["vddk"] == "8.0.3"
    assert web.result["evidence"]["key"] == evidence.fingerprint(manifest(web).key)


def test_a_delta_says_what_changed_and_what_did_not(web: Bench) -> None:
    web.run()
    before = web.target(KEY).read_bytes()
    web.house.write(count=3)
    at = next(n for n in range(128) if n not in holes(web)) * CELL
    web.house.estate.power.write(web.house.machine().moref, KEY, at, bytes(CELL))
    web.run()
    after, account = web.house.content()[KEY], told(web)
    changed = {n // CELL for n in range(0, len(after), CELL) if after[n : n + CELL] != before[n : n + CELL]}
    assert changed <= cells(account, Reason.CHANGED) | cells(account, Reason.ZERO)
    assert at // CELL in cells(account, Reason.ZERO)
    assert {piece.reason for piece in account.pieces} == {Reason.CHANGED, Reason.ZERO, Reason.UNCHANGED}


def test_a_comparing_pass_says_what_was_equal(web: Bench) -> None:
    web.run()
    web.house.write(count=2)
    web.instance.endpoint.doubt(str(KEY), "the test doubts")
    before = web.target(KEY).read_bytes()
    web.run()
    after, account = web.house.content()[KEY], told(web)
    changed = {n // CELL for n in range(0, len(after), CELL) if after[n : n + CELL] != before[n : n + CELL]}
    assert cells(account, Reason.DATA) == changed
    assert cells(account, Reason.EQUAL) | cells(account, Reason.UNALLOCATED) == set(range(128)) - changed
    assert manifest(web).disks[str(KEY)]["note"] == "compared: the test doubts"


def test_a_repair_within_a_pass_is_in_its_account(web: Bench) -> None:
    web.run()
    at = next(iter(set(range(128)) - holes(web)))
    web.house.write(count=1)
    web.flip(KEY, at * CELL + 7)
    web.run()
    repaired = cells(told(web), Reason.REPAIRED)
    assert repaired == {at} or at in cells(told(web), Reason.CHANGED)


def verify(*words: str) -> int:
    return main(["verify", *words])


def images(web: Bench, name: str) -> Path:
    """A raw image of the last pass."""
    made = web.instance.endpoint.make_image(name, "raw", name)
    beside = {Path(path).name for path in made["beside"]}  # type: ignore[attr-defined]
    assert beside == {"evidence.json", "2000.digests", "2001.digests"}
    return Path(made["beside"][0]).parent  # type: ignore[index]


def test_an_image_is_verified_offline(
    web: Bench, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web.house.write(count=1)
    web.run()
    home = images(web, "good")
    public = tmp_path / "key.pub"
    assert web.work.evidence_writer is not None
    public.write_text(web.work.evidence_writer.signer.public_pem)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "60")
    assert verify(str(home / "evidence.json"), "--key", str(public)) == 0
    out = capsys.readouterr().out
    assert "result    as proved" in out and "\u2026" not in out, "nothing is cut on a narrow terminal"
    print_ = evidence.fingerprint(manifest(web).key)
    assert verify(str(home / "evidence.json"), str(home), "--key", print_, "--json") == 0
    body = json.loads(capsys.readouterr().out)
    assert (body["equal"], body["key_checked"], body["signed_by"]) == (True, True, print_)
    assert [disk["disk"] for disk in body["disks"]] == ["2000", "2001"]


def differences(body: dict[str, Any]) -> list[tuple[str, int, int]]:
    return [(d["disk"], e["start"], e["length"]) for d in body["disks"] for e in d["differences"]]


def test_a_flipped_byte_of_an_image_ends_with_10_and_its_place(
    web: Bench, capsys: pytest.CaptureFixture[str]
) -> None:
    web.run()
    home = images(web, "flipped")
    content = bytearray((home / "2001.raw").read_bytes())
    content[MIB + 77] ^= 4
    (home / "2001.raw").write_bytes(content)
    assert verify(str(home / "evidence.json"), "--json") == 10
    said = capsys.readouterr()
    (body,) = map(json.loads, said.out.splitlines())
    assert differences(body) == [("2001", MIB, CELL)]
    assert body["equal"] is False and body["disks"][0]["equal"] is True
    assert body["error"] == "ProofFailed" and body["remedy"] in said.err
    assert verify(str(home / "evidence.json")) == 10
    out = capsys.readouterr()
    assert f"2001.raw: differs in [{MIB}, {MIB + CELL}) (" in out.out
    assert out.err.count("\n") == 1
    assert verify(str(home / "evidence.json"), f"2000={home / '2000.raw'}") == 0
    assert "disk 2001 was not checked" in capsys.readouterr().out


@pytest.mark.parametrize("words", [(), ("2000.raw", "2000.qcow2"), ("2000.raw", "2000=2000.qcow2")])
def test_of_two_images_of_one_disk_none_is_chosen_in_silence(
    web: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    web.run()
    home = images(web, f"twice-{len(words)}-{'='.join(words).count('=')}")
    (home / "2000.qcow2").write_bytes(b"not even an image")
    monkeypatch.chdir(home)
    assert verify("evidence.json", *words) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "disk 2000 has several images" in said and "2000.qcow2" in said and "2000.raw" in said
    assert verify("evidence.json", ".", "2000=2000.raw") == 0


def test_what_is_wrong_with_the_manifest_is_one_line(
    web: Bench, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    web.run()
    home = images(web, "manifest")
    path = home / "evidence.json"
    data = path.read_bytes()
    path.write_bytes(data.replace(b'"web-01"', b'"web-02"'))
    assert verify(str(path)) == 4
    assert "section machine, bytes [" in capsys.readouterr().err
    path.write_bytes(data)
    assert verify(str(path), "--key", "SHA256:somebodyelse") == 4
    assert "is signed with the key SHA256:" in capsys.readouterr().err
    (home / "2001.raw").unlink()
    assert verify(str(path)) == 3
    assert "no image of disk 2001" in capsys.readouterr().err
    assert verify(str(path), str(home)) == 3, "an archive that lacks a disk"
    assert "no image of disk 2001" in capsys.readouterr().err
    assert verify(str(path), str(home), "2000=" + str(home / "2000.raw")) == 3
    assert verify(str(path), str(home / "2000.raw")) == 0, "one file that is named may be all that is meant"
    capsys.readouterr()
    assert verify(str(tmp_path / "nothing.json")) == 2
    assert verify(str(path), "--key", str(tmp_path / "nothing.pub")) == 2
    (tmp_path / "x.raw").write_bytes(b"")
    assert verify(str(path), str(tmp_path / "x.raw")) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all(line.startswith("connector: ") for line in lines)


def test_evidence_belongs_to_its_own_reading(web: Bench) -> None:
    """After another pass, the instance has the evidence of that pass, not of the one before."""
    web.run()
    first = evidence.read((images(web, "one") / "evidence.json").read_bytes())
    web.house.write(count=1)
    web.run()
    second = evidence.read((images(web, "two") / "evidence.json").read_bytes())
    assert first.sections["pass"]["reading"] != second.sections["pass"]["reading"] == f"p-{web.number}"
