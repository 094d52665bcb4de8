"""A conversation recorded at somebody's vCenter says nothing about them, and replays without edits."""

from __future__ import annotations

import gzip
import html
import io
import re
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from pydantic import SecretStr

from connector.cli.main import main
from connector.cli.secret import VARIABLE
from connector.errors import BadInput, NotFound
from connector.model import Inventory, Machine
from connector.settings import VCenterSettings
from connector.vcenter import inventory
from connector.vcenter.eligibility import survey
from connector.vcenter.record import FILE, NOWHERE, RecordedAnswer, record
from connector.vcenter.scrub import SCRUBBED, Scrubber, vocabulary
from connector.vcenter.session import Session
from simulator.faults import Rule
from simulator.vcenter.hostile import Raw
from tests.vcenter.cassettes import FOLDER, asked, recorder
from tests.vcenter.imaginary import PASSWORD, USER, World, change_vm, world
from tests.vcenter.witness import Witness

SECRETS = (
    "kundenname",
    "Muellerstrasse",
    "geheim",
    "10.47.11.8",
    "00:50:56:ab:cd:ef",
    "esx-01",
    "lab.example",
)


@pytest.fixture(scope="module")
def known() -> frozenset[str]:
    return vocabulary()


@pytest.fixture(scope="module")
def place() -> Iterator[World]:
    with world(machines=3) as made:
        guest = made.estate.inventory.vm("vm-101").guest
        change_vm(
            made.estate, "vm-101", name="kundenname-db-01", guest=replace(guest, host_name="kundenname.local")
        )
        change_vm(
            made.estate, "vm-102", name="M\u00fcller & S\u00f6hne", extra={"guestinfo.token": "geheim-4711"}
        )
        made.estate.snapshots.create("vm-101", "vor dem Umzug nach Muellerstrasse", "geheim")
        yield made


def replay(directory: Path) -> tuple[Inventory, str]:
    """What the client makes of a recording, and what it said about itself."""
    settings = VCenterSettings(
        url=NOWHERE, user=SCRUBBED, password=SecretStr("not asked"), thumbprint="00" * 20
    )
    player = recorder(recording=False)
    player.register_matcher("asked", asked)
    tape = player.use_cassette(str((directory / FILE).resolve()), match_on=("method", "uri", "asked"))
    with tape, Session(settings) as session:
        return inventory.whole(session), session.about.version


def shape(machine: Machine) -> tuple[object, ...]:
    """What pseudonyms leave as it is."""
    disks = [(d.key, d.capacity, d.backing, d.mode, d.controller, d.unit) for d in machine.disks]
    depth = machine.path.count("/")
    return (
        machine.moref,
        machine.power,
        machine.hardware,
        machine.guest_id,
        disks,
        depth,
        len(machine.snapshots),
    )


@pytest.mark.parametrize("source", ["simulator", "vcsim"])
def test_a_recording_replays_without_edits(
    source: str, place: World, witness: Witness, tmp_path: Path
) -> None:
    settings = (place if source == "simulator" else witness).settings()
    done = record(settings, tmp_path / "tape", wanted="vm-101" if source == "simulator" else "")
    with Session(settings) as session:
        real, version = inventory.whole(session), session.about.version
    played, told = replay(tmp_path / "tape")
    assert (told, len(played.machines), done.machines) == (version, len(real.machines), len(real.machines))
    assert sorted(map(shape, played.machines)) == sorted(map(shape, real.machines))
    unscrubbed = {"V28"}  # whether a name is legal is lost with the name
    for moref, found in survey(real).items():
        told_ids = [one.check for one in survey(played)[moref] if one.check not in unscrubbed]
        assert told_ids == [one.check for one in found if one.check not in unscrubbed]


