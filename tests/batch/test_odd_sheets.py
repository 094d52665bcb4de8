"""Sheets of other countries, tools and habits: what each means, what is noted, what is refused."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest

from connector.batch.parse import parse
from connector.batch.plane import SourceView
from connector.batch.problems import ManifestRefused
from connector.batch.resolve import resolve
from connector.batch.servers import server_url
from connector.batch.sheets import Imported, manifest, read
from connector.batch.words import NO, YES, truth
from connector.cli.vm import _write_csv
from connector.model import Firmware, Machine, PowerState

SHEETS = Path(__file__).parent / "sheets"


def _made(content: bytes | str, disks: str = "") -> Imported:
    text = content.encode() if isinstance(content, str) else content
    below = read(disks.encode(), "d.csv") if disks else None
    return manifest(read(text, "s.csv"), "w1", "r", below)


def _machines(made: Imported) -> list[tuple[str | None, str | None]]:
    wave = parse(made.text.encode(), "w1.yaml")
    return [(entry.name, entry.moref) for entry in wave.manifest.machines]


RIGHT = {
    "attributes.csv": ([("web-01", "vm-11")], ["name, group, region are custom attributes"]),
    "spanish.csv": ([("web", "vm-2")], ["s.csv:2: gold is a template"]),
    "sep.csv": ([("web-01", "vm-1")], []),
    "quoted_head.csv": ([("web-01", None)], []),
    "multiline.csv": ([("web", None)], ["s.csv:2: gold is a template"]),
    "escaped.csv": ([("web/01", "vm-1")], []),
    "vinfo.csv": ([("sql-a", "vm-11")], []),
}


@pytest.mark.parametrize("name", RIGHT)
def test_each_sheet_means_what_its_people_mean(name: str) -> None:
    machines, notes = RIGHT[name]
    made = _made((SHEETS / name).read_bytes())
    assert _machines(made) == machines
    assert len(made.notes) == len(notes)
    assert all(words in note for words, note in zip(notes, made.notes, strict=True))
    assert parse(made.text.encode(), "w").choices(0).target.region == "r"


def test_a_row_is_named_by_its_first_line() -> None:
    content = (SHEETS / "multiline.csv").read_text()
    assert [line for line, _ in read(content.encode(), "s.csv").rows] == [2, 5]
    assert [line for line, _ in read(b"sep=;\n" + b"\nVM;X\na;1\n\nb;2\n", "s.csv").rows] == [4, 6]
    with pytest.raises(ManifestRefused) as refused:
        read(b'VM,X\nweb,"one\ntwo"\nweb,"open\nstill', "s.csv")
    assert refused.value.problems[0].mark.line == 4


def test_two_columns_of_one_heading_that_differ_are_refused() -> None:
    with pytest.raises(ManifestRefused, match="columns 3 and 5 are both called 'template'"):
        _made((SHEETS / "attribute_template.csv").read_bytes())
    assert _machines(_made("VM,Owner,VM ID,Owner\na,x,vm-1,y\n")) == [("a", "vm-1")]
    assert _machines(_made("VM,VM ID,VM ID\na,vm-1,vm-1\n")) == [("a", "vm-1")]


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_quoted_headings_hold_any_separator_and_the_end_of_a_line(separator: str) -> None:
    head = separator.join(["VM", "Powerstate", '"a, b; c\td| e, f; g\nh"', "VM ID"])
    row = separator.join(["web", "poweredOn", "x", "vm-7"])
    assert _machines(_made(f"{head}\n{row}\n")) == [("web", "vm-7")]


@pytest.mark.parametrize("first", ["sep=;", "SEP=;", '"sep=;"', "\ufeffsep=;", "sep=; "])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_the_line_that_names_the_separator_is_no_row(first: str, end: str) -> None:
    sheet = read(end.join([first, "VM;a,b,c,d,e", "web;1", ""]).encode(), "s.csv")
    assert sheet.rows[0][0] == 3
    assert sheet.rows[0][1]["vm"] == "web"


YES_WORDS = "True WAHR VERDADERO VRAI VERO VERDADEIRO WAAR PRAWDA SANT SANN SAND TOSI PRAVDA IGAZ ADEVĂRAT DOĞRU ИСТИНА 1 yes"
NO_WORDS = (
    "False FALSCH FALSO FAUX ONWAAR FAŁSZ FALSKT USANN FALSK EPÄTOSI NEPRAVDA HAMIS FALS YANLIŞ ЛОЖЬ 0 no"
)


@pytest.mark.parametrize("word", YES_WORDS.split())
def test_words_for_yes(word: str) -> None:
    assert truth(word) is truth(word.lower()) is truth(f" {word.title()} ") is True


@pytest.mark.parametrize("word", ["", *NO_WORDS.split()])
def test_words_for_no(word: str) -> None:
    assert truth(word) is truth(word.lower()) is False


def test_no_word_means_both_and_an_unknown_one_is_never_no() -> None:
    assert not YES & NO
    made = _made("VM,Template,VM ID\nx,quizás,vm-1\ny,False,vm-2\n")
    assert _machines(made) == [("y", "vm-2")]
    assert "'quizás' in the column template" in made.notes[0]
    disks = "VM,Disk,Raw,Disk Mode\ny,Hard disk 1,quizás,persistent\n"
    assert "may be a raw device mapping" in _made("VM,VM ID\ny,vm-2\n", disks).notes[0]


GUESSED = {
    "VM,VM ID\nwäb,vm-1\n".encode("cp1252"): "read as Windows-1252, a guess; look at line 2",
    "VM,VM ID\nwäb,vm-1\n".encode("utf-16-le"): "read as UTF-16-LE",
    "VM,VM ID\nwäb,vm-1\n".encode("utf-16-be"): "read as UTF-16-BE",
}


@pytest.mark.parametrize("content", GUESSED)
def test_an_encoding_that_was_guessed_is_said(content: bytes) -> None:
    made = _made(content)
    assert _machines(made) == [("wäb", "vm-1")]
    assert len(made.notes) == 1
    assert GUESSED[content] in made.notes[0]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
def test_an_encoding_that_is_certain_is_not_said(encoding: str) -> None:
    made = _made("VM,VM ID\nwäb,vm-1\n".encode(encoding))
    assert (_machines(made), made.notes) == ([("wäb", "vm-1")], ())


def test_both_columns_of_sharing_count() -> None:
    made = _made((SHEETS / "vinfo.csv").read_bytes(), (SHEETS / "vdisk_bus.csv").read_text())
    assert ["by its bus" in made.notes[0], "by multi-writer" in made.notes[1]] == [True, True]
    assert len(made.notes) == 2


def test_the_id_decides_over_the_name() -> None:
    sheet = "VM,VM ID\nweb,vm-1\ndb,vm-1\napp,vm-3\n"
    disks = (
        "VM,VM ID,Disk,Disk Mode\nold,vm-1,d1,independent_persistent\nweb,vm-9,d1,independent_persistent\n"
    )
    made = _made(sheet, disks)
    assert _machines(made) == [("web", "vm-1"), ("app", "vm-3")]
    said = "\n".join(made.notes)
    assert "s.csv:3: db has the VM ID of line 2 there, web: the ID counts, left out" in said
    assert "calls vm-1 old: the VM ID counts" in said
    assert "d.csv:2: web: d1 is independent" in said
    assert "d.csv:3" not in said


def test_a_name_that_vcenter_does_not_confirm_is_said_by_the_plan() -> None:
    wave = parse(_made("VM,VM ID\nweb,vm-1\n").text.encode(), "w1.yaml")
    there = SourceView(id="s-1", name="db", registered="db", state="Available", moref="vm-1")
    other = SourceView(id="s-2", name="web", registered="web", state="Available", moref="vm-2")
    found = resolve(wave, [there, other])
    assert [one.source.id for one in found.placements] == ["s-1"]
    assert not found.problems
    assert "vm-1 is called 'db' in vCenter, not 'web'" in found.warnings[0].what


SERVERS = {
    "2001:DB8::5": "https://[2001:db8::5]",
    "[2001:db8:0::5]:8443": "https://[2001:db8::5]:8443",
    "https://[2001:db8::5]:443/sdk": "https://[2001:db8::5]",
    "VC.example": "https://vc.example",
    "vc.example:443": "https://vc.example",
    "https://vc.example/": "https://vc.example",
    "10.0.0.1": "https://10.0.0.1",
    "::ffff": "https://[::ffff]",
}


@pytest.mark.parametrize("text", SERVERS)
def test_a_server_has_one_spelling(text: str) -> None:
    assert server_url(text) == SERVERS[text]
    rows = f'VM,VM ID,VI SDK Server\na,vm-1,"{text}"\na,vm-2,"{text}"\n'
    wave = parse(_made(rows).text.encode(), "w1.yaml")
    assert {entry.vcenter for entry in wave.manifest.machines} == {SERVERS[text]}
    there = SourceView(id="s", name="a", registered="a", state="Available", moref="vm-1", vcenter=text)
    assert [one.source.id for one in resolve(wave, [there]).placements] == ["s"]


def _machine(name: str, *, template: bool = False) -> Machine:
    return Machine(
        moref="vm-2" if template else "vm-1",
        name=name,
        path="/DC/vm/a,b;c",
        instance_uuid="",
        bios_uuid="",
        power=PowerState.ON,
        firmware=Firmware.BIOS,
        guest_id="",
        guest_name="",
        cpus=1,
        memory=1,
        hardware="vmx-19",
        host="host-1",
        disks=(),
        template=template,
    )


@pytest.mark.parametrize(
    "name",
    ["web", "-web", "=1+1", "'quoted", "'=x", "@a", "+1", "web/01", "web%2f01", "50% off", "a\\b", 'say "hi", ok', "we\u0301b",
     "web\xa001", "we\u202eb", " web ", "VERO", "sep=;"],
)  # fmt: skip
def test_our_own_export_is_read_back_unchanged(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    columns = ("name", "moref", "power", "path", "tags", "template")
    _write_csv([_machine(name), _machine("gold", template=True)], columns)
    written = capsys.readouterr().out
    assert next(csv.reader(io.StringIO(written))) == list(columns)
    assert _machines(_made(written)) == [(name, "vm-1")]


@pytest.mark.parametrize(
    ("raw", "name"), [("web%2f01", "web/01"), ("a%5Cb", "a\\b"), ("50%25", "50%"), ("x%252f", "x%2f"), ("y%20z", "y%20z")]
)  # fmt: skip
def test_vcenter_s_escapes_mean_the_same_in_sheets_and_manifests(raw: str, name: str) -> None:
    assert _machines(_made(f"VM,VM ID\n{raw},vm-1\n"))[0][0] == name
    written = f"apiVersion: connector/v1\nkind: MigrationWave\nmetadata: {{name: w}}\ndefaults: {{target: {{region: r}}}}\nmachines: [{{name: '{raw}'}}]\n"  # noqa: E501
    there = SourceView(id="s", name=name, registered=name, state="Available", moref="vm-1")
    assert [p.source.id for p in resolve(parse(written.encode(), "w.yaml"), [there]).placements] == ["s"]


def test_names_that_look_alike_are_two_and_are_told_apart() -> None:
    made = _made("VM,VM ID\nwäb 1,vm-1\nwa\u0308b 1,vm-2\nwäb\xa01,vm-3\nwä\u202eb 1,vm-4\n")
    assert [moref for _, moref in _machines(made)] == ["vm-1", "vm-2", "vm-3", "vm-4"]
    assert len(made.notes) == 3
    for mark, note in zip(("U+0308", "U+00A0", "U+202E"), made.notes, strict=True):
        assert f"<{mark}>" in note
        assert "looks like line 2" in note
