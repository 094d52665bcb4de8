"""Spreadsheets and RVTools' sheets to manifests that are valid as they stand."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.batch.parse import parse
from connector.batch.problems import ManifestRefused
from connector.batch.sheets import manifest, read
from tests.cli.conftest import bare_environment, run

__all__ = ["bare_environment", "run"]

VINFO = """VM,Powerstate,Template,SRM Placeholder,Config status,DNS Name,CPUs,Memory,Folder,Cluster,VM ID,VM UUID,VI SDK Server
web-01,poweredOn,False,False,green,web-01.example,2,4096,prod,C1,vm-101,4237,vc.example
twin,poweredOn,False,False,green,,2,4096,prod,C1,vm-102,4238,vc.example
twin,poweredOff,False,False,green,,2,4096,old,C1,vm-103,4239,vc.example
golden,poweredOff,True,False,green,,2,4096,prod,C1,vm-104,4240,vc.example
"""
VDISK = """VM,Powerstate,Template,Disk,Disk Key,Capacity MiB,Raw,Disk Mode,Sharing mode
web-01,poweredOn,False,Hard disk 1,2000,40960,False,persistent,sharingNone
web-01,poweredOn,False,Hard disk 2,2001,40960,False,independent_persistent,sharingNone
twin,poweredOn,False,Hard disk 1,2000,40960,True,persistent,sharingMultiWriter
other,poweredOn,False,Hard disk 1,2000,40960,False,independent_persistent,sharingNone
"""


def test_rvtools_sheets_become_a_manifest() -> None:
    made = manifest(
        read(VINFO.encode("utf-16"), "vInfo.csv"), "w1", "cn-hangzhou", read(VDISK.encode(), "vDisk.csv")
    )
    found = parse(made.text.encode(), "w1.yaml").manifest
    assert [(entry.name, entry.moref, entry.vcenter) for entry in found.machines] == [
        ("web-01", "vm-101", None),
        ("twin", "vm-102", "https://vc.example"),
        ("twin", "vm-103", "https://vc.example"),
    ]
    assert [note.partition(" is ")[0] for note in made.notes] == [
        "vInfo.csv:5: golden",
        "vDisk.csv:3: web-01: Hard disk 2",
        "vDisk.csv:4: twin: Hard disk 1",
        "vDisk.csv:4: twin: Hard disk 1",
    ]


def test_a_sheet_of_ones_own(tmp_path: Path, run: Callable[..., Any]) -> None:
    sheet, out = tmp_path / "plan.csv", tmp_path / "w.yaml"
    sheet.write_bytes(
        "Name;Group;Instance Type;VSwitch;Bandwidth\nwäb-01;front;ecs.g6;vsw-1;200Mbit/s\ndb-01;;;;\n".encode(
            "cp1252"
        )
    )
    told = run("batch", "import", str(sheet), "--wave", "w1", "--region", "r", "--out", str(out))
    assert told.out == f"2 machines in {out}\n"
    found = parse(out.read_bytes(), "w.yaml")
    assert (found.manifest.machines[0].name, found.manifest.machines[0].group) == ("wäb-01", "front")
    assert found.choices(0).target.network.vswitch == "vsw-1"  # type: ignore[union-attr]
    run("batch", "validate", str(out))


BAD = {
    b"": (1, "no row"),
    b"a,b\n1,2\n": (1, "no column names a machine"),
    b"VM\n": (1, "no row"),
    b"PK\x03\x04rest": (1, "workbook"),
    b'VM,X\nweb,"open\n': (2, "not CSV"),
    b"VM,Template\nx,True\n": (1, "no row is a machine"),
}


@pytest.mark.parametrize("content", BAD)
def test_what_is_no_sheet_is_refused_with_its_line(content: bytes) -> None:
    with pytest.raises(ManifestRefused) as refused:
        manifest(read(content, "s.csv"), "w", "r")
    line, words = BAD[content]
    assert words in str(refused.value)
    assert refused.value.problems[0].mark.line >= line


def test_a_group_that_cannot_be_one_is_said_with_the_manifest(
    tmp_path: Path, run: Callable[..., Any]
) -> None:
    sheet = tmp_path / "plan.csv"
    sheet.write_text("name,group\nweb-01,front end\n")
    out = tmp_path / "w.yaml"
    wrong = run("batch", "import", str(sheet), "--wave", "w1", "--region", "r", "--out", str(out), code=2)
    assert "groups[0].name" in wrong.err
    assert not out.exists()


@given(
    st.binary(max_size=300)
    | st.text(max_size=300).map(lambda text: b"VM,Group,VM ID\n" + text.encode("utf-8", "replace"))
)
def test_no_bytes_crash_the_import(content: bytes) -> None:
    try:
        made = manifest(read(content, "s.csv"), "w", "r")
        parse(made.text.encode(), "f")
    except ManifestRefused as refused:
        assert refused.problems


def test_a_list_of_ours_carries_its_vcenter() -> None:
    uuid = "0C6A9B6E-23D5-4D3B-9B67-0AAF8BE1A2D4"
    text = f"name,moref,vcenter\nweb-01,vm-1,{uuid}\n"
    imported = manifest(read(text.encode(), "list.csv"), "w1", "r")
    assert parse(imported.text.encode(), "w1.yaml").manifest.machines[0].vcenter == uuid.lower()


def test_a_custom_attribute_called_vcenter_is_not_rvtools_server() -> None:
    rows = "\n".join(f"web-01,poweredOn,vm-{n},vc-{n}.example,elsewhere" for n in (1, 2))
    text = f"VM,Powerstate,VM ID,VI SDK Server,vCenter\n{rows}\n"
    imported = manifest(read(text.encode(), "RVTools_tabvInfo.csv"), "w1", "r")
    entries = parse(imported.text.encode(), "w1.yaml").manifest.machines
    assert [entry.vcenter for entry in entries] == ["https://vc-1.example", "https://vc-2.example"]