def test_a_recording_says_nothing_about_its_owner(place: World, tmp_path: Path) -> None:
    record(place.settings(), tmp_path, wanted="vm-101")
    file = tmp_path / FILE
    text = "\n".join(_strings(yaml.safe_load(file.read_text())))
    names = [one.name for one in place.estate.inventory.vms.values() if not one.name.startswith("idle")]
    uuids = [one.uuid for vm in place.estate.inventory.vms.values() for one in vm.disks]
    for secret in (*SECRETS, *names, *uuids, PASSWORD, USER, "127.0.0.1", "S\u00f6hne"):
        assert secret.lower() not in text.lower(), secret
    assert set(re.findall(r"<password[^>]*>(.*?)</password>", text)) == {SCRUBBED}
    assert file.stat().st_mode & 0o77 == 0
    with pytest.raises(BadInput, match="a recording already"):
        record(place.settings(), tmp_path)


def test_pseudonyms_of_two_recordings_have_nothing_in_common(known: frozenset[str]) -> None:
    first, second = Scrubber(b"1" * 32, known), Scrubber(b"2" * 32, known)
    assert first.text("kundenname") != second.text("kundenname")


HIDING = {
    "text": "<name>{}</name>",
    "after a tag": "<name>x</name>{}<val/> {}",
    "attribute": "<obj type=\"{}\" a='{}'>1</obj>",
    "namespace": '<obj xmlns:v="urn:{}">1</obj>',
    "CDATA": "<name><![CDATA[ {} ]]></name><![CDATA[{}]]>",
    "comment": "<name>1</name><!-- {} -->",
    "instruction": "<name>1</name><?proxy {}?>",
    "empty element": '<name a="{}"/>{}',
    "version": "<version>{}</version><apiType>{}</apiType><namespace>{}</namespace>",
    "password": "<password>{}<a/>{}</password>",
}


@given(
    name=st.from_regex(r"[^\W\d_]{4,12}", fullmatch=True),
    where=st.lists(st.sampled_from(sorted(HIDING)), min_size=1),
)
def test_no_name_hides_in_a_message(name: str, where: list[str]) -> None:
    """Wherever XML can have it, in letters or in references by number; and where it is cut by what is no UTF-8."""
    scrubber = Scrubber(b"key" * 10, frozenset({"name", "val", "obj", "type", "Envelope"}))
    for written in (name, "".join(f"&#{ord(letter)};" for letter in name)):
        inside = "".join(HIDING[one].replace("{}", written) for one in where)
        document = f'<?xml version="1.0"?><e:Envelope xmlns:e="urn:e" to="{written}">{inside}</e:Envelope>'
        for scrubbed in (
            scrubber.message(document.encode()),
            scrubber.message(document.encode() + b"<!-- \xff -->"),
        ):
            assert name not in scrubbed and written not in scrubbed and name not in html.unescape(scrubbed)
            assert "Envelope" in scrubbed, "it is still a message"


@given(
    page=st.text(),
    around=st.sampled_from(["{}", "<html><p>{}</p></html>", "<e:Envelope>{}", "<!DOCTYPE {}><Envelope/>"]),
)
def test_of_what_is_no_message_only_the_length_is_kept(page: str, around: str) -> None:
    body = around.replace("{}", f"vc01 corp {page}").encode("utf-8", "replace")
    assert Scrubber(b"key", frozenset()).message(body) == f"no message of vCenter, {len(body)} bytes"


def test_our_own_messages_lose_names_alone(known: frozenset[str]) -> None:
    """What is recorded keeps each tag and attribute: of all conversations of ours."""
    scrubber = Scrubber(b"key", known)
    texts = re.compile(r">[^<]+<|encoding=\S+")
    for file in FOLDER.glob("*.yaml"):
        for interaction in yaml.safe_load(file.read_text())["interactions"]:
            for body in (interaction["request"]["body"], interaction["response"]["body"]["string"]):
                if body:
                    text = body.decode() if isinstance(body, bytes) else body
                    scrubbed = scrubber.message(text.encode())
                    assert texts.sub("><", scrubbed) == texts.sub("><", text)


