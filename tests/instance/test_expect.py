"""Images are made of what is expected, and of nothing else; the target says who it is and what it has seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from connector.errors import BadInput, Conflict, TargetFailed
from connector.kinds import PassKind
from connector.model import Extent
from connector.transfer.disk_pass import copy_disk
from connector.transfer.source import FileSource
from tests.instance.test_damage import root_of
from tests.instance.test_devices import SERIAL, WORDS, plug
from tests.instance.test_pass import order
from tests.transfer.conftest import CELL, MIB, Instance


def shown(instance: Instance, key: str = "2000") -> dict[str, Any]:
    state: Any = instance.endpoint.disk(key)
    named = {name: state[name] for name in ("target", "generation", "root")}
    return {"reading": state["base"]["pass_id"], **named}


def test_each_pass_is_a_generation_of_its_target_and_leaves_its_root(instance: Instance, disk: Path) -> None:
    copy_disk(FileSource(disk), instance.endpoint, order(disk))
    first: Any = instance.endpoint.disk("2000")
    assert (first["generation"], first["root"], first["previous_root"]) == (1, root_of(disk), "")
    assert len(first["target"]) == 32
    with disk.open("r+b") as out:
        out.seek(17 * MIB + 5)
        out.write(b"changed")
    delta = order(
        disk,
        reading_id="pass-2",
        kind=PassKind.DELTA,
        change_id="id/2",
        base_change_id="id/1",
        snapshot="s-2",
    )
    copy_disk(FileSource(disk), instance.endpoint, delta, lambda: [Extent(17 * MIB, CELL)], prove=True)
    second: Any = instance.endpoint.disk("2000")
    assert (second["generation"], second["root"], second["target"]) == (2, root_of(disk), first["target"])
    assert second["previous_root"] == first["root"] != second["root"]
    account = instance.endpoint.account("2000")
    named = ("target", "generation", "root", "previous_root")
    assert {name: account[name] for name in named} == {name: second[name] for name in named}
    assert (account["reading"], account["change_id"], account["snapshot"]) == ("pass-2", "id/2", "s-2")
    assert account["account"]["root"] == {"source": second["root"], "target": second["root"]}


def test_an_image_is_made_only_of_what_is_expected(instance: Instance, disk: Path) -> None:
    endpoint = instance.endpoint
    copy_disk(FileSource(disk), endpoint, order(disk), prove=True)
    right = shown(instance)
    wrong = {"reading": "pass-0", "target": "0" * 32, "generation": 2, "root": "0" * 64}
    for name, value in wrong.items():
        with pytest.raises(Conflict, match=f"its {name} is .*, not {value}".replace("0" * 64, "0" * 40)):
            endpoint.make_image("web", "raw", "run", expect={"2000": right | {name: value}})
        with pytest.raises(Conflict, match=f"its {name} is"):
            endpoint.settle({"2000": right | {name: value}})
    for expect, what in [({}, "2000 is not expected"), ({"2000": right, "2001": right}, "2001 is missing")]:
        with pytest.raises(Conflict, match=what):
            endpoint.make_image("web", "raw", "run", expect=expect)
    for nonsense in ({"2000": {}}, {"2000": right | {"generation": "1"}}):
        with pytest.raises(BadInput, match="expected state of a disk"):
            endpoint.make_image("web", "raw", "run", expect=nonsense)  # type: ignore[arg-type]
    assert endpoint.settle({"2000": right}) == ["2000"]
    assert endpoint.make_image("web", "raw", "run", expect={"2000": right})["state"] == "ready"


def test_a_device_that_is_not_plugged_keeps_no_other_disk_from_being_served(
    start: Callable[..., Instance], disk: Path, tmp_path: Path
) -> None:
    """And images of the rest are not made as if it were not there."""
    words = (*WORDS, str(tmp_path / "dev"))
    plug(tmp_path / "dev", SERIAL, 32 * MIB)
    lost = plug(tmp_path / "dev", "another-serial", 32 * MIB)
    first = start(words=words)
    first.endpoint.assign_devices({"2000": SERIAL, "2001": "another-serial"})
    for key in ("2000", "2001"):
        copy_disk(FileSource(disk), first.endpoint, order(disk, key=key), prove=True)
    first.kill()
    lost.rename(tmp_path / "unplugged")
    second = start(words=words)
    assert second.endpoint.health()["disks"] == 2
    assert second.endpoint.disk("2000")["settled"]
    with pytest.raises(TargetFailed, match="not there"):
        second.endpoint.settle()
    (tmp_path / "unplugged").rename(lost)
    (tmp_path / "instance" / "disks" / "2001" / "digests").unlink()
    assert second.endpoint.disk("2001")["doubt"] == "its digest table was missing"
    compare = order(
        disk, key="2001", reading_id="pass-2", kind=PassKind.COMPARE, snapshot="s-2", change_id="id/2"
    )
    result = copy_disk(FileSource(disk), second.endpoint, compare, prove=True)
    assert result.sent == 0 and shown(second, "2001")["root"] == root_of(disk)
