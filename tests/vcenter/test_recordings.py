"""Our reader against recordings of real conversations: `pytest tests/vcenter --recordings DIR` tries those below DIR."""

from __future__ import annotations

import base64
import gzip
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.vcenter.cassettes import FOLDER
from tests.vcenter.recordings import judged
from tests.vcenter.test_answer import objects

ROW = (
    '<obj type="VirtualMachine">vm-1</obj><propSet><name>name</name><val xsi:type="xsd:string">%s</val></propSet>'
    '<propSet><name>config.hardware.numCPU</name><val xsi:type="xsd:int">2</val></propSet>'
    '<propSet><name>layoutEx</name><val xsi:type="VirtualMachineFileLayoutEx"><file><key>0</key><name>[ds] a</name>'
    "<type>config</type><size>17</size><accessible>true</accessible></file>"
    "<timestamp>2026-01-02T03:04:05.5Z</timestamp></val></propSet>"
)
PAGE = objects(ROW % "web")


def test_recordings_are_read_as_pyvmomi_reads_them(request: pytest.FixtureRequest) -> None:
    """Ours by default, others' by option. What is not understood is listed at the end of the run."""
    given = request.config.getoption("--recordings", default=None)
    report = judged(Path(given) if given else FOLDER)
    if given:
        request.config.stash[REPORT] = report.lines()
    assert report.answers, f"no answer of a property collector is recorded below {given}"
    assert report.differs == []


REPORT: pytest.StashKey[list[str]] = pytest.StashKey()


def old(page: bytes) -> bytes:
    """The same as RetrieveProperties answers it: every object is a returnval."""
    text = page.decode().replace("<returnval>", "").replace("</returnval>", "")
    return text.replace("objects>", "returnval>").replace("PropertiesEx", "Properties").encode()


def update(page: bytes) -> bytes:
    """The same as WaitForUpdatesEx tells it."""
    text = page.decode().replace("RetrievePropertiesEx", "WaitForUpdatesEx").replace("propSet>", "changeSet>")
    text = text.replace(
        "<returnval>", '<returnval><version>1</version><filterSet><filter type="PropertyFilter">f</filter>'
    )
    text = text.replace("</returnval>", "</filterSet></returnval>").replace("objects>", "objectSet>")
    text = text.replace("<objectSet>", "<objectSet><kind>enter</kind>")
    return text.replace("<changeSet><name>", "<changeSet><op>assign</op><name>").encode()


BODIES: dict[str, Any] = {
    "text": {"string": PAGE.decode()},
    "bytes": {"string": PAGE},
    "gzip": {"string": gzip.compress(PAGE)},
    "base64": {"encoding": "utf-8", "base64_string": base64.b64encode(PAGE).decode()},
    "gzip in base64": {"base64_string": base64.b64encode(gzip.compress(PAGE)).decode()},
    "a plain string": PAGE.decode(),
    "RetrieveProperties": {"string": old(PAGE)},
    "ContinueRetrievePropertiesEx": {"string": PAGE.replace(b"RetrieveProp", b"ContinueRetrieveProp")},
    "WaitForUpdatesEx": {"string": update(PAGE)},
    "another version": {"string": PAGE.replace(b"urn:vim25", b"urn:internalvim25")},
}


@pytest.mark.parametrize("kind", BODIES)
def test_every_way_to_write_an_answer_down(kind: str, tmp_path: Path) -> None:
    tape = {"interactions": [{"request": {}, "response": {"body": BODIES[kind]}}], "version": 1}
    (tmp_path / "tape.yaml").write_text(yaml.safe_dump(tape))
    report = judged(tmp_path)
    assert (report.answers, report.machines, report.differs) == (1, 1, []), report.lines()
    assert report.values == 3


def test_a_tape_in_json_and_one_with_tags_of_python(tmp_path: Path) -> None:
    tape = {"interactions": [{"response": {"body": {"string": PAGE.decode()}}}]}
    (tmp_path / "a.json").write_text(json.dumps(tape))
    tagged = yaml.safe_dump(tape).replace("string:", "string: !!python/unicode")
    (tmp_path / "b.yml").write_text(tagged)
    report = judged(tmp_path)
    assert (report.answers, report.values, report.differs) == (2, 6, []), report.lines()


def test_odd_files_are_listed_and_stop_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xff\xfe: [")
    (tmp_path / "b.json").write_text("{")
    (tmp_path / "c.yaml").write_text(
        "interactions: [1, {response: 3}, {response: {body: {base64_string: '*'}}}]"
    )
    (tmp_path / "d.yaml").write_text("just text")
    odd = objects(ROW % "no&#8;tes", ROW.replace("vm-1", "vm-2").replace("xsd:int", "Tomorrow") % "x")
    tape = {"interactions": [{"response": {"body": {"string": odd}}}]}
    (tmp_path / "e.yaml").write_text(yaml.safe_dump(tape))
    report = judged(tmp_path)
    assert report.answers == 1 and report.machines == 2
    listed = "\n".join(report.lines())
    for part in ("a.yaml", "b.json", "e.yaml 0 vm-1 name holds characters", "pyVmomi gives up"):
        assert part in listed, listed


def test_a_difference_is_found(tmp_path: Path) -> None:
    """The comparison can fail: a text that one side reads and the other does not."""
    from tests.vcenter.recordings import _differences

    assert list(_differences("web", "wex", "name")) and list(_differences(None, "web", "name"))
    assert list(_differences("web", None, "name")) and not list(_differences("web", "web", "name"))