def test_the_page_of_a_proxy_is_no_part_of_a_recording(place: World, tmp_path: Path) -> None:
    """Its call is repeated, so the recording succeeds and has both answers."""
    page = "<html><body>Failed to connect to endpoint: <b>vc01</b>.lab.example kundenname</body></html>"
    answer = {"status": 503, "body": page, "contentType": "text/html; title=kundenname"}
    place.estate.faults.add(Rule("RetrievePropertiesEx", "answer", answer=answer))
    try:
        record(place.settings(), tmp_path)
    finally:
        place.estate.faults.replace([])
    answers = [one["response"] for one in yaml.safe_load((tmp_path / FILE).read_text())["interactions"]]
    refused = [one for one in answers if one["status"]["code"] == 503]
    assert [one["body"]["string"] for one in refused] == [f"no message of vCenter, {len(page)} bytes"]
    assert not [
        secret for secret in (*SECRETS, "vc01", "endpoint") if secret in (tmp_path / FILE).read_text()
    ]


@pytest.mark.parametrize("notes", [b"caf\xe9 kundenname", b"\xc3", b"\x01\x02 \xed\xa0\x80"])
def test_an_answer_that_is_no_utf_8_is_recorded_as_it_is_read(
    notes: bytes, place: World, tmp_path: Path
) -> None:
    place.server.center.hostile["vm-102"] = {"config.version": Raw(' xsi:type="xsd:string"', notes)}
    try:
        record(place.settings(), tmp_path)
        with Session(place.settings()) as session:
            real = inventory.whole(session)
    finally:
        place.server.center.hostile.clear()
    played, _ = replay(tmp_path)
    odd, same = (next(one for one in seen.machines if one.moref == "vm-102") for seen in (real, played))
    assert "\ufffd" in odd.hardware and "\ufffd" in same.hardware
    assert "kundenname" not in (tmp_path / FILE).read_text()


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_an_answer_that_a_proxy_packed_is_recorded_unpacked(coding: str) -> None:
    """Nobody asked for it, but our client reads it too. Of a damaged one nothing is kept."""
    plain = b"<Envelope><name>1</name></Envelope>"
    packed = gzip.compress(plain) if coding == "gzip" else zlib.compress(plain)
    answer = RecordedAnswer(Stored(packed, {"Content-Encoding": coding}))
    damaged = RecordedAnswer(Stored(packed[:-6], {"Content-Encoding": coding}))
    assert (answer.unpacked, answer.read(), damaged.unpacked) == (plain, packed, b"")


class Stored(io.BytesIO):
    """An answer as the connection gives it."""

    status, reason, length = 200, "OK", 0

    def __init__(self, body: bytes, headers: dict[str, str]) -> None:
        super().__init__(body)
        self.getheaders = headers.items


NAMES = st.text(st.characters(categories=["L", "N"]), min_size=1, max_size=20)


@given(name=NAMES, folder=NAMES)
def test_equal_things_stay_equal(name: str, folder: str) -> None:
    """A name in a path is the same pseudonym as the name alone; without its letters."""
    scrubber = Scrubber(b"key" * 10, frozenset({"vmdk"}))
    alone = scrubber.text(name)
    path = scrubber.text(f"[{folder}] {name}/{name}.vmdk")
    assert path == f"[{scrubber.text(folder)}] {alone}/{alone}.vmdk"
    assert name.isdigit() or name == "vmdk" or alone != name


@given(name=st.text(min_size=1, max_size=40))
def test_a_fitted_pseudonym_takes_the_bytes_of_its_text(name: str) -> None:
    """Of the two pseudonyms of one word, the shorter one begins the longer one."""
    scrubber = Scrubber(b"key" * 10, frozenset({"vmdk"}))
    assert len(scrubber.fitted(name).encode()) == len(name.encode())
    words = re.findall(r"[^\W\d_]{3,}", name)
    assert not [word for word in words if word in scrubber.fitted(name) and word not in ("vmdk", "fd")]
    for word in words:
        one, other = scrubber.fitted(word), scrubber.text(word)
        assert one.startswith(other) or other.startswith(one)


