"""`connector job evidence`: what passes left as proof, from the control plane into a file that `connector verify` reads."""

from __future__ import annotations

import json
from pathlib import Path

from blake3 import blake3

from connector.cloud import kept_files
from connector.transfer import digest, evidence
from connector.transfer.account import Account
from connector.transfer.extents import CELL
from connector.transfer.reasons import Piece, Reason
from tests.cli.conftest import Connector
from tests.control.conftest import machine
from tests.smc.conftest import Cloud, fresh
from tests.waiting import eventually


def test_it_is_listed_written_and_verifies_an_image(
    cloud: Cloud, connector: Connector, tmp_path: Path
) -> None:
    name = fresh("vm")
    robot, ids = cloud.sources(machine("vm-1", name, 1))
    client = cloud.plane.client(robot.membership)
    job = cloud.plane.jobs.create(ids[name], name)["id"]
    assert "no evidence yet" in connector("job", "evidence", name).err
    assert connector("job", "evidence", name, "--to", str(tmp_path / "x.json"), code=None).code == 3
    cloud.plane.jobs.start(job)
    order = eventually(lambda: client.take(1.0), "the pass is offered")
    pass_id, signer = order["pass_id"], cloud.plane.members[robot.membership.appliance_id][1]
    image = tmp_path / "2000.raw"
    image.write_bytes(b"x" * CELL)
    root = digest.root(digest.cells(memoryview(image.read_bytes())))
    whole = bytes(blake3(CELL.to_bytes(8, "big") + digest.cells(memoryview(image.read_bytes()))).digest())
    piece = Piece(0, CELL, Reason.DATA)
    account = Account(CELL, (piece,), (piece[:2],), (root,), (root,), (whole, whole))  # type: ignore[arg-type]
    sections = dict(evidence.read(cloud.plane.evidence(robot.membership, order)).sections)
    sections["disks"] = {"2000": sections["disks"]["2000"] | account.to_json()}
    cloud.plane.show(order)
    client.evidence(pass_id, evidence.seal(sections, signer))
    client.finish(pass_id, "done", None, {})
    (row,) = connector("job", "evidence", name, "--json").lines
    assert (row["PassId"], row["Fingerprint"]) == (pass_id, evidence.fingerprint(signer.public))
    assert row["Fingerprint"] in connector("job", "evidence", job).out
    file = tmp_path / "evidence.json"
    assert pass_id in connector("job", "evidence", name, "--pass", pass_id, "--to", str(file)).out
    assert connector("verify", str(file), str(image), "--key", f"{file}.pub", "--json").json["equal"] is True
    _shows_its_drill(connector, file, image)
    image.write_bytes(b"x" * 100 + b"y" + b"x" * (CELL - 101))
    assert connector("verify", str(file), str(image), code=None).code == 10
    copy = tmp_path / "converted" / "2000.raw"
    copy.parent.mkdir()
    copy.write_bytes(image.read_bytes())
    report = {"disks": [{"file": copy.name, "extents": [[0, CELL]]}]}
    (copy.parent / "conversion.json").write_text(json.dumps(report))
    document = connector("verify", str(file), str(copy), "--json").json
    assert (document["equal"], document["sound"]) == (False, True)
    (copy.parent / "conversion.json").write_text(json.dumps({"disks": [{"file": copy.name, "extents": []}]}))
    assert connector("verify", str(file), str(copy), code=None).code == 10
    (copy.parent / "conversion.json").write_text("{}")
    assert "is no report of a conversion" in connector("verify", str(file), str(copy), code=2).err
    assert "no evidence of this pass" in connector("job", "evidence", name, "--pass", "p-0", code=None).err
    lost = tmp_path / "nowhere" / "evidence.json"
    assert connector("job", "evidence", name, "--to", str(lost), code=None).code == 2


def _shows_its_drill(connector: Connector, file: Path, image: Path) -> None:
    """What the last drill of an image has kept beside it is shown, and is no part of the proof."""
    assert connector("verify", str(file), str(image), "--json").json["drill"] is None
    kept = {"console.log": b"web-01 login: "}
    home = file.parent / "drill"
    facts = kept_files.write(home, kept)
    row = {
        "boots": True,
        "outcome": "login prompt",
        "reason": "",
        "ended": "2026-11-30T16:00:00Z",
        "files": facts,
    }
    (home / "drill.json").write_text(json.dumps(row))
    shown = connector("verify", str(file), str(image)).out
    assert "drill of 2026-11-30T16:00:00Z: a copy booted: login prompt; not signed" in shown
    assert "as it was kept" not in shown
    (home / "console.log").write_text("edited")
    assert "drill: console.log is not as it was kept" in connector("verify", str(file), str(image)).out
    for damage in ("{", json.dumps(row | {"files": {"../../etc/passwd": {"sha256": "0"}}}), "[]"):
        (home / "drill.json").write_text(damage)
        assert "drill" in connector("verify", str(file), str(image)).out
    (home / "drill.json").unlink()