def test_digits_are_the_same_in_any_layout(known: frozenset[str]) -> None:
    scrubber = Scrubber(b"key", known)
    uuid = "6000C29a-1b2c-3d4e-5f60-718293a4b5c6"
    other = "60 00 C2 9a 1b 2c 3d 4e-5f 60 71 82 93 a4 b5 c6"
    assert scrubber.digits(other).replace(" ", "").replace("-", "") == scrubber.text(uuid).replace("-", "")
    assert re.fullmatch("([0-9a-f]{2}:){19}[0-9a-f]{2}", scrubber.digits("AB:" * 19 + "CD"))
    assert scrubber.fitted("&kunde;") != "&kunde;", "no XML"


@pytest.mark.parametrize(
    "kept",
    [
        "42",
        "2026-11-25T03:20:00.123Z",
        "poweredOn",
        "config.hardware.device",
        "vm-101",
        "group-v3",
        "scsi0:1.ctkEnabled",
        "debian12_64Guest",
        "Hard disk 1",
        "vmx-19",
    ],
)
def test_what_the_client_must_understand_is_kept(kept: str, known: frozenset[str]) -> None:
    assert Scrubber(b"key", known).text(kept) == kept


@pytest.mark.parametrize(
    ("text", "pattern"),
    [
        ("10.47.11.8", r"198\.18\.\d+\.\d+"),
        ("fe80::250:56ff:feab:cdef", r"fd00::[0-9a-f]{4}"),
        ("00:50:56:AB:cd:ef", r"([0-9a-f]{2}:){5}[0-9a-f]{2}"),
        ("6000C29a-1b2c-3d4e-5f60-718293a4b5c6", r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"),
        ("52 de c0 d9 b9 43 9d 10-61 d5 4c 1b e9 7b 65 63/81", r"([0-9a-f]{2}[ -]){15}[0-9a-f]{2}/81"),
        ("web01.corp.example", r"n[0-9a-f]{8}\.n[0-9a-f]{8}\.n[0-9a-f]{8}"),
        ("&lt;Kunde&gt;", r"&lt;n[0-9a-f]{8}&gt;"),
        ("M&#252;ller", r"(n[0-9a-f]{8}){3}"),
        ("&Kunde;", r"&n[0-9a-f]{8};"),
        ("\u0915\u093f\u2122 \U0001f984", r"n[0-9a-f]{8} n[0-9a-f]{8}"),
        ("::ffff:10.47.11.8", r"fd00::[0-9a-f]{4}"),
    ],
)
def test_the_form_of_a_thing_outlives_its_content(text: str, pattern: str, known: frozenset[str]) -> None:
    scrubbed = Scrubber(b"key", known).text(text)
    assert re.fullmatch(pattern, scrubbed) and scrubbed != text


@pytest.mark.parametrize("tape", sorted(FOLDER.glob(f"*/{FILE}")), ids=lambda tape: tape.parent.name)
def test_recordings_from_elsewhere(tape: Path) -> None:
    """Whatever was recorded with `connector record fixtures/cassettes/NAME` is read, and checked, without an error."""
    played, version = replay(tape.parent)
    assert version and len(survey(played)) == len(played.machines)


def test_the_command(
    place: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("CONNECTOR_VCENTER_URL", place.server.url)
    monkeypatch.setenv("CONNECTOR_VCENTER_THUMBPRINT", place.server.thumbprint)
    monkeypatch.setenv(VARIABLE, PASSWORD)
    assert main(["record", str(tmp_path / "one"), "--machine", "vm-101"]) == 0
    assert "3 machines" in capsys.readouterr().out
    assert main(["record", str(tmp_path / "one")]) == 2
    assert "choose a new directory" in capsys.readouterr().err
    assert main(["record", str(tmp_path / "two"), "--machine", "nobody"]) == NotFound.exit_code
    assert not (tmp_path / "two").exists(), "nothing half-done"


def _strings(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for part in (*value, *value.values()):
            yield from _strings(part)
    elif isinstance(value, list):
        for part in value:
            yield from _strings(part)
    else:
        yield str(value)
